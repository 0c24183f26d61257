from pathlib import Path

import numpy as np
import pytest
import torch

from repdiff.backends.dpcdvae import DpCdvae
from repdiff.diffusion.cdvae.decoding import towards_composition
from repdiff.diffusion.cdvae.latents import whole_compositions
from repdiff.errors import UserError
from repdiff.representations.encoded_set import EncodedSet
from repdiff.settings import TrainSettings
from repdiff.settings.load import load_settings
from repdiff.training import TrainingSettings, train

SMALL = {
    "network.width": 16,
    "network.n_blocks": 1,
    "network.n_neighbors": 8,
    "network.max_neighbors": 12,
    "encoder.width": 16,
    "encoder.n_blocks": 1,
    "encoder.n_neighbors": 8,
    "encoder.max_neighbors": 12,
    "n_latent": 16,
    "head_width": 32,
    "timesteps": 10,
}
PUBLISHED = {
    "mean": "scaled",
    "target": "noise",
    "coordinate_loss": "noise",
    "type_loss": "over_noise",
    "type_noise": "predicted",
}
CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("_tiny_composition_model")


@pytest.fixture(scope="module")
def encoded(tiny_workspace):
    return EncodedSet.read(tiny_workspace / "encode" / "tiny-ead")


def fit(encoded, folder, *, steps, **options):
    chosen = TrainingSettings(
        batch_size=64,
        learning_rate=1e-2,
        clip_norm=100.0,
        warmup_steps=10,
        max_steps=steps,
        ema_every=1,
        precision="fp32",
    )
    job = DpCdvae.prepare(encoded, options={**SMALL, **options}, folder=folder)
    train(
        job.model,
        job.training,
        job.validation,
        chosen,
        folder,
        metadata=job.metadata,
        tensors=job.tensors,
        progress=False,
    )
    return DpCdvae.load(folder, device=CPU)


@pytest.fixture(scope="module")
def overfitted(encoded, tmp_path_factory):
    """Trained long enough to know its crystals, but not where their atoms are."""
    return fit(
        encoded,
        tmp_path_factory.mktemp("overfitted"),
        steps=200,
        **{"weights.kl": 1e-4, "weights.composition": 10},
    )


@pytest.fixture(scope="module")
def known(encoded):
    return [encoded.crystals[row] for row in encoded.rows("train")]


def test_decoding_what_was_encoded_gives_back_formulas_and_cells(overfitted, known):
    latents = overfitted.encode_crystals(known)
    made = overfitted.decode_latents(latents, options={"types": "fixed"})
    same = [a.formula == b.formula for a, b in zip(made, known, strict=True)]
    assert np.mean(same) > 0.9
    ratios = [a.volume / b.volume for a, b in zip(made, known, strict=True)]
    assert np.abs(np.log(ratios)).max() < 0.1


def test_given_crystals_lend_their_cells_and_atoms(overfitted, known):
    latents = overfitted.encode_crystals(known[:3])
    made = overfitted.decode_latents(latents, given=known[3:6])
    for one, lender in zip(made, known[3:6], strict=True):
        assert one.formula == lender.formula
        assert one.volume == pytest.approx(lender.volume, rel=1e-5)


def test_interpolation_runs_from_one_crystal_to_the_other(overfitted, known):
    line = overfitted.interpolate(known[0], known[1], 5)
    ends = overfitted.encode_crystals(known[:2])
    torch.testing.assert_close(line[[0, -1]], ends)
    torch.testing.assert_close(
        line.diff(dim=0), (ends[1:] - ends[:1]).expand(4, -1) / 4, rtol=1e-3, atol=1e-4
    )


