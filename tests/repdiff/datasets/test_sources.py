import logging

from repdiff.datasets.sources import CrystalSets
from repdiff.runs.workspace import Workspace


def test_a_data_set_goes_before_a_run_of_its_name_which_is_said(tmp_path, caplog):
    sets = CrystalSets(data_dir=None, workspace=Workspace(root=tmp_path))
    with caplog.at_level(logging.WARNING):
        assert sets.locate("prototypes")[0] == "prototypes"
        assert not caplog.records
        run = tmp_path / "reconstruct" / "prototypes"
        run.mkdir(parents=True)
        assert sets.locate("prototypes")[0] == "prototypes"
    assert [record.getMessage() for record in caplog.records] == [
        f"prototypes is taken for the data set: name the run of that name by its path, {run}"
    ]
