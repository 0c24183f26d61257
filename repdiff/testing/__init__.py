"""Acceptance kits: what a descriptor, backend, metric or force field must do, yours as well as ours.

    from repdiff.testing import check_metric
    check_metric(MyMetric())

Each kit is a set of named checks (`CHECKS` of its module) that raise AssertionError; `check_*` runs them all.
"""

from descriptors.testing import check_descriptor
from repdiff.testing.backend import check_backend
from repdiff.testing.force_field import check_force_field
from repdiff.testing.metric import check_metric

__all__ = ["check_backend", "check_descriptor", "check_force_field", "check_metric"]
