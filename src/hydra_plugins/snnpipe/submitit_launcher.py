"""Runs the jobs of a multi-run on a Slurm cluster, with submitit."""

import functools
import time
from collections.abc import Collection, Mapping, Sequence
from math import inf
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt, MinLen

from hydra_plugins.snnpipe.cluster import Answer, ClusterLauncher, Jobs, plain, run
from snnpipe.base import signals
from snnpipe.base.errors import UserError, one_line

_STOP_S = 20.0


class SubmititLauncher(ClusterLauncher):
    """Run all jobs as one array of Slurm.

    Parameters
    ----------
    cluster
        ``slurm``; or ``local``, which runs the jobs in processes of this machine.
    timeout_min, cpus_per_task, mem_gb
        Limits of each job: time in minutes, number of cores, and memory in GB.
    array_parallelism
        Largest number of jobs that run at the same time.
    partition, account
        Partition and account of the cluster; None uses the cluster's defaults.
    sbatch
        Other options of sbatch by their long names.
    setup
        Shell commands to run before a job.
    folder
        Folder for scripts, logs and answers of the jobs, on a file system that all nodes share.
    """

    keeps_passwords = False  # submitit writes jobs to files; Slurm gives them the environment of the command

    def __init__(
        self,
        cluster: Literal["slurm", "local"],
        timeout_min: Annotated[int, Ge(1)],
        cpus_per_task: Annotated[int, Ge(1)],
        mem_gb: Annotated[float, Gt(0), Lt(inf)],
        array_parallelism: Annotated[int, Ge(1)],
        partition: Annotated[str, MinLen(1)] | None,
        account: Annotated[str, MinLen(1)] | None,
        sbatch: dict[str, Any] | None,
        setup: list[str],
        folder: Annotated[str, MinLen(1)],
    ):
        self._cluster, self._folder = cluster, folder
        self._settings: dict[str, Any] = {
            "timeout_min": timeout_min,
            "cpus_per_task": cpus_per_task,
            "mem_gb": mem_gb,
            "slurm_array_parallelism": array_parallelism,
            "slurm_partition": partition,
            "slurm_account": account,
            "slurm_setup": plain(setup) or None,
            "slurm_additional_parameters": plain(sbatch),
        }

    def _submit(self, jobs: Jobs, overrides: Mapping[int, Sequence[str]]) -> dict[int, Any]:
        try:
            import submitit
        except ImportError as error:
            raise UserError("hydra/launcher: it needs submitit: pip install 'snnpipe[submitit]'") from error
        try:
            executor = submitit.AutoExecutor(self._folder, cluster=self._cluster)
            executor.update_parameters(name="snnpipe", **self._settings)
            submitted = executor.map_array(functools.partial(_run, jobs), list(overrides), list(overrides.values()))
        except (OSError, RuntimeError) as error:
            raise UserError(f"hydra/launcher: Slurm does not take the jobs: {one_line(error)[-300:]}") from error
        return dict(zip(overrides, submitted, strict=True))

    def _over(self, pending: Mapping[int, Any]) -> Collection[int]:
        return [number for number, job in pending.items() if job.done()]

    def _answer(self, handle: Any) -> Answer:
        answer: Answer = handle.result()
        return answer

    def _stop(self, pending: Mapping[int, Any]) -> None:
        for job in pending.values():
            job.cancel(check=False)
        deadline = time.monotonic() + _STOP_S
        while time.monotonic() < deadline and not all(job.done(force_check=True) for job in pending.values()):
            time.sleep(1)


def _run(jobs: Jobs, number: int, overrides: Sequence[str]) -> Answer:
    with signals.handled():  # submitit ignores SIGTERM: without this, scancel would leave the run marked as running
        return run(jobs, number, overrides)