def test_latent_vectors_are_moved_to_near_ones_that_say_a_given_composition(overfitted, known):
    model = overfitted.model
    drawn = model.moments.draw(torch.randn(len(known), 16, generator=torch.Generator().manual_seed(0)))
    species = [torch.from_numpy(np.sort(one.atomic_numbers)) for one in known]
    moved = towards_composition(model, drawn, species, n_steps=100)
    said = {}
    for name, latents in (("drawn", drawn), ("moved", moved)):
        formulas = whole_compositions(model.guess(latents), model.vocabulary)
        said[name] = np.mean([a.tolist() == b.tolist() for a, b in zip(formulas, species, strict=True)])
    assert said["drawn"] < 0.2
    assert said["moved"] > 0.6
    assert float((moved - drawn).norm(dim=1).mean()) < 2 * float(drawn.norm(dim=1).mean())


@pytest.mark.parametrize("steps", [0, 20])
def test_a_given_composition_is_made(steps, overfitted, known):
    asked = [{11: 1, 17: 1}, {20: 2, 22: 2, 8: 6}]
    options = {"composition_steps": steps}
    made = overfitted.sample(2, steps=2, options=options, compositions=asked).crystals
    assert [one.n_atoms for one in made] == [2, 10]
    assert [sorted(set(one.atomic_numbers.tolist())) for one in made] == [[11, 17], [8, 20, 22]]


def test_latent_vectors_drawn_for_samples_have_the_moments_of_the_training_set(overfitted, known):
    latents = overfitted.encode_crystals(known)
    drawn = overfitted.model.moments.draw(torch.randn(4000, 16, generator=torch.Generator().manual_seed(0)))
    scale = latents.std(0).mean()
    assert float((drawn.mean(0) - latents.mean(0)).abs().max()) < 0.5 * float(scale)
    assert float(drawn.std(0).mean()) == pytest.approx(float(scale), rel=0.3)


def test_a_strange_element_is_not_encoded(overfitted, known):
    strange = known[0].replace(atomic_numbers=np.full(known[0].n_atoms, 79))
    with pytest.raises(UserError, match="has Au"):
        overfitted.encode_crystals([strange])


@pytest.mark.parametrize(
    "options",
    [
        {"denoiser": "langevin", "levels": 5},
        {"mean": "scaled"},
        PUBLISHED,
        {"schedule": "cosine"},
        {"schedule": "linear"},
    ],
)
def test_every_denoiser_and_schedule_trains_and_samples(options, encoded, tmp_path):
    backend = fit(encoded, tmp_path, steps=3, **options)
    backend.check(options={"langevin_steps": 2})
    made = backend.sample(3, options={"langevin_steps": 2}).crystals
    assert all(np.isfinite(one.frac_coords).all() for one in made)
    assert all((one.frac_coords >= 0).all() and (one.frac_coords < 1).all() for one in made)


def test_the_step_of_the_published_program_is_refused_where_the_mean_is_kept(encoded, tmp_path):
    backend = fit(encoded, tmp_path, steps=1)
    with pytest.raises(UserError, match="expected 'posterior' or 'renoise'"):
        backend.check(options={"step": "unscaled"})


@pytest.mark.parametrize(
    "options", [{"target": "noise"}, {"denoiser": "langevin", "coordinate_loss": "noise"}]
)
def test_published_losses_that_a_process_does_not_have_are_refused(options, encoded, tmp_path):
    with pytest.raises(UserError, match="noise"):
        fit(encoded, tmp_path, steps=1, **options)


def test_the_width_of_the_condition_is_not_a_setting(encoded, tmp_path):
    with pytest.raises(UserError, match="condition_width"):
        fit(encoded, tmp_path, steps=1, **{"network.condition_width": 4})


def test_the_paper_config_has_the_published_noise_and_loss():
    file = Path(__file__).parents[3] / "configs" / "dpcdvae_paper.yaml"
    chosen = load_settings(TrainSettings, file)
    assert (chosen.timesteps, chosen.schedule, chosen.mean, chosen.n_latent) == (
        1000,
        "sigmoid",
        "scaled",
        256,
    )
    assert {name: getattr(chosen, name) for name in PUBLISHED} == PUBLISHED
    assert tuple(chosen.weights.model_dump().values()) == (1.0, 100.0, 1.0, 0.01, 1.0, 0.1)
