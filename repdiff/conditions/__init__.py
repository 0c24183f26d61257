"""What samples can be asked to be: typed conditions, one grammar for them, and the judgement of finished crystals."""

from repdiff.conditions.asked import Asked
from repdiff.conditions.grammar import GRAMMAR, typed
from repdiff.conditions.held import HeldPart, read_held
from repdiff.conditions.how import How, honoured
from repdiff.conditions.kinds import Condition
from repdiff.conditions.verdicts import Judged, judge

__all__ = [
    "GRAMMAR",
    "Asked",
    "Condition",
    "HeldPart",
    "How",
    "Judged",
    "honoured",
    "judge",
    "read_held",
    "typed",
]
