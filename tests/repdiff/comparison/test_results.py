import pytest

from repdiff.comparison.results import group_by_settings, read_costs, read_result
from repdiff.errors import UserError
from repdiff.runs.manifest import Manifest


def finished(verb, seconds, peak, config=None, **summary):
    return Manifest(
        verb=verb, name=verb, seconds=seconds, peak_memory_gib=peak, config=config or {}, summary=summary
    )


def test_costs_are_those_of_all_runs_behind_an_evaluation():
    batch = {"batch_size": 8}
    steps = [
        finished("evaluate", 50.0, 9.0),
        finished("latents", 6.0, 1.5, n_crystals=12),
        finished("finetune", 20.0, 2.5, batch, steps=10, n_parameters=130),
        finished("train", 30.0, 2.0, batch, steps=100, n_parameters=100, training_seconds=70.0),
    ]
    assert read_costs({step.verb: step for step in steps}) == {
        "training_seconds": 90.0,
        "n_parameters": 130.0,
        "training_steps": 110.0,
        "samples_seen": 880.0,
        "sampling_seconds": 6.0,
        "seconds_per_structure": 0.5,
        "training_memory_gib": 2.5,
        "sampling_memory_gib": 1.5,
    }
    threads = finished("train", 30.0, 2.0, {"clock": "processor"}, training_seconds=58.0)
    assert read_costs({"train": threads})["training_seconds"] == 30.0
    vectors = [finished("reconstruct", 40.0, 1.2), finished("generate", 10.0, 1.1, n=20)]
    costs = read_costs({step.verb: step for step in vectors})
    assert costs == {
        "sampling_seconds": 50.0,
        "seconds_per_structure": 2.5,
        "sampling_memory_gib": 1.2,
    }


def test_seeds_of_a_tuned_model_are_repeats_of_one_system(tmp_path):
    results = []
    for seed in (0, 1):
        folders = {
            verb: tmp_path / verb / str(seed) for verb in ("evaluate", "generate", "finetune", "train")
        }
        sources = {"evaluate": "structures", "generate": "model", "finetune": "from_run"}
        following = [*list(folders.values())[1:], None]
        for (verb, folder), source in zip(folders.items(), following, strict=True):
            config = {"seed": seed} | ({sources[verb]: str(source)} if source else {"batch_size": 8})
            manifest = Manifest(verb=verb, name=str(seed), status="finished", config=config, seed=seed)
            folder.mkdir(parents=True)
            (folder / "manifest.json").write_text(manifest.model_dump_json())
        (folders["evaluate"] / "metrics.json").write_text('{"metrics": {}}')
        results.append(read_result(folders["evaluate"]))
    assert list(results[0].settings) == ["evaluate", "generate", "finetune", "train"]
    assert [len(group) for group in group_by_settings(results)] == [2]


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"metrics": [', '{"metrics": []}'])
def test_damaged_metrics_are_told_in_one_line(text, tmp_path):
    manifest = Manifest(verb="evaluate", name="a", status="finished")
    (tmp_path / "manifest.json").write_text(manifest.model_dump_json())
    (tmp_path / "metrics.json").write_text(text)
    with pytest.raises(UserError, match=r"metrics\.json: damaged.*with `overwrite`"):
        read_result(tmp_path)
