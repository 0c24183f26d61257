#!/usr/bin/env python
r"""Make a table that can be shipped of what `repdiff hull build` computed: formulas and energies only.

repdiff hull build mp_20 --data-dir DIR
scripts/ship_hull.py repdiff-workspace/hull/mp_20-chgnet

Several runs or tables become one, named by --name, with the lowest energy of each formula:

repdiff hull build others.parquet
scripts/ship_hull.py mp_20-chgnet.parquet repdiff-workspace/hull/others-chgnet --name mp_le20 --note "..." \
    --datasets mp_20 mp_le20_all

--datasets names what people can have in the place of the files that the runs read, such as the one that the others were
taken from: novelty against all of these is novelty against the hull.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from repdiff.energies.hull_table import SHIPPED, join_hull_tables, read_hull_table, write_hull_table


def main() -> None:
    """Reduce the tables and put the result where the package looks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+", help="runs of `repdiff hull build`, or their tables")
    parser.add_argument("--name", help="name of the table; without it that of the first run")
    parser.add_argument("--note", help="what results with the table must say, beside the numbers of crystals")
    parser.add_argument(
        "--datasets", nargs="+", help="data sets it was built from; without it those of the runs"
    )
    arguments = parser.parse_args()
    tables = [read_hull_table(run) for run in arguments.runs]
    tables = [table.without_names() if table.ids else table for table in tables]
    table = join_hull_tables(tables, name=arguments.name or tables[0].name)
    if arguments.note:
        table = replace(table, note="; ".join(text for text in (table.note, arguments.note) if text))
    if arguments.datasets:
        table = replace(table, datasets=arguments.datasets)
    field = table.force_field
    path = SHIPPED / f"{table.name}-{field.name}-{field.version}.parquet"
    write_hull_table(path, table)
    print(f"{path}: {table.describe()}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
