import pytest
from relaxed_sets import hull
from sample_crystals import crystal

__all__ = ["hull"]


@pytest.fixture
def benchmark(data_dir):
    """Rows of a benchmark file, as crystals."""

    def read(name, split, n=None):
        import pyarrow.parquet as pq

        columns = ["material_id", "numbers", "lattice", "frac"]
        table = pq.read_table(data_dir / f"{name}.parquet", columns=columns, filters=[("split", "=", split)])
        rows = table.slice(0, n).to_pylist()
        return [crystal(row["material_id"], row["numbers"], row["lattice"], row["frac"]) for row in rows]

    return read
