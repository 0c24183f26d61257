"""Fitting the composition model, in a minute or a few on a CPU."""

import copy
import math
from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar
from repdiff.networks.composition import CompositionModel, CompositionModelSettings
from repdiff.training.seeds import derived_generator, derived_seed

PURPOSE_WEIGHTS, PURPOSE_SPLIT, PURPOSE_ROWS = 11, 12, 13  # below 10: training of the diffusion
N_VALIDATIONS = 20
PATIENCE = 5  # validations without improvement that end the fit


def fit_compositions(
    train_counts: Int[Tensor, "n_train n_elements"],
    validation_counts: Int[Tensor, "n_validation n_elements"] | None,
    elements: tuple[int, ...],
    settings: CompositionModelSettings,
    *,
    seed: int,
    progress: bool = True,
) -> CompositionModel:
    """Fit a composition model by maximum likelihood, on the device of the counts.

    The averaged weights of the lowest validation loss are kept, the loss being that of elements and counts given
    the number of atoms, whose frequencies are counted. On a CPU the result is a function of the arguments alone.

    Args:
        train_counts: Atoms of each element in the training crystals, columns in the order of `elements`.
        validation_counts: The same of crystals to choose the weights by. Those larger than all of training have
            no probability and are left out; if none remain, a share of the training crystals is held out.
        elements: Atomic numbers of the columns, ascending.
        settings: Size of the network, and how to fit it.
        seed: Seed of initial weights, held-out crystals, batches and dropout.
        progress: Whether to show a bar on stderr.

    Returns:
        The model, in evaluation mode.

    Raises:
        UserError: If there is no training crystal, or the loss stops being finite.
        ValueError: If a count is negative, a crystal has no atoms, or elements and columns disagree.
    """
    for what, counts in (("training", train_counts), ("validation", validation_counts)):
        if counts is not None:
            _check(what, counts, elements)
    if len(train_counts) == 0:
        raise UserError("0 training crystals for the composition model, expected at least one: encode more")
    device = train_counts.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derived_seed(seed, PURPOSE_WEIGHTS))  # layers and dropout know no other generator
        model = CompositionModel(settings, elements, torch.bincount(train_counts.sum(1)).cpu()).to(device)
        fitted, held_out = _hold_out(train_counts, validation_counts, model, seed)
        return _fit(model, fitted, held_out, seed=seed, progress=progress)


@torch.no_grad()
def mean_loss(model: CompositionModel, counts: Int[Tensor, "n n_elements"]) -> float:
    """Return the mean of -log p(composition | number of atoms), nats, with dropout off."""
    return -float(model.eval().log_prob_given_size(counts).mean())


def _fit(
    model: CompositionModel, counts: Tensor, held_out: Tensor, *, seed: int, progress: bool
) -> CompositionModel:
    settings, counts = model.settings, counts[:, model.order]
    crystal, element = counts.nonzero(as_tuple=True)
    n_steps = max(settings.min_steps, math.ceil(settings.max_epochs * len(element) / settings.batch_size))
    validate_every = max(1, n_steps // N_VALIDATIONS)
    averaged = AveragedModel(model, multi_avg_fn=_averaging(settings.ema_decay))
    ema = averaged.module
    assert isinstance(ema, CompositionModel)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    generator = derived_generator(seed, PURPOSE_ROWS, device=torch.device("cpu"))
    best, best_loss, best_step = copy.deepcopy(model), mean_loss(model, held_out), 0
    if best_loss == 0:  # with a single element there is nothing to learn
        return best
    with progress_bar(total=n_steps, desc="fitting compositions", unit="step", disable=not progress) as bar:
        for step in range(1, n_steps + 1):
            rows = torch.randint(len(element), (settings.batch_size,), generator=generator).to(counts.device)
            optimizer.param_groups[0]["lr"] = _rate(settings, step, n_steps)
            loss = -model.train().step_log_prob(counts[crystal[rows]], element[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimizer.step()
            averaged.update_parameters(model)
            bar.update()
            if step % validate_every and step < n_steps:
                continue
            current = mean_loss(ema, held_out)
            if not math.isfinite(current):
                raise UserError(
                    f"the loss of the composition model is {current} at step {step}: "
                    f"lower `learning_rate` ({settings.learning_rate:g})"
                )
            if current < best_loss:
                best, best_loss, best_step = copy.deepcopy(ema), current, step
            bar.set_postfix({"nats per formula": f"{current:.3f}", "best": f"{best_loss:.3f}"}, refresh=False)
            if step - best_step >= PATIENCE * validate_every:
                break
    return best.eval()


def _rate(settings: CompositionModelSettings, step: int, n_steps: int) -> float:
    """Return the learning rate of a step, the first of which is 1."""
    warm = min(1.0, step / settings.warmup_steps) if settings.warmup_steps else 1.0
    return settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * (step - 1) / n_steps))


def _averaging(decay: float) -> Callable[..., None]:
    """Return an update of averaged weights whose decay grows, so that the first weights are soon forgotten."""

    def average(averages: list[Tensor], weights: list[Tensor], n_averaged: Tensor) -> None:
        n = int(n_averaged)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averages, weights, n_averaged)

    return average


def _hold_out(
    counts: Tensor, validation_counts: Tensor | None, model: CompositionModel, seed: int
) -> tuple[Tensor, Tensor]:
    """Return the crystals to fit and those to validate on, the same one if there is only one."""
    if validation_counts is not None:
        usable = validation_counts[validation_counts.sum(1) <= model.n_max]
        if len(usable):
            return counts, usable
    n_held_out = max(1, round(model.settings.held_out * len(counts)))
    if n_held_out >= len(counts):
        return counts, counts
    generator = derived_generator(seed, PURPOSE_SPLIT, device=torch.device("cpu"))
    order = torch.randperm(len(counts), generator=generator).to(counts.device)
    return counts[order[n_held_out:]], counts[order[:n_held_out]]


def _check(what: str, counts: Tensor, elements: tuple[int, ...]) -> None:
    if counts.shape[1] != len(elements):
        raise ValueError(
            f"{what} counts have {counts.shape[1]} columns, expected {len(elements)}, one an element"
        )
    bad = ((counts < 0).any(1) | (counts.sum(1) < 1)).nonzero()[:, 0]
    if len(bad):
        raise ValueError(
            f"{what} counts: {len(bad)} rows are negative or without atoms, the first is row {int(bad[0])}: "
            f"{counts[bad[0]].tolist()}"
        )
