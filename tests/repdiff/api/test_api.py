"""`import repdiff as rd`: cheap to import, from crystals to crystals, with one line for what does not fit."""

import gc
import resource
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from small_runs import SMALL

import repdiff as rd
from descriptors.symmetry.labels import parse_label
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint

QUICK = {"sampler": "ddim", "steps": 5, "search": "fast", "progress": False}
COPPER = bulk("Cu", cubic=True)
pytestmark = pytest.mark.usefixtures("_quick_search")


@pytest.fixture(scope="module")
def sampled(model):
    return model.sample(3, **QUICK)


def test_importing_the_package_loads_neither_torch_nor_anything_else_heavy():
    heavy = ("torch", "numpy", "pymatgen", "ase", "pandas", "click", "pydantic")
    code = f"import sys, repdiff; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_importing_the_package_takes_less_than_a_fifth_of_a_second_of_processor_time():
    def seconds(code):
        before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        subprocess.run([sys.executable, "-c", code], check=True)
        return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before

    least = min(seconds("import repdiff") for _ in range(3))
    assert least < 0.2


def test_every_public_name_is_there_and_listed():
    assert set(rd.__all__) <= set(dir(rd))
    assert all(getattr(rd, name) is not None for name in rd.__all__)
    assert callable(rd.testing.check_metric)
    with pytest.raises(AttributeError, match="no attribute 'encod'"):
        _ = rd.encod


def test_samples_are_crystals_with_the_loss_of_their_inversion(sampled):
    assert len(sampled) == 3
    assert all("loss" in crystal.labels for crystal in sampled)
    assert sampled.ids[0].startswith("gen-")


def test_a_sample_is_the_same_whatever_is_drawn_with_it(model, sampled):
    alone = model.sample(2, **QUICK)
    for one, other in zip(alone, sampled.crystals, strict=False):
        assert one.formula == other.formula


def test_sampling_vectors_and_inverting_them_is_sampling_crystals(model, sampled):
    vectors = model.sample_representations(3, sampler="ddim", steps=5, progress=False)
    found = rd.reconstruct(vectors, search="fast", progress=False)
    for one, other in zip(found, sampled, strict=True):
        np.testing.assert_allclose(one.lattice, other.lattice)


def test_vectors_can_be_asked_for_all_that_crystals_can(model):
    vectors = model.sample_representations(3, space_group=221, sampler="ddim", steps=5, progress=False)
    assert vectors.symmetry is not None
    assert {one.number for one in vectors.symmetry.protostructures if one is not None} == {221}
    with pytest.raises(rd.UserError, match="expected numbers from 1 to 230"):
        model.sample_representations(1, space_group=300)


def test_a_saved_model_samples_alike(model, tmp_path):
    again = rd.load_model(model.save(tmp_path / "mine.safetensors"), device="cpu")
    one, other = (
        m.sample_representations(2, sampler="ddim", steps=5, progress=False) for m in (model, again)
    )
    assert bool((one.vectors == other.vectors).all())


def test_asked_formulas_are_honoured(model):
    made = model.sample(2, composition=["NaCl", "K2F2"], **QUICK)
    assert sorted(crystal.formula for crystal in made) == ["F2K2", "NaCl"]


def test_asked_protostructures_are_honoured(model):
    made = model.sample(
        2, protostructure=["AB_cF8_225_a_b:Cl-Na", parse_label("AB_cF8_225_a_b:F-K")], **QUICK
    )
    assert {frozenset(crystal.atomic_numbers.tolist()) for crystal in made} == {
        frozenset({11, 17}),
        frozenset({9, 19}),
    }
    assert {crystal.labels["start"] for crystal in made} == {"template"}


def test_a_protostructure_asks_for_what_its_label_asks_for(model):
    label, how = "AB_cF8_225_a_b:Cl-Na", {"sampler": "ddim", "steps": 2, "progress": False}
    one, other = (
        model.sample_representations(2, protostructure=asked, **how) for asked in (label, parse_label(label))
    )
    assert bool((one.vectors == other.vectors).all())


def test_results_are_tables_in_data_frames_and_notebooks(encoded, sampled):
    scores = rd.evaluate(sampled, encoded, metrics=["validity", "uniqueness"], progress=False)
    assert "validity.structure_valid" in scores.to_frame().index
    assert len(encoded.to_frame()) == len(encoded)
    for result in (encoded, sampled, scores, encoded.to_batch()):
        assert "<table" in result._repr_html_()


@pytest.mark.parametrize("name", ["a.cif", "a.zip", "a.extxyz", "a.json.gz", "a.csv", "a.parquet", "folder"])
def test_what_is_written_is_read_again(name, tmp_path):
    path = rd.write(tmp_path / "new" / name, COPPER)
    (back,) = rd.read(path)
    np.testing.assert_array_equal(back.atomic_numbers, COPPER.numbers)
    np.testing.assert_allclose(back.volume, COPPER.get_volume(), rtol=1e-5)


