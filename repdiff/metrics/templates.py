"""Crystals that were started from a known crystal of their prototype, a template: what they score is told apart.

Whoever makes a crystal says so by its label "start". Where no crystal has the label, nothing is told.
"""

from collections.abc import Mapping, Sequence

from repdiff.crystals.crystal_set import CrystalSet
from repdiff.metrics.base import CellValue, MetricValue, share

START, TEMPLATE = "start", "template"
SUFFIX = "without_templates"
NONE_LEFT = "all structures were started from templates"


def from_template(generated: CrystalSet) -> list[bool] | None:
    """Tell which crystals, the failed last, were started from a template; None if no crystal says how it was."""
    if not any(crystal.labels.get(START) is not None for crystal in generated.crystals):
        return None
    marked = [crystal.labels.get(START) == TEMPLATE for crystal in generated.crystals]
    return marked + [False] * len(generated.failed)


def template_share(generated: CrystalSet, protocol: str) -> dict[str, MetricValue]:
    """Return the share that was started from templates, as value `from_template`; nothing if no crystal says."""
    marked = from_template(generated)
    return {} if marked is None else {"from_template": share(marked, protocol)}


def without_templates(
    generated: CrystalSet, flags: Mapping[str, Sequence[CellValue]], protocols: Mapping[str, str]
) -> dict[str, MetricValue]:
    """Return shares of the crystals that were not started from templates; nothing if no crystal says.

    Args:
        generated: The set.
        flags: Flag of each crystal, the failed last, by the name of the share; None where it does not count.
        protocols: Protocol by the name of the share.
    """
    marked = from_template(generated)
    if marked is None:
        return {}
    return {
        f"{name}_{SUFFIX}": share(
            [
                bool(flag)
                for flag, template in zip(of_crystals, marked, strict=True)
                if flag is not None and not template
            ],
            protocols[name],
            reason=NONE_LEFT,
        )
        for name, of_crystals in flags.items()
    }
