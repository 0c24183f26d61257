"""The way back of the joint process: predictor steps down in time, corrector steps between them.

A predictor step draws from the posterior of each process given what the network believes to be clean, so that any
earlier time can be next. A corrector step is one of Langevin dynamics at the same time. The last predictor step ends
at the mean, without noise.

A corrector step of size a = 2 r² s_t² adds a times the score and noise of variance 2 a τ, with τ the temperature. At
τ = 1 it is Langevin dynamics, whose stationary distribution is that of the data at this time, but for the error of a
finite step: noise about a single place gets wider by 1 / √(1 - r²), which the last predictor step undoes. With
τ = 1 - r² such noise keeps its width, but every distribution that is wide beside the noise gets narrower by √τ.

Source: Song et al., arXiv 2011.13456, algorithms 2 to 5; Zeni et al., arXiv 2312.03687. Unlike there, the size of a
corrector step does not depend on the norm of the score, which would tie the crystals of a batch together.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repdiff.diffusion.joint_process import JointProcess, State
from repdiff.diffusion.masked_types import MASK, draw_types
from repdiff.diffusion.samplers import step_down
from repdiff.diffusion.schedules import AddedNoise
from repdiff.diffusion.symmetric_lattice import as_matrices
from repdiff.diffusion.torus import reverse_step, wrap
from repdiff.settings.backends.mattergen import ReverseSettings

WIDEST = 8.0  # standard deviations of the limit that a believed clean cell may be away from its mean


class Prediction(NamedTuple):
    """What a network says of a state.

    Attributes:
        score: Gradient of the log density by fractional coordinates, times their standard deviation: minus the noise
            where it is small.
        clean: Clean cells, as z.
        logits: Logits of the elements of each atom.
    """

    score: Float[Tensor, "n_atoms 3"]
    clean: Float[Tensor, "n_systems 3 3"]
    logits: Float[Tensor, "n_atoms n_types"]


class Draws(NamedTuple):
    """The random numbers of one step.

    Attributes:
        coords: Standard normal.
        lattice: Standard normal.
        chances: Uniform in [0, 1): of showing each atom, and of its element.
    """

    coords: Float[Tensor, "n_atoms 3"]
    lattice: Float[Tensor, "n_systems 6"]
    chances: Float[Tensor, "n_atoms 2"]


Predict = Callable[[State, int], Prediction]
"""Says what it believes of a state at a time."""


def sample(
    predict: Predict,
    start: State,
    process: JointProcess,
    elements: Int[Tensor, " n_types"],
    draws: Iterator[Draws],
    settings: ReverseSettings,
    *,
    n_steps: int,
    since: int | None = None,
) -> State:
    """Lead crystals from the last time, or from an earlier one, to the clean end.

    Args:
        predict: The network, or anything else that knows the score.
        start: At the time to begin at; atoms that are not hidden keep their elements.
        process: The processes.
        elements: Atomic number of each column of logits.
        draws: One for each evaluation.
        settings: How to step.
        n_steps: Predictor steps; at most the times of the process, up to `since`.
        since: Time to begin at; None for the last.
    """
    schedule = process.schedule if since is None else process.schedule.until(since)
    times = schedule.times(n_steps)
    ascending = torch.tensor(times[::-1])
    widths = AddedNoise(process.widths.stds[ascending]).to(start.coords.device)
    state = start
    for number, (time, time_next) in enumerate(zip(times, [*times[1:], -1], strict=True)):
        for _ in range(settings.corrector_steps):
            state = correct(state, predict(state, time), time, process, next(draws), settings)
        place = n_steps - 1 - number
        belief = predict(state, time)
        state = step_back(
            state, belief, (time, time_next), place, widths, process, elements, next(draws), settings
        )
    return state


def correct(
    state: State,
    belief: Prediction,
    time: int,
    process: JointProcess,
    draws: Draws,
    settings: ReverseSettings,
) -> State:
    """Take one step of Langevin dynamics at a time; elements stay."""
    std = (float(process.widths.stds[time]) * process.scale(state))[:, None]
    share, noise = langevin_step(settings.position_corrector, temperature=settings.corrector_temperature)
    coords = wrap(state.coords + std * (share * belief.score + noise * draws.coords))
    signal = process.schedule.signal(time)
    share, noise = langevin_step(settings.lattice_corrector)
    mean = signal**0.5 * belief.clean.clamp(-WIDEST, WIDEST)
    z = state.z + share * (mean - state.z) + noise * (1 - signal) ** 0.5 * as_matrices(draws.lattice)
    return state._replace(coords=coords, z=z)


def step_back(
    state: State,
    belief: Prediction,
    times: tuple[int, int],
    place: int,
    widths: AddedNoise,
    process: JointProcess,
    elements: Int[Tensor, " n_types"],
    draws: Draws,
    settings: ReverseSettings,
) -> State:
    """Take one predictor step.

    Args:
        state: At the first of the two times.
        belief: Output of the network for this state.
        times: Where to go from and to, -1 for the clean end.
        place: Index of the first of the two times among the visited ones, from 0 for the least noisy.
        widths: Noise widths of the visited times.
        process: Noise processes of the model.
        elements: Atomic number of each column of logits.
        draws: Random numbers.
        settings: How to step.
    """
    time, time_next = times
    scale = process.scale(state)
    std = (float(process.widths.stds[time]) * scale)[:, None]
    coords = reverse_step(
        state.coords,
        std * belief.score,
        torch.full_like(state.system_idx, place),
        draws.coords,
        widths,
        rule="posterior",
        scale=scale,
    )
    z = step_down(
        belief.clean.clamp(-WIDEST, WIDEST),
        state.z,
        as_matrices(draws.lattice),
        signal=process.schedule.signal(time),
        signal_next=process.schedule.signal(time_next),
        eta=1.0,
    )
    numbers = state.numbers
    if bool((numbers == MASK).any()):
        columns = draw_types(belief.logits, draws.chances[:, 1], temperature=settings.type_temperature)
        numbers = process.masking.reveal(
            numbers, elements[columns], draws.chances[:, 0], time=time, time_next=time_next
        )
    return state._replace(coords=coords, z=z, numbers=numbers)


def guided(conditional: Prediction, unconditional: Prediction, guidance: float) -> Prediction:
    """Mix two beliefs, (1 - γ) · unconditional + γ · conditional, scores and logits alike.

    The score of a cell is affine in the clean cell, so that mixing clean cells mixes scores.

    Source: Ho and Salimans, arXiv 2207.12598; Zeni et al., arXiv 2312.03687, eq. for γ.
    """
    pairs = zip(conditional, unconditional, strict=True)
    return Prediction(*[guidance * one + (1 - guidance) * other for one, other in pairs])


def langevin_step(ratio: float, *, temperature: float = 1.0) -> tuple[float, float]:
    """Return the size of a Langevin step and the standard deviation of its noise, in units of the noise of the time.

    Args:
        ratio: Signal-to-noise ratio r of the step, which is 2 r² long.
        temperature: Factor of the variance of the noise, 2 · 2 r² at 1.

    Examples:
        >>> langevin_step(0.5)
        (0.5, 1.0)
        >>> langevin_step(0.5, temperature=0.25)
        (0.5, 0.5)

    Source: Song et al., arXiv 2011.13456, algorithms 4 and 5.
    """
    step = 2 * ratio**2
    return step, (2 * step * temperature) ** 0.5