def test_a_data_set_can_be_taken_in_part(tiny_file):
    whole, part = (
        rd.load_dataset(tiny_file, progress=False),
        rd.load_dataset(f"{tiny_file}:train", progress=False),
    )
    assert 0 < len(part) < len(whole)
    assert {crystal.split for crystal in part} == {"train"}


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_an_interrupt_in_the_inversion_leaves_nothing_and_a_usable_model(
    model, sampled, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with monkeypatch.context() as patch:
        patch.setattr("reconstruction.inversion.Inversion.run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            model.sample(3, **QUICK)
    assert list(tmp_path.iterdir()) == []
    assert [crystal.formula for crystal in model.sample(3, **QUICK)] == [
        crystal.formula for crystal in sampled
    ]


def test_an_interrupted_training_without_a_folder_leaves_nothing(encoded, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("repdiff.api.training.fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rd.train(encoded, device="cpu", progress=False, backend="gemsdiff")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setattr("ase.io.extxyz.write_extxyz", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rd.write(tmp_path / "a.extxyz", COPPER)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, encoded: rd.encode([]), "crystals holds nothing"),
        (lambda model, encoded: rd.encode(COPPER, descriptor="eda"), "unknown descriptor 'eda'"),
        (lambda model, encoded: rd.encode(Atoms("Cu", cell=[3, 3, 3])), r"crystals\[0\] has pbc"),
        (lambda model, encoded: rd.encode(COPPER, device="cuda:99"), "device is 'cuda:99'"),
        (lambda model, encoded: rd.train(encoded, backend="gemsdif"), "unknown backend 'gemsdif'"),
        (lambda model, encoded: rd.train(encoded, max_stepz=3), "unknown option 'max_stepz'.*'max_steps'"),
        (lambda model, encoded: rd.train(encoded, batch_size=0), "option batch_size is 0"),
        (lambda model, encoded: model.sample(0), "n is 0, expected a whole number"),
        (lambda model, encoded: model.sample(2, composition="NaXx"), "Xx"),
        (lambda model, encoded: model.sample(2, composition=[]), r"composition is \[\], expected formulas"),
        (
            lambda model, encoded: model.sample(2, protostructure="AB_cF8_225_a"),
            "is no label of a protostructure",
        ),
        (
            lambda model, encoded: model.sample(2, composition="NaCl", protostructure="AB_cF8_225_a_b:Cl-Na"),
            "composition and protostructure are given, expected one",
        ),
        (
            lambda model, encoded: model.sample(2, protostructures=["AB_cF8_225_a_b:Cl-Na"]),
            "unknown option 'protostructures': give `protostructure`, which takes a list of them too",
        ),
        (lambda model, encoded: rd.evaluate(COPPER, metrics=[]), "no metric is named, expected some of"),
        (lambda model, encoded: model.sample(2, conditions={"band_gap": 1.0}), "unknown property .band_gap."),
        (lambda model, encoded: model.sample(2, space_group=300), "expected numbers from 1 to 230"),
        (lambda model, encoded: model.sample(2, search="slow"), "unknown search 'slow'"),
        (
            lambda model, encoded: rd.evaluate(COPPER, metrics=["validty"]),
            "unknown metric 'validty'.*'validity'",
        ),
        (lambda model, encoded: rd.evaluate(COPPER, "mp20"), "neither a path nor a data set"),
        (lambda model, encoded: rd.evaluate(COPPER, baseline=True), "known crystals"),
        (lambda model, encoded: rd.relax(COPPER, fmax=0.0), "fmax is 0.0, expected a positive force"),
        (lambda model, encoded: rd.relax(COPPER, force_field="chgnt"), "unknown force field 'chgnt'"),
        (
            lambda model, encoded: rd.load_dataset("no_such", split="tset"),  # not read for it
            "unknown split 'tset'.*'test'",
        ),
        (lambda model, encoded: rd.load_model("no_such"), "no_such: no such path"),
        (
            lambda model, encoded: rd.write("a.vasp5", COPPER),
            "a.vasp5 has no known ending, expected one of .cif",
        ),
        (lambda model, encoded: rd.write("two.cif", [COPPER, COPPER]), "two.cif is asked to hold 2 crystals"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line_and_nothing_is_written(
    call, message, model, encoded, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(rd.UserError, match=message) as caught:
        call(model, encoded)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_model_of_a_later_version_is_refused_in_one_line(model, tmp_path):
    tensors, metadata = load_checkpoint(model.path, kind=model.backend.kind)
    metadata.pop("kind")
    later = save_checkpoint(
        tmp_path / "m.safetensors", tensors, {**metadata, "format": 99}, kind=model.backend.kind
    )
    with pytest.raises(rd.UserError, match="99"):
        rd.load_model(later)


def test_a_model_whose_descriptor_has_changed_is_refused_in_one_line(model, tmp_path):
    tensors, metadata = load_checkpoint(model.path, kind=model.backend.kind)
    metadata["layout"]["descriptor_settings"]["cutoff"] = 99.0
    metadata.pop("kind")
    metadata.pop("format")
    other = save_checkpoint(tmp_path / "m.safetensors", tensors, metadata, kind=model.backend.kind)
    with pytest.raises(rd.UserError, match="other settings of descriptor"):
        rd.load_model(other)


@pytest.mark.parametrize("name", ["load_dataset", "read", "load_model", "write"])
def test_a_name_that_is_too_long_for_the_disk_is_refused_in_one_line(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(rd.UserError, match=f"^{'x' * 300}"):
        getattr(rd, name)("x" * 300, *([COPPER] if name == "write" else []))


def test_an_evaluation_is_written_where_a_text_says(tmp_path):
    found = rd.evaluate(COPPER, metrics="validity", progress=False).write(str(tmp_path / "scores"))
    assert all(file.is_file() for file in found)


@pytest.mark.usefixtures("_tiny_composition_model")
def test_a_model_trained_without_a_folder_takes_its_files_along_when_it_goes(encoded, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    model = rd.train(encoded, device="cpu", progress=False, **SMALL)
    assert model.path.is_dir()
    del model
    gc.collect()
    left = [
        one for one in tmp_path.iterdir() if not one.name.startswith("torchinductor")
    ]  # torch's own cache
    assert left == []


def test_a_training_in_a_folder_resumes_where_it_was(encoded, model):
    again = rd.train(encoded, folder=model.path, device="cpu", progress=False, **SMALL)
    one, other = (
        m.sample_representations(2, sampler="ddim", steps=5, progress=False) for m in (model, again)
    )
    assert bool((one.vectors == other.vectors).all())
