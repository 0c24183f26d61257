"""Denoising diffusion of vectors in [0, 1]; their noise process is that of denoising-diffusion-pytorch."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from repdiff.diffusion.inpainting import Held, InpaintingSampler
from repdiff.diffusion.loss_weights import feature_weights, given_mask, time_weights
from repdiff.diffusion.noise_level import Example
from repdiff.diffusion.samplers import (
    SAMPLERS,
    Estimate,
    SamplerSettings,
    Schedule,
    sample_in_batches,
)
from repdiff.diffusion.schedules import spread_times
from repdiff.diffusion.steering import Steering, steered
from repdiff.networks.base import Denoiser
from repdiff.networks.heads import IdentityHead, OutputHead
from repdiff.networks.property_adapters import Labels, PropertyAdapters, guided_views
from repdiff.networks.property_embedding import PropertyEmbedding
from repdiff.networks.protostructure.encoder import ProtostructureEncoder
from repdiff.networks.random_streams import NoiseStreams
from repdiff.settings.backends.structrepdiff import NoiseSettings
from repdiff.settings.base import setting


class DiffusionSettings(NoiseSettings):
    """Noise process, training target and weights of the loss, and what the network is given."""

    given: tuple[str, ...] = setting(
        (), "Named blocks that are not generated: the network always sees them clean", group="model"
    )


class Draws(NamedTuple):
    """The random numbers of one loss, one row a vector."""

    times: Int[Tensor, " n"]
    noise: Float[Tensor, "n n_features"]
    conditioned: Bool[Tensor, " n"]

    def rows(self, rows: slice) -> "Draws":
        """Return the draws of some of the vectors."""
        return Draws(self.times[rows], self.noise[rows], self.conditioned[rows])


class VectorDiffusion(nn.Module):
    """Gaussian diffusion of vectors in [0, 1], over a `Denoiser` and an output head.

    Args:
        denoiser: Network; its `n_outputs` must be what the head wants.
        settings: Noise process and loss.
        blocks: Named parts of the vector, for the weights and for the log.
        head: Output head; raw outputs are the prediction when absent.
        encoder: Turns protostructures into the context that the network is given; None if it is given none.

    Raises:
        UserError: If a block weight names an unknown block or is negative, or all weights are zero.
    """

    feature_weights: Tensor
    time_weights: Tensor
    given: Tensor

    def __init__(
        self,
        denoiser: Denoiser,
        settings: DiffusionSettings,
        *,
        blocks: Mapping[str, slice],
        head: OutputHead | None = None,
        encoder: ProtostructureEncoder | None = None,
    ) -> None:
        from denoising_diffusion_pytorch.denoising_diffusion_pytorch_1d import (  # imports torchvision
            GaussianDiffusion1D,
        )

        super().__init__()
        self.settings = settings
        self.blocks = dict(blocks)
        self.n_features = denoiser.n_features
        self.network = nn.ModuleDict({"denoiser": denoiser, "head": head or IdentityHead(self.n_features)})
        if encoder is not None:
            self.network["encoder"] = encoder
        self.process = GaussianDiffusion1D(
            nn.Identity(),  # the network is called here, not by the library, whose random numbers are global
            seq_length=self.n_features,
            channels=1,
            timesteps=settings.timesteps,
            objective=settings.objective,
            beta_schedule=settings.schedule,
            self_condition=settings.self_condition,
        )
        self.register_buffer(
            "given", given_mask(settings.given, self.blocks, self.n_features), persistent=False
        )
        self.register_buffer(
            "feature_weights",
            feature_weights(settings.block_weights, self.blocks, self.given),
            persistent=False,
        )
        self.register_buffer(
            "time_weights",
            time_weights(settings, self.process.get_buffer("loss_weight"), self.noise_schedule),
            persistent=False,
        )

    @property
    def denoiser(self) -> Denoiser:
        """The network."""
        denoiser = self.network["denoiser"]
        assert isinstance(denoiser, Denoiser)
        return denoiser

    @property
    def head(self) -> OutputHead:
        """The output head."""
        head = self.network["head"]
        assert isinstance(head, OutputHead)
        return head

    @property
    def encoder(self) -> ProtostructureEncoder | None:
        """What turns protostructures into context, if the network is given any."""
        encoder = dict(self.network.items()).get("encoder")
        assert encoder is None or isinstance(encoder, ProtostructureEncoder)
        return encoder

    @property
    def adapters(self) -> PropertyAdapters | None:
        """What conditions the context on properties, if the network has learnt any."""
        adapters = dict(self.network.items()).get("adapters")
        assert adapters is None or isinstance(adapters, PropertyAdapters)
        return adapters

    def add_properties(self, properties: Mapping[str, PropertyEmbedding]) -> None:
        """Let the network be told properties; before it is trained with them, they change nothing.

        Raises:
            ValueError: If it is given no protostructures, or has one of these properties.
        """
        if self.encoder is None:
            raise ValueError("the network is given no protostructures, expected some beside properties")
        if self.adapters is None:
            self.network["adapters"] = PropertyAdapters(self.encoder.n_context, 1).to(self.device)
        assert self.adapters is not None
        self.adapters.add(properties)

    @property
    def device(self) -> torch.device:
        """Where the network lives."""
        return self.feature_weights.device

    @property
    def noise_schedule(self) -> Schedule:
        """The noise process for the samplers, in double precision."""
        return Schedule(self.process.get_buffer("betas").detach().cpu().double())

    def draw(self, n: int, *, generator: torch.Generator) -> Draws:
        """Draw times, noise and which vectors are self-conditioned, on the generator's device."""
        device, n_times = generator.device, self.settings.timesteps
        if self.settings.time_sampling == "stratified":
            times = spread_times(n, n_times, generator=generator)
        else:
            times = torch.randint(n_times, (n,), generator=generator, device=device)
        noise = torch.randn(n, self.n_features, generator=generator, device=device)
        conditioned = torch.rand(n, generator=generator, device=device) < 0.5
        return Draws(times, noise, conditioned)

    def loss(
        self,
        features: Float[Tensor, "n n_features"],
        *,
        generator: torch.Generator,
        protostructures: Int[Tensor, "n n_columns"] | None = None,
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Return the training loss of vectors in [0, 1], and the mean squared error of each block.

        The blocks' errors carry the weights of the times but not those of the blocks.
        """
        draws = Draws(*(part.to(features.device) for part in self.draw(len(features), generator=generator)))
        total, per_feature = self(features, *draws, protostructures)
        return total, self.block_means(per_feature)

    def block_means(self, per_feature: Float[Tensor, " n_features"]) -> dict[str, Float[Tensor, ""]]:
        """Average numbers that belong to features over each block."""
        return {name: per_feature[part].mean() for name, part in self.blocks.items()}

    def forward(
        self,
        features: Float[Tensor, "n n_features"],
        times: Int[Tensor, " n"],
        noise: Float[Tensor, "n n_features"],
        conditioned: Bool[Tensor, " n"],
        protostructures: Int[Tensor, "n n_columns"] | None = None,
        labels: Labels | None = None,
    ) -> tuple[Float[Tensor, ""], Float[Tensor, " n_features"]]:
        """Return the weighted loss, and the error of each feature averaged over the batch, detached."""
        context = self.context(protostructures, labels)
        clean = 2 * features - 1
        noisy = torch.where(self.given, clean, self.process.q_sample(clean, times, noise))
        signal = self.process.get_buffer("alphas_cumprod")[times][:, None]
        previous = None
        if self.settings.self_condition:
            previous = self._earlier_estimate(noisy, times, conditioned, context)
        raw = self.denoiser(noisy, times, previous, context).float()
        prediction = self.head.predict(raw, noisy, signal)
        target = self._target(clean, times, noise)
        squared = (prediction - target).square() * self.time_weights[times][:, None]
        per_feature = squared.mean(0)
        total = (per_feature * self.feature_weights).mean() + self.head.auxiliary_loss(raw, clean, signal)
        return total, per_feature.detach()

    def context(
        self, protostructures: Int[Tensor, "n n_columns"] | None, labels: Labels | None = None
    ) -> Float[Tensor, "n n_context"] | None:
        """Encode the protostructures that the vectors belong to, and what is known of their properties.

        Raises:
            ValueError: If protostructures are missing or not wanted.
        """
        if (protostructures is None) != (self.encoder is None):
            wanted = "some" if self.encoder is not None else "none"
            raise ValueError(f"protostructures are {protostructures}, the model expects {wanted}")
        if self.encoder is None:
            return None
        context = self.encoder(protostructures)
        if self.adapters is None or not labels:
            return context
        return self.adapters(context, 0, self.adapters.encode(labels))

    def estimate_clean(
        self,
        noisy: Float[Tensor, "n n_features"],
        times: Int[Tensor, " n"],
        previous: Float[Tensor, "n n_features"] | None = None,
        context: Float[Tensor, "n n_context"] | None = None,
    ) -> Float[Tensor, "n n_features"]:
        """Estimate the clean vectors, in [-1, 1] and clipped to it."""
        return self.unbounded_clean(noisy, times, previous, context).clamp(-1.0, 1.0)

    def unbounded_clean(
        self,
        noisy: Float[Tensor, "n n_features"],
        times: Int[Tensor, " n"],
        previous: Float[Tensor, "n n_features"] | None = None,
        context: Float[Tensor, "n n_context"] | None = None,
    ) -> Float[Tensor, "n n_features"]:
        """Estimate the clean vectors, not clipped: affine in the score, so that estimates can be mixed as scores."""
        signal = self.process.get_buffer("alphas_cumprod")[times][:, None]
        raw = self.denoiser(noisy, times, previous, context).float()
        prediction = self.head.predict(raw, noisy, signal)
        if self.settings.objective == "pred_noise":
            return self.process.predict_start_from_noise(noisy, times, prediction)
        if self.settings.objective == "pred_v":
            return self.process.predict_start_from_v(noisy, times, prediction)
        return prediction

    @torch.no_grad()
    def sample(
        self,
        n_samples: int,
        *,
        generator: torch.Generator,
        sampler: SamplerSettings,
        first: int = 0,
        numbers: Sequence[int] | None = None,
        example: Example | None = None,
        given: Float[Tensor, "n_samples n_features"] | None = None,
        protostructures: Int[Tensor, "n_samples n_columns"] | None = None,
        labels: Labels | None = None,
        guidance: float = 1.0,
        held: Held | None = None,
        steering: Steering | None = None,
        batch_size: int = 1024,
        progress: bool = False,
    ) -> Float[Tensor, "n_samples n_features"]:
        """Generate vectors in [0, 1], new ones or variations of given ones.

        Sample i draws all its noise from a stream of its own, keyed by one number from `generator` and by
        `first + i`. Whatever the batches and shards, it is the same up to the rounding of matrix products.

        Args:
            n_samples: Number of samples; may be 0.
            generator: Seed of the streams; a fresh one with the same seed for every shard of a run.
            sampler: Which sampler, and its settings.
            first: Number of the first sample within the run.
            numbers: Numbers of the samples, where they do not follow one another; None for `first` and on.
            example: Vectors in [0, 1] that the samples are variations of; None for new samples.
            given: Vectors in [0, 1] whose entries in the given blocks the samples shall have; the other entries
                do not count. Needed if and only if the model has given blocks.
            protostructures: Those that the samples belong to, encoded; needed if and only if the model has an encoder.
            labels: Properties that are asked of the samples, for a model that has learnt them.
            guidance: γ of classifier-free guidance: the estimate is (1 - γ) · without labels + γ · with them, clipped
                afterwards; 1 is the conditional model, 0 the unconditional one.
            held: Entries of the samples that are held, while the others are drawn to suit them; None for none.
            steering: Goals of functions of the vectors that samples are drawn towards; None for none.
            batch_size: Number of samples that go through the network together.
            progress: Whether to show a bar on stderr.

        Raises:
            UserError: If the sampler cannot hold entries.
            ValueError: If `given` or `protostructures` are missing or not wanted.
        """
        if (given is not None) != bool(self.given.any()):
            raise ValueError(
                f"given is {given is not None}, but the model's given blocks are {self.settings.given}"
            )
        if example is not None and example.level.is_nothing:
            unchanged = example.clean.to(self.device)
            return unchanged if held is None else held.put_into(unchanged)
        fixed = torch.zeros(n_samples, self.n_features) if given is None else 2 * given - 1
        fixed = fixed.to(self.device)
        key = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        was_training = self.training
        self.eval()
        known = None if protostructures is None else protostructures.to(self.device)
        views = [(weight, self.context(known, shown)) for weight, shown in guided_views(labels, guidance)]

        def estimator(rows: slice) -> Estimate:
            def estimate(noisy: Tensor, time: int, previous: Tensor | None) -> Tensor:
                times = torch.full((len(noisy),), time, device=noisy.device)
                shown = torch.where(self.given, fixed[rows], noisy)
                earlier = previous if self.settings.self_condition else None
                clean = torch.zeros_like(noisy)
                for weight, context in views:
                    part = None if context is None else context[rows]
                    clean = clean + weight * self.unbounded_clean(shown, times, earlier, part)
                clean = clean.clamp(-1.0, 1.0)
                return torch.where(self.given, fixed[rows], clean)

            return estimate if steering is None else steered(estimate, steering, self.noise_schedule, rows)

        schedule, begin = self.noise_schedule, None
        if example is not None and not example.level.is_whole:
            begin, schedule = (2 * example.clean - 1).to(self.device), schedule.until(example.level.time)
            sampler = sampler.model_copy(update={"n_steps": sampler.n_steps and example.level.n_steps})
        chosen = range(first, first + n_samples) if numbers is None else numbers
        try:
            samples = sample_in_batches(
                SAMPLERS[sampler.name](sampler)
                if held is None
                else InpaintingSampler(sampler, held.to(self.device)),
                estimator,
                schedule,
                NoiseStreams(key, chosen, self.n_features, device=self.device),
                batch_size=batch_size,
                progress=progress,
                begin=begin,
            )
        finally:
            self.train(was_training)
        samples = torch.where(self.given, fixed, samples)
        unit = ((samples + 1) / 2).clamp_(0.0, 1.0)
        return unit if held is None else held.put_into(unit)

    def _earlier_estimate(
        self, noisy: Tensor, times: Tensor, conditioned: Tensor, context: Tensor | None
    ) -> Tensor:
        """Estimate the clean vectors where they shall be seen; zeros elsewhere (arXiv 2208.04202)."""
        previous = torch.zeros_like(noisy)
        rows = conditioned.nonzero()[:, 0]
        if len(rows):
            with torch.no_grad():
                known = None if context is None else context[rows]
                estimate = self.estimate_clean(noisy[rows], times[rows], context=known)
            previous[rows] = torch.where(self.given, noisy[rows], estimate)  # as sampling does
        return previous

    def _target(self, clean: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        if self.settings.objective == "pred_noise":
            return noise
        if self.settings.objective == "pred_x0":
            return clean
        return self.process.predict_v(clean, times, noise)
