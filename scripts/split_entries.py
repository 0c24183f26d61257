#!/usr/bin/env python
"""Split a table of all known entries so that a model trained on it can be judged on the test crystals of MP-20.

scripts/split_entries.py mp_le20_all.parquet --data-dir DIR --out mp_le20.parquet

Entries that are validation or test crystals of MP-20, by the column `mp20_role`, are that here too; all others are
training crystals, but for those that the matcher of `evaluate` finds among MP-20's validation and test crystals, which
are left out and counted. Labels that the table has for most entries are kept.
"""

import argparse
from collections import Counter
from pathlib import Path

from repdiff.crystals.crystal import Crystal, write_crystals
from repdiff.datasets.load import load_dataset
from repdiff.metrics.uniqueness import novel_flags

LABELS = ("formation_energy_per_atom", "e_above_hull", "band_gap")
HELD_OUT = ("val", "test")


def split_of(crystal: Crystal) -> str:
    """Return the split of an entry by its part in MP-20."""
    role = crystal.labels.get("mp20_role")
    return str(role) if role in HELD_OUT else "train"


def main() -> None:
    """Write the table, and say how many are in each split and how many are left out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("entries", help="table with the column `mp20_role`")
    parser.add_argument("--data-dir", type=Path, help="folder of MP-20")
    parser.add_argument("--n-workers", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    entries = load_dataset(arguments.entries, data_dir=arguments.data_dir).crystals
    mp_20 = load_dataset("mp_20", data_dir=arguments.data_dir).crystals
    held_out = [one for one in mp_20 if one.split in HELD_OUT]
    train = [one for one in entries if split_of(one) == "train"]
    novel = novel_flags(train, held_out, n_workers=arguments.n_workers, progress=True)
    kept = [one for one, is_novel in zip(train, novel, strict=True) if is_novel]
    kept += [one for one in entries if split_of(one) != "train"]
    labelled = [
        one.replace(split=split_of(one), labels={name: one.labels.get(name) for name in LABELS})
        for one in kept
    ]
    write_crystals(arguments.out, labelled)
    print(f"{dict(Counter(split_of(one) for one in kept))}; {len(train) - sum(novel)} left out of train")


if __name__ == "__main__":
    main()
