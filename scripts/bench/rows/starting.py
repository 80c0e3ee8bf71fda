"""From the start of a process to its first case."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time

import crops
import functions
from contest import Row, Sizes, contender, faster_than, over_bare
from meter import Meter


def run(code: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, capture_output=True)


class FreshProcess(Row):
    title = "a fresh process that grows one small batch"
    limit = "python -c 'import numpy, cloudpickle'"
    sizes = Sizes(quick={"cases": 100}, normal={"cases": 1000})
    marks = (over_bare("0.06 s", lambda row: 0.06), faster_than("xyzpy", 1))
    warm = False

    @contender
    def bare(self, meter: Meter) -> None:
        with meter():
            run("import numpy, cloudpickle")

    @contender
    def cropfit(self, meter: Meter) -> None:
        crop = crops.ours(functions.identity, num_batches=self.cases // 10)
        crop.sow_combos({"a": range(self.cases)})
        with meter():
            run(f"import cropfit; cropfit.grow(3, crop={crops.NAME!r})")

    @contender
    def xyzpy(self, meter: Meter) -> None:
        crop = crops.theirs(functions.identity, num_batches=self.cases // 10)
        crop.sow_combos({"a": range(self.cases)}, verbosity=0)
        code = f"import xyzpy; xyzpy.grow(3, xyzpy.Crop(name={crops.NAME!r}), verbosity=0)"
        with meter():
            run(code)


class ScheduledStart(Row):
    """The script is run as Slurm would run a task of the array."""

    title = "from the start of a job script to the first case"
    limit = "bash, then python -c that loads a pickled function"
    sizes = Sizes(quick={"batches": 3}, normal={"batches": 100})
    marks = (faster_than("xyzpy", 1),)
    warm = False

    def start(self, meter: Meter, script: str) -> None:
        with open("job.sh", "w") as file:
            file.write(script)
        os.chmod("job.sh", stat.S_IRWXU)
        task = {"SLURM_JOB_ID": "1", "SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "1"}
        begun = time.time()
        subprocess.run(["./job.sh"], env={**os.environ, **task}, check=True, capture_output=True)
        with open("moment") as file:
            meter.record(float(file.read()) - begun)

    @contender
    def bare(self, meter: Meter) -> None:
        import cloudpickle

        with open("function.pkl", "wb") as file:
            cloudpickle.dump(functions.told_time, file)
        code = (
            "import numpy, cloudpickle; cloudpickle.load(open('function.pkl', 'rb'))(1, 'moment')"
        )
        self.start(meter, f'#!/bin/bash\n{sys.executable} -c "{code}"\n')

    @contender
    def cropfit(self, meter: Meter) -> None:
        crop = crops.ours(functions.told_time, resources={"moment": os.path.abspath("moment")})
        crop.sow_combos({"a": range(self.batches)})
        self.start(meter, str(crop.script("slurm", time="1:00:00")))

    @contender
    def xyzpy(self, meter: Meter) -> None:
        constants = {"moment": os.path.abspath("moment")}
        crop = crops.theirs(functions.told_time, constants=constants)
        crop.sow_combos({"a": range(self.batches)}, verbosity=0)
        told = {"hours": 1, "conda_env": False, "launcher": sys.executable}
        self.start(meter, crop.gen_cluster_script("slurm", output_directory=os.getcwd(), **told))
