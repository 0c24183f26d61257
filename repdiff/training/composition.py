"""Fitting the composition model, in a minute or a few on a CPU."""

import copy
import math

import torch
from jaxtyping import Int
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from repdiff.errors import UserError
from repdiff.networks.composition import CompositionModel, CompositionModelSettings
from repdiff.training.settings import derived_generator, derived_seed

PURPOSE_WEIGHTS, PURPOSE_SPLIT, PURPOSE_ROWS = 11, 12, 13  # below are those of the diffusion's training
N_VALIDATIONS = 20


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

    The averaged weights of the lowest validation loss are kept. The loss is that of elements and counts given the
    number of atoms, whose frequencies are counted. On a CPU the result is a function of the arguments alone.

    Args:
        train_counts: Atoms of each element in the training crystals, columns in the order of `elements`.
        validation_counts: The same of crystals to choose the weights by, of which those larger than all of
            training are left out; if none remain, a share of the training crystals is held out.
        elements: Atomic numbers of the columns, ascending.
        settings: Size of the network, and how to fit it.
        seed: Of initial weights, held-out crystals, batches and dropout.
        progress: Whether to show a bar on stderr.

    Returns:
        The model, in evaluation mode.

    Raises:
        UserError: If there is no training crystal, or the loss stops being finite.
        ValueError: If a count is negative, a crystal has no atoms, or elements and columns disagree.
    """
    for what, counts in (("training", train_counts), ("validation", validation_counts)):
        _check(what, counts, elements)
    if len(train_counts) == 0:
        raise UserError("0 training crystals for the composition model, expected at least one: encode more")
    device = train_counts.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derived_seed(seed, PURPOSE_WEIGHTS))  # layers and dropout know no other generator
        model = CompositionModel(settings, elements, torch.bincount(train_counts.sum(1)).cpu()).to(device)
        fitted, held_out = _split(train_counts, validation_counts, model, seed)
        return _fit(model, fitted, held_out, seed=seed, progress=progress)


def _fit(
    model: CompositionModel, counts: Tensor, validation_counts: Tensor, *, seed: int, progress: bool
) -> CompositionModel:
    settings, device = model.settings, counts.device
    counts = counts[:, model.order]
    crystal, element = counts.nonzero(as_tuple=True)
    n_steps = max(settings.min_steps, math.ceil(settings.max_epochs * len(element) / settings.batch_size))
    averaged = AveragedModel(model, multi_avg_fn=_average(settings.ema_decay))
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1, (step + 1) / max(settings.warmup_steps, 1)) * 0.5 * (1 + math.cos(math.pi * step / n_steps)),
    )
    generator = derived_generator(seed, PURPOSE_ROWS, device=torch.device("cpu"))
    best_loss = validate(model, validation_counts)
    best = copy.deepcopy(model)
    with tqdm(total=n_steps, desc="fitting compositions", unit="step", disable=not progress) as bar:
        for step in range(n_steps if best_loss > 0 else 0):  # with one element there is nothing to learn
            rows = torch.randint(len(element), (settings.batch_size,), generator=generator).to(device)
            loss = -model.train().step_log_prob(counts[crystal[rows]], element[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip_norm)
            optimizer.step()
            schedule.step()
            averaged.update_parameters(model)
            bar.update()
            if (step + 1) % max(1, n_steps // N_VALIDATIONS) == 0:
                current = validate(averaged.module, validation_counts)
                if current < best_loss:
                    best_loss, best = current, copy.deepcopy(averaged.module)
                bar.set_postfix(nll=f"{current:.3f}", best=f"{best_loss:.3f}", tr=f"{loss.item():.3f}", refresh=False)
    return best.eval()


@torch.no_grad()
def validate(model: CompositionModel, counts: Int[Tensor, "n n_elements"]) -> float:
    """Return the mean of -log p(composition | number of atoms), nats."""
    return -float(model.eval().log_prob_given_size(counts).mean())
def _check(what,counts,elements): pass
def _average(decay):
    def average(averages, weights, n_averaged):
        n = int(n_averaged)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averages, weights, n_averaged)
    return average
def _split(counts, validation_counts, model, seed):
    if validation_counts is not None:
        usable = validation_counts[validation_counts.sum(1) <= model.n_max]
        if len(usable): return counts, usable
    n = max(1,round(len(counts)*model.settings.held_out))
    if n>=len(counts): return counts, counts
    order = torch.randperm(len(counts), generator=derived_generator(seed, PURPOSE_SPLIT, device=torch.device('cpu')))
    return counts[order[n:]], counts[order[:n]]
