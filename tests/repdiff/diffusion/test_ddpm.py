import copy

import pytest
import torch
from denoising_diffusion_pytorch.denoising_diffusion_pytorch_1d import GaussianDiffusion1D
from pydantic import ValidationError
from stand_in_gpu import stand_in_gpu

from repdiff.diffusion.build import KIND, ModelSettings, build_diffusion, describe, load_diffusion
from repdiff.diffusion.ddpm import DiffusionSettings
from repdiff.diffusion.samplers import SamplerSettings
from repdiff.errors import UserError
from repdiff.runs.checkpoint import save_checkpoint

SMALL_MLP = {"name": "mlp", "width": 32, "n_blocks": 1, "time_width": 16}
SMALL_UNET = {"name": "unet1d", "dim": 8, "dim_mults": [1, 2]}
BLOCKS = {"descriptor": (0, 6), "composition": (6, 9), "lattice": (9, 11)}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def model(denoiser=SMALL_MLP, *, stir=True, **diffusion):
    diffusion = {"timesteps": 50, **diffusion}
    settings = ModelSettings.model_validate(
        {"n_features": 11, "blocks": BLOCKS, "diffusion": diffusion, "denoiser": denoiser}
    )
    built = build_diffusion(settings, seed=3)
    if stir:  # outputs start at zero, which would hide mistakes
        for parameter in built.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=seeded(1))
    return built


class AsLibraryModel(torch.nn.Module):
    channels, self_condition = 1, False

    def __init__(self, denoiser):
        super().__init__()
        self.denoiser = denoiser

    def forward(self, sequence, times):
        return self.denoiser(sequence[:, 0], times)[:, None]


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0", "pred_v"])
def test_the_loss_is_that_of_the_library(objective, schedule):
    diffusion = model(objective=objective, schedule=schedule)
    library = GaussianDiffusion1D(
        AsLibraryModel(diffusion.denoiser),
        seq_length=11,
        timesteps=50,
        objective=objective,
        beta_schedule=schedule,
    )
    features = torch.rand(8, 11, generator=seeded())
    draws = diffusion.draw(8, generator=seeded())
    total, _ = diffusion(features, *draws)
    expected = library.p_losses(2 * features[:, None] - 1, draws.times, noise=draws.noise[:, None])
    torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0", "pred_v"])
def test_the_estimate_of_the_clean_vector_is_that_of_the_library(objective):
    diffusion = model(objective=objective)
    library = GaussianDiffusion1D(
        AsLibraryModel(diffusion.denoiser), seq_length=11, timesteps=50, objective=objective
    )
    noisy = torch.randn(5, 11, generator=seeded())
    times = torch.tensor([0, 10, 25, 40, 49])
    expected = library.model_predictions(noisy[:, None], times, clip_x_start=True).pred_x_start[:, 0]
    torch.testing.assert_close(diffusion.estimate_clean(noisy, times), expected)


@pytest.mark.parametrize("denoiser", [SMALL_MLP, SMALL_UNET])
@pytest.mark.parametrize("self_condition", [False, True])
def test_loss_depends_on_the_generator_alone(denoiser, self_condition):
    diffusion = model(denoiser, self_condition=self_condition)
    features = torch.rand(6, 11, generator=seeded())
    first, blocks = diffusion.loss(features, generator=seeded(5))
    torch.manual_seed(123)
    again, _ = diffusion.loss(features, generator=seeded(5))
    other, _ = diffusion.loss(features, generator=seeded(6))
    assert first == again
    assert first != other
    assert set(blocks) == set(BLOCKS)


def test_the_blocks_errors_average_to_the_loss():
    diffusion = model()
    total, blocks = diffusion.loss(torch.rand(6, 11, generator=seeded()), generator=seeded())
    mean = sum((end - start) * blocks[name] for name, (start, end) in BLOCKS.items()) / 11
    torch.testing.assert_close(total.detach(), mean)


def test_a_block_of_weight_zero_gives_no_gradient():
    diffusion = model(block_weights={"composition": 0.0})
    total, _ = diffusion.loss(torch.rand(6, 11, generator=seeded()), generator=seeded())
    total.backward()
    gradient = diffusion.denoiser.exit.weight.grad
    assert gradient[6:9].abs().max() == 0
    assert gradient[:6].abs().min() > 0


def test_block_weights_keep_the_mean_weight_at_one():
    weights = model(block_weights={"lattice": 10.0}).feature_weights
    assert weights.mean() == pytest.approx(1)
    assert (weights[9] / weights[0]).item() == pytest.approx(10)


@pytest.mark.parametrize(
    ("weights", "message"),
    [({"latice": 2.0}, "latice"), ({"lattice": -1.0}, "-1"), (dict.fromkeys(BLOCKS, 0.0), "all 0")],
)
def test_senseless_block_weights_are_refused(weights, message):
    with pytest.raises(UserError, match=message):
        model(block_weights=weights)


