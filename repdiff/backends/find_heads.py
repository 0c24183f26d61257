"""The heads that a command means: those that the user names, or the newest of each property."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from repdiff.backends.goals import read_goals
from repdiff.backends.property_head import Head
from repdiff.backends.steering import SteeringRequest, head_request
from repdiff.errors import UserError
from repdiff.runs.workspace import Workspace
from repdiff.settings.steering import SteeringSettings

VERB = "head"


def find_heads(names: Iterable[str], given: Sequence[Path], workspace: Workspace) -> list[Path]:
    """Return the paths of heads, one for each property unless they are given.

    Raises:
        UserError: If there is none.
    """
    if given:
        return [workspace.find(VERB, path) for path in given]
    return [_newest(name, workspace) for name in names]


def _newest(name: str, workspace: Workspace) -> Path:
    """Return the newest head of a property.

    Raises:
        UserError: If there is none; the message names the properties that there are heads of.
    """
    labels = {
        str(one.summary.get("label")) for one in workspace.runs(VERB).values() if one.summary.get("label")
    }
    if labels and name not in labels:
        raise UserError(
            f"no head in {workspace.root} predicts {name}, those there predict: {', '.join(sorted(labels))}; "
            f"`repdiff head fit --property {name}` fits one"
        )
    return workspace.newest(VERB, summary={"label": name})


def with_heads(settings: SteeringSettings, workspace: Workspace) -> dict[str, object]:
    """Return the settings to update so that the heads are named; nothing where nothing is steered.

    Raises:
        UserError: If a goal cannot be read, or there is no head for it.
    """
    if not settings.steer:
        return {}
    goals = read_goals(settings.steer)
    return {"head": tuple(find_heads([goal.name for goal in goals], settings.head, workspace))}


def read_steering(settings: SteeringSettings) -> SteeringRequest | None:
    """Read what samples are steered by; None for nothing.

    Raises:
        UserError: If goals and heads do not fit together, or a head cannot be read.
    """
    if not settings.steer:
        return None
    return head_request(
        read_goals(settings.steer),
        [Head.load(path) for path in settings.head],
        strength=settings.steer_strength,
        caution=settings.caution,
        n_candidates=settings.candidates,
    )
