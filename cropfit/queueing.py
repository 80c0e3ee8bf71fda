"""What batch systems can do with a crop: script, submit, jobs, cancel."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from cropfit.errors import DesignError, NotReadyError
from cropfit.tending import Batches, Tended
from cropfit.wording import number_of
from cropfit.work.limits import Duration

if TYPE_CHECKING:
    from cropfit.engines.schedulers.queue import Jobs
    from cropfit.engines.schedulers.records import Job
    from cropfit.engines.schedulers.resources import Memory
    from cropfit.engines.schedulers.script import Escalation, Order, Script


class Queued(Tended):
    """One crop, as far as batch systems are concerned; `cropfit.Crop` adds sowing and growing."""

    def script(
        self,
        scheduler: str | None = None,
        *,
        mode: Literal["array", "workers"] = "array",
        batches: Batches = None,
        workers: int | None = None,
        time: Duration | None = None,
        mem: Memory | None = None,
        cpus: int = 1,
        gpus: int = 0,
        nodes: int = 1,
        queue: str | None = None,
        account: str | None = None,
        throttle: int | None = None,
        array_limit: int | None = None,
        requeue: bool | int = False,
        threads: int | None = None,
        setup: str | Sequence[str] = (),
        conda_env: str | bool | None = None,
        launcher: str | Sequence[str] | None = None,
        grow_args: str | Sequence[str] = (),
        output_dir: str | os.PathLike[str] | None = None,
        extra: Mapping[str, Any] | None = None,
        resources: Escalation | None = None,
        template: str | os.PathLike[str] | None = None,
    ) -> Script:
        """What `submit` would submit, to be read.

        Parameters
        ----------
        scheduler : str, optional
            "slurm", "sge", "pbs", "torque", "lsf", "condor" or "parallel" (GNU parallel,
            on this computer); by default the one that is installed here.
        mode : {"array", "workers"}
            One task a batch; or `workers` tasks, each of which claims what is left until
            nothing is, which balances itself.
        batches : int or list of int, optional
            Which, for an array; by default all that are neither grown nor set aside nor
            being grown, failed ones included.
        workers : int, optional
            How many.
        time : duration, optional
            Walltime of a task: seconds, ``"1:30:00"``, ``"1-12:00:00"`` or a timedelta.
            A worker begins nothing that cannot be expected to end in it.
        mem : int or str, optional
            Memory of a task: such as ``"2G"``, or bytes. Units are powers of 1024.
        cpus, gpus, nodes : int
            Of a task; cpus and gpus on each node. More nodes than one are for a launcher
            such as ``mpiexec``.
        queue, account : str, optional
            Queue or partition, and who pays.
        throttle : int, optional
            How many tasks may run at once.
        array_limit : int, optional
            Largest index of an array; more tasks become several arrays. By default what
            the site's configuration says.
        requeue : bool or int
            A task that runs out of time puts itself back, and goes on from what is
            recorded; so often at most (True: 10 times).
        threads : int, optional
            Thread cap of numerical libraries; `cpus` by default.
        setup : str or sequence of str
            Lines of shell before the work, such as ``"module load gcc"``.
        conda_env : str or bool, optional
            Environment to activate; False for none. By default the one that is active
            now, be it conda's or a venv.
        launcher : str or sequence of str, optional
            What starts Python, such as ``"mpiexec -n 4 python"``; by default this very
            interpreter.
        grow_args : str or sequence of str
            Further options of ``cropfit grow``, such as ``"--workers 4 --threads 1"``.
        output_dir : path, optional
            Where logs go; ``logs`` in the crop's folder by default. It is made.
        extra : mapping, optional
            Further options of the header, as ``{"constraint": "gpu"}``; name without
            dashes, and True for one without a value.
        resources : callable, optional
            Called with a batch and its attempt (1 at its first submission), gives what
            differs for it, as ``{"mem": "8G"}``; for arrays.
        template : path, optional
            A Jinja2 file instead of ours, which it may extend
            (``{% extends "slurm.sh.j2" %}``); by default ``$CROPFIT_TEMPLATE``.

        Returns
        -------
        Script
            ``str()`` of it is the text; ``texts`` are several where limits or resources
            ask for several submissions.

        Raises
        ------
        DesignError
            The scheduler cannot express what is asked for.
        NotReadyError
            Nothing is left to grow.
        """
        from cropfit.engines.schedulers.resources import Resources
        from cropfit.engines.schedulers.script import Order

        needs = Resources(time, mem, cpus, gpus, nodes, queue, account, dict(extra or {}))
        order = Order(
            scheduler,
            mode,
            workers,
            needs,
            resources,
            throttle,
            array_limit,
            requeue,
            threads,
            setup,
            conda_env,
            launcher,
            grow_args,
            output_dir,
            template,
        )
        return self._script(order, batches)

    def submit(
        self,
        scheduler: str | None = None,
        *,
        batches: Batches = None,
        after: Queued | None = None,
        **options: Any,
    ) -> list[str]:
        """Hand the crop to a batch system; ids of the jobs, which the crop remembers.

        Parameters
        ----------
        scheduler : str, optional
            As of `script`.
        batches : int or list of int, optional
            As of `script`; by default without those that the queue has already.
        after : Crop, optional
            One whose queued tasks must end first: task by task where both crops have as
            many batches (Slurm's aftercorr, Grid Engine's hold_jid_ad, LSF), else all. HTCondor
            and GNU parallel cannot wait.
        **options
            As of `script`.

        Raises
        ------
        CropError
            The scheduler refuses, or is not here.
        NotReadyError
            Nothing is left to submit.
        """
        from cropfit.engines.schedulers.after import Former
        from cropfit.engines.schedulers.queue import look, submit
        from cropfit.engines.schedulers.records import read_jobs

        manifest, ledger = self._open()
        if batches is None and options.get("mode", "array") == "array":
            queued: set[int | None] = set()
            if read_jobs(manifest.layout):
                seen = look(manifest.name, manifest.layout, ledger)
                queued = {task.batch for task in seen.queued}
            left = self._left()
            batches = [batch for batch in left if batch not in queued] or None
            if left and not batches:
                raise NotReadyError(
                    f"{self._root}: the queue has all batches that are left; see "
                    f"'cropfit jobs {self.name}'."
                )
        script = self.script(scheduler, batches=batches, **options)
        former = None
        if after is not None:
            alike = after.num_sown_batches == self.num_sown_batches
            former = Former(after.jobs(), alike)
        return [job.id for job in submit(manifest.layout, script, self._say_job, former)]

    def _say_job(self, job: Job) -> None:
        tasks = len(job.tasks())
        what = f"batches {job.batches}" if job.batches else number_of(tasks, "worker")
        self.say(f"{self.name}: {job.scheduler} job {job.id}, {number_of(tasks, 'task')}, {what}")

    def jobs(self) -> Jobs:
        """What was submitted, and what the scheduler and the crop each think of it.

        Raises
        ------
        CropError
            The scheduler does not answer.
        """
        from cropfit.engines.schedulers.queue import look

        manifest, ledger = self._open()
        return look(manifest.name, manifest.layout, ledger)

    def cancel(self) -> list[str]:
        """Take all jobs of this crop out of the queue; ids of those that were in it.

        What is finished is recorded; what runs is interrupted and given back.
        """
        from cropfit.engines.schedulers.queue import cancel

        gone = [job.id for job in cancel(self.jobs())]
        self.say(f"{self.name}: cancelled {', '.join(gone) or 'nothing, as nothing is queued'}")
        return gone

    # -- which batches -------------------------------------------------------------

    def _left(self) -> list[int]:
        """Batches that nobody has grown, or grows; failed ones included."""
        growing = {held.claim.batch for held in self._open()[1].held() if not held.dead}
        return [batch for batch in self.missing_results() if batch not in growing]

    def _script(self, order: Order, batches: Batches) -> Script:
        from cropfit.batching import batch_numbers
        from cropfit.engines.schedulers.records import attempts
        from cropfit.engines.schedulers.script import write_script

        manifest, ledger = self._open()
        if batches is None:
            wanted = self._left()
            if order.mode == "workers":  # which leave failed batches alone
                wanted = sorted({*wanted} - {*ledger.numbers("failed")})
        elif order.mode == "workers":
            raise DesignError(
                "batches= belongs to mode='array': workers take whatever is left. For few "
                "tasks at a time give throttle=."
            )
        else:
            wanted = sorted(set(batch_numbers(batches)))
        for batch in wanted:
            manifest.sowing_of(batch)
        if not wanted:
            raise NotReadyError(f"Nothing is left to submit. {self}")
        return write_script(
            manifest.layout, manifest.name, order, wanted, attempts(manifest.layout)
        )

    # -- under the names that users of xyzpy know ----------------------------------

    def gen_cluster_script(
        self, scheduler: str | None = None, batch_ids: Batches = None, **options: Any
    ) -> str:
        """The text of `script`, with the options that users of xyzpy know.

        Parameters
        ----------
        scheduler : str, optional
            As of `script`.
        batch_ids : int or list of int, optional
            Which batches; by default all that are left.
        **options
            `hours`, `minutes`, `seconds` or `time` (a number means hours), `gigabytes`,
            `mem` or `mem_per_cpu` (a number means GiB), `num_procs`, `num_threads`,
            `num_nodes`, `num_workers`, `subprocess`, `conda_env`, `launcher`, `setup`
            (Python to run first), `shell_setup`, `temp_gigabytes`, `output_directory`,
            `extra_resources`, `debugging` (echoes the script's commands), `mode` ("array"
            or "single"), and the options of `script`. Others go into the header.
        """
        from cropfit.engines.schedulers.names import translate

        return str(self.script(**translate(scheduler, batch_ids, options)))

    def grow_cluster(
        self, scheduler: str | None = None, batch_ids: Batches = None, **options: Any
    ) -> list[str]:
        """`submit` with the options of `gen_cluster_script`; ids of the jobs."""
        from cropfit.engines.schedulers.names import translate

        return self.submit(**translate(scheduler, batch_ids, options))

    def gen_qsub_script(
        self, batch_ids: Batches = None, *, scheduler: str = "sge", **options: Any
    ) -> str:
        """`gen_cluster_script`, for Grid Engine unless told otherwise."""
        return self.gen_cluster_script(scheduler, batch_ids, **options)

    def qsub_grow(
        self, batch_ids: Batches = None, *, scheduler: str = "sge", **options: Any
    ) -> list[str]:
        """`grow_cluster`, on Grid Engine unless told otherwise."""
        return self.grow_cluster(scheduler, batch_ids, **options)

    def gen_slurm_script(self, batch_ids: Batches = None, **options: Any) -> str:
        """`gen_cluster_script` for Slurm."""
        return self.gen_cluster_script("slurm", batch_ids, **options)

    def grow_slurm(self, batch_ids: Batches = None, **options: Any) -> list[str]:
        """`grow_cluster` on Slurm."""
        return self.grow_cluster("slurm", batch_ids, **options)

    def gen_sge_script(self, batch_ids: Batches = None, **options: Any) -> str:
        """`gen_cluster_script` for Grid Engine."""
        return self.gen_cluster_script("sge", batch_ids, **options)

    def grow_sge(self, batch_ids: Batches = None, **options: Any) -> list[str]:
        """`grow_cluster` on Grid Engine."""
        return self.grow_cluster("sge", batch_ids, **options)

    def gen_pbs_script(self, batch_ids: Batches = None, **options: Any) -> str:
        """`gen_cluster_script` for PBS."""
        return self.gen_cluster_script("pbs", batch_ids, **options)

    def grow_pbs(self, batch_ids: Batches = None, **options: Any) -> list[str]:
        """`grow_cluster` on PBS."""
        return self.grow_cluster("pbs", batch_ids, **options)
