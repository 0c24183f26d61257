#!/usr/bin/env python
"""Make a table that can be shipped of what `repdiff hull build` computed: formulas and energies only.

repdiff hull build mp_20 --data-dir DIR
scripts/ship_hull.py repdiff-workspace/hull/mp_20-chgnet
"""

import argparse
from pathlib import Path

from repdiff.energies.hull_table import SHIPPED, read_hull_table, write_hull_table


def main() -> None:
    """Reduce the table and put it where the package looks."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run of `repdiff hull build`, or its table")
    table = read_hull_table(parser.parse_args().run).without_names()
    field = table.force_field
    path = SHIPPED / f"{table.name}-{field.name}-{field.version}.parquet"
    write_hull_table(path, table)
    print(f"{path}: {table.describe()}, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
