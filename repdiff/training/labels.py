"""Labels of training crystals, some of which are withheld so that a model learns to do without."""

from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor

from repdiff.networks.crystal import AdapterInput


def shown_labels(
    labels: Mapping[str, AdapterInput],
    rows: Int[Tensor, " n_rows"],
    mine: slice,
    *,
    dropout: float,
    generator: torch.Generator,
) -> dict[str, AdapterInput]:
    """Return the labels of a part of a batch, withheld at random.

    All labels of a share of the crystals are withheld; of several properties each is withheld from that share of the
    rest too, so that any of them can be asked for alone.

    Args:
        labels: Those of all crystals, by name of the property.
        rows: Crystals of the batch.
        mine: Part of the batch whose labels are returned.
        dropout: The share.
        generator: Random numbers, drawn for the whole batch.
    """
    if not labels:
        return {}
    names = sorted(labels)
    chances = torch.rand(len(rows), 1 + len(names), generator=generator, device=generator.device)[mine]
    shown = (chances >= dropout).to(rows.device)
    found = {}
    for number, name in enumerate(names):
        label = labels[name]
        kept = shown[:, 0] & shown[:, 1 + number] if len(names) > 1 else shown[:, 0]
        found[name] = AdapterInput(
            values=label.values[rows[mine]], has_label=label.has_label[rows[mine]] & kept
        )
    return found


def labels_to(labels: Mapping[str, AdapterInput], device: torch.device) -> dict[str, AdapterInput]:
    """Move labels to a device."""
    return {
        name: AdapterInput(values=label.values.to(device), has_label=label.has_label.to(device))
        for name, label in labels.items()
    }
