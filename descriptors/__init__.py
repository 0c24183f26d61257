"""Crystal → vector: batches, neighbours, and differentiable invariant descriptors."""

from descriptors import ead as ead
from descriptors import soap as soap
