"""What an evaluation looks like in a terminal."""

from hypothesis import given
from hypothesis import strategies as st

from repdiff.metrics.evaluation_views import aligned

TEXTS = st.text("abc", max_size=9)


@given(rows=st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1))
def test_columns_of_a_table_begin_and_end_below_each_other_and_the_rule_is_as_wide_as_all(rows):
    head, rule, *body = aligned(rows)
    first, number = (max(len(row[column]) for row in rows) for column in (0, 1))
    for line, row in zip([head, *body], rows, strict=True):
        assert line[:first].rstrip() == row[0]
        assert line[first + 2 : first + 2 + number].lstrip() == row[1]
        assert line[first + number + 4 :] == row[2]
    assert rule == "-" * max(len(line) for line in (head, *body))