@pytest.mark.parametrize("time_sampling", ["uniform", "stratified"])
def test_times_cover_the_whole_process_evenly(time_sampling):
    diffusion = model(time_sampling=time_sampling)
    times = torch.cat([diffusion.draw(100, generator=seeded(seed)).times for seed in range(100)])
    counts = torch.bincount(times, minlength=50)
    assert len(counts) == 50
    assert (counts - 200).abs().max() < 5 * 200**0.5


@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0", "pred_v"])
def test_min_snr_caps_the_weight_of_the_clean_vectors_error(objective):
    capped, free = model(objective=objective, weighting="min_snr"), model(objective=objective)
    signals = capped.noise_schedule.signals
    snr = signals / (1 - signals)
    ratio = (capped.time_weights / free.time_weights).double()
    torch.testing.assert_close(ratio, torch.clamp(5.0 / snr, max=1.0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("denoiser", [SMALL_MLP, SMALL_UNET])
@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm"])
@pytest.mark.parametrize("self_condition", [False, True])
def test_samples_lie_in_the_unit_cube_and_repeat(denoiser, name, self_condition):
    diffusion = model(denoiser, self_condition=self_condition)
    sampler = SamplerSettings(name=name, n_steps=6)
    samples = diffusion.sample(5, generator=seeded(), sampler=sampler)
    assert samples.shape == (5, 11)
    assert 0 <= samples.min() <= samples.max() <= 1
    parts = [diffusion.sample(n, generator=seeded(), sampler=sampler, first=k) for n, k in [(2, 0), (3, 2)]]
    torch.testing.assert_close(torch.cat(parts), samples, atol=1e-5, rtol=0)


def test_self_conditioning_reaches_the_network():
    diffusion = model(self_condition=True)
    noisy, times = torch.randn(2, 11, generator=seeded()), torch.tensor([20, 30])
    without = diffusion.estimate_clean(noisy, times)
    assert torch.equal(diffusion.estimate_clean(noisy, times, torch.zeros(2, 11)), without)
    assert not torch.equal(diffusion.estimate_clean(noisy, times, torch.ones(2, 11)), without)


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm"])
def test_given_entries_come_back_as_they_were_whatever_the_batches(name):
    diffusion = model(given=("composition",), self_condition=True)
    given = torch.rand(5, 11, generator=seeded())
    arguments = {"sampler": SamplerSettings(name=name, n_steps=6), "given": given}
    samples = diffusion.sample(5, generator=seeded(), **arguments)
    torch.testing.assert_close(samples[:, 6:9], given[:, 6:9])
    in_parts = diffusion.sample(5, generator=seeded(), batch_size=2, **arguments)
    torch.testing.assert_close(in_parts, samples, atol=1e-5, rtol=0)


def test_given_entries_are_wanted_if_and_only_if_the_model_has_given_blocks():
    sampler = SamplerSettings(name="ddim", n_steps=2)
    with pytest.raises(ValueError, match="given"):
        model(given=("composition",)).sample(2, generator=seeded(), sampler=sampler)
    with pytest.raises(ValueError, match="given"):
        model().sample(2, generator=seeded(), sampler=sampler, given=torch.rand(2, 11))


@pytest.mark.parametrize("self_condition", [False, True])
def test_training_shows_the_network_given_entries_as_sampling_does(self_condition, monkeypatch):
    diffusion = model(given=("composition",), self_condition=self_condition)
    features = torch.rand(6, 11, generator=seeded())
    seen = []
    forward = diffusion.denoiser.forward

    def spy(noisy, times, previous=None, context=None):
        seen.append((noisy, previous))
        return forward(noisy, times, previous, context)

    monkeypatch.setattr(diffusion.denoiser, "forward", spy)
    draws = diffusion.draw(6, generator=seeded())._replace(conditioned=torch.ones(6, dtype=torch.bool))
    diffusion(features, *draws)
    expected = 2 * features[:, 6:9] - 1
    for noisy, _ in seen:
        torch.testing.assert_close(noisy[:, 6:9], expected)
    if self_condition:
        torch.testing.assert_close(seen[-1][1][:, 6:9], expected)


@pytest.mark.parametrize("name", ["ddpm", "ddim", "dpm"])
def test_sampling_shows_the_network_given_entries_at_every_step(name, monkeypatch):
    diffusion = model(given=("composition",))
    given = torch.rand(4, 11, generator=seeded())
    seen = []
    forward = diffusion.denoiser.forward

    def spy(noisy, times, previous=None, context=None):
        seen.append(noisy[:, 6:9].clone())
        return forward(noisy, times, previous, context)

    monkeypatch.setattr(diffusion.denoiser, "forward", spy)
    diffusion.sample(4, generator=seeded(), sampler=SamplerSettings(name=name, n_steps=5), given=given)
    assert len(seen) == 5
    for shown in seen:
        torch.testing.assert_close(shown, 2 * given[:, 6:9] - 1)


def test_sampling_leaves_the_mode_and_the_global_generator_alone():
    diffusion = model().train()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    diffusion.sample(2, generator=seeded(), sampler=SamplerSettings(name="ddim", n_steps=2))
    assert diffusion.training
    assert torch.equal(torch.get_rng_state(), state)


def test_a_copy_is_independent_of_the_original():
    diffusion = model()
    twin = copy.deepcopy(diffusion)
    noisy, times = torch.randn(2, 11, generator=seeded()), torch.tensor([20, 30])
    before = twin.estimate_clean(noisy, times)
    for parameter in diffusion.parameters():
        parameter.data.zero_()
    assert torch.equal(twin.estimate_clean(noisy, times), before)


def test_initial_weights_depend_on_the_seed_alone():
    torch.manual_seed(1)
    first = model(SMALL_UNET, stir=False)
    torch.manual_seed(2)
    for one, other in zip(first.parameters(), model(SMALL_UNET, stir=False).parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("denoiser", [SMALL_MLP, SMALL_UNET])
def test_a_saved_model_comes_back(denoiser, tmp_path):
    diffusion = model(denoiser, self_condition=True).eval()
    weights = {f"network.{name}": value for name, value in diffusion.network.state_dict().items()}
    metadata = {"model": describe(diffusion).model_dump(mode="json"), "note": "kept"}
    path = save_checkpoint(
        tmp_path / "model.safetensors", {**weights, "scale": torch.ones(2)}, metadata, kind=KIND
    )
    loaded, others, header = load_diffusion(path)
    noisy, times = torch.randn(2, 11, generator=seeded()), torch.tensor([20, 30])
    assert torch.equal(loaded.estimate_clean(noisy, times), diffusion.estimate_clean(noisy, times))
    assert describe(loaded) == describe(diffusion)
    assert set(others) == {"scale"}
    assert header["note"] == "kept"


def test_weights_that_do_not_fit_their_settings_are_refused(tmp_path):
    diffusion = model()
    metadata = {"model": describe(diffusion).model_dump(mode="json")}
    path = save_checkpoint(tmp_path / "model.safetensors", {"network.x": torch.ones(2)}, metadata, kind=KIND)
    with pytest.raises(UserError, match="do not fit together"):
        load_diffusion(path)


@pytest.mark.parametrize(
    "denoiser", [{"name": "mlpp"}, {"width": 32}, {"name": "mlp", "dim": 3}, {"name": "mlp", "width": -1}]
)
def test_unknown_networks_and_settings_are_refused(denoiser):
    with pytest.raises(ValidationError):
        model(denoiser)


def test_unknown_diffusion_settings_are_refused():
    with pytest.raises(ValidationError, match="extra"):
        DiffusionSettings.model_validate({"n_steps": 5})


def test_given_blocks_are_seen_clean_not_learnt_and_come_back_unchanged():
    diffusion = model(given=["composition"])
    seen = []
    diffusion.denoiser.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    features = torch.rand(8, 11, generator=seeded())
    total, per_feature = diffusion(features, *diffusion.draw(8, generator=seeded()))
    assert torch.equal(seen[0][:, 6:9], 2 * features[:, 6:9] - 1)
    assert not torch.isclose(seen[0][:, :6], 2 * features[:, :6] - 1).all()
    expected = torch.cat([per_feature[:6], per_feature[9:]]).mean()
    torch.testing.assert_close(total.detach(), expected)
    sampler = SamplerSettings(name="ddim", n_steps=5)
    samples = diffusion.sample(8, generator=seeded(), sampler=sampler, given=features, batch_size=3)
    torch.testing.assert_close(samples[:, 6:9], features[:, 6:9])
    shard = diffusion.sample(3, generator=seeded(), sampler=sampler, given=features[5:], first=5)
    torch.testing.assert_close(shard, samples[5:])


def test_given_vectors_are_wanted_exactly_when_the_model_has_given_blocks():
    features = torch.rand(2, 11, generator=seeded())
    with pytest.raises(ValueError, match="given is False"):
        model(given=["lattice"]).sample(2, generator=seeded(), sampler=SamplerSettings())
    with pytest.raises(ValueError, match="given is True"):
        model().sample(2, generator=seeded(), sampler=SamplerSettings(), given=features)


def test_an_unknown_given_block_is_named():
    with pytest.raises(UserError, match="given names 'cell', expected one of descriptor"):
        model(given=["cell"])


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_a_gpu_whose_memory_is_too_small_for_a_batch_makes_the_same_samples(error, monkeypatch):
    sampler, built, tried = SamplerSettings(name="ddim", n_steps=4), model(), []
    expected = built.sample(7, generator=seeded(), sampler=sampler, batch_size=7)
    plain = type(built.denoiser).forward

    def forward(self, noisy, *others):
        tried.append(len(noisy))
        if len(noisy) > 2:
            raise error
        return plain(self, noisy, *others)

    monkeypatch.setattr(type(built.denoiser), "forward", forward)
    with stand_in_gpu() as gpu:
        generator = torch.Generator(device=gpu).manual_seed(0)
        found = built.to(gpu).sample(7, generator=generator, sampler=sampler, batch_size=7).cpu()
    assert tried[:3] == [7, 3, 1]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
