"""Writes three.aselmdb by the package that the format comes from, which needs no part of repdiff.

python -m venv VENV && VENV/bin/pip install ase ase-db-backends && VENV/bin/python tests/golden/make_aselmdb.py
"""

from pathlib import Path

from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

NAMES = ("Cu", "Fe", "Al", "NaCl")


def main() -> None:
    """Write four entries, and delete the third."""
    path = Path(__file__).with_name("three.aselmdb")
    with connect(path, type="aselmdb") as database:
        for place, name in enumerate(NAMES):
            atoms = bulk("NaCl", "rocksalt", a=5.64) if name == "NaCl" else bulk(name)
            atoms.calc = SinglePointCalculator(atoms, energy=-1.5 - place, forces=[[0, 0, 0]] * len(atoms))
            facts = {"gap": place / 2, "name": f"made-{name}"}
            database.write(atoms, key_value_pairs=facts, data={"e_above_hull": place / 10, "list": [1, 2]})
    database = connect(path, type="aselmdb")
    database.delete([3])
    database.close()


if __name__ == "__main__":
    main()
