"""The notebook for clusters really submits where schedulers answer; run by `make test-cluster`."""

from __future__ import annotations

import pytest
import xarray as xr
from executed import PATIENCE, execute

from cluster.sites import GridEngine, Slurm

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(PATIENCE + 60)]


@pytest.mark.needs("sbatch", "qsub")
def test_slurm_and_grid_engine_share_the_notebooks_crop(tmp_path):
    done = execute("06-cluster", tmp_path)

    assert "schedulers that answer here: slurm, sge" in done.text
    assert "slurm job " in done.text
    assert "sge job " in done.text
    assert done.pictures == 1
    assert [path.name for path in done.folder.iterdir()] == ["pendulums.nc"]
    with xr.open_dataset(done.folder / "pendulums.nc") as ds:
        assert bool(ds.flip.notnull().all())
        hosts = set(ds.case_host.values.tolist())
        assert hosts <= Slurm.hosts | GridEngine.hosts
        assert hosts & Slurm.hosts
