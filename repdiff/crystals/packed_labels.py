"""Labels of a crystal as one text, so that each keeps its type whatever the others in a table are."""

import json

from repdiff.crystals.crystal import Crystal

PACKED = "labels"


def with_packed_labels(crystal: Crystal) -> Crystal:
    """Put all labels into one.

    A table has one type for a column, which all of a data set decide; a part of it would choose another.

    Example:
        >>> from repdiff.testing.example_crystals import rock_salt
        >>> dict(with_packed_labels(rock_salt().replace(labels={"x": 1, "y": None})).labels)
        {'labels': '{"x": 1, "y": null}'}
    """
    return crystal.replace(labels={PACKED: json.dumps(dict(crystal.labels))})


def with_unpacked_labels(crystal: Crystal) -> Crystal:
    """Undo `with_packed_labels`."""
    return crystal.replace(labels=json.loads(str(crystal.labels[PACKED])))
