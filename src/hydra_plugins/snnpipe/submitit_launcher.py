"""Jobs of a multi-run on a Slurm cluster, by way of submitit."""

import functools
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hydra_plugins.snnpipe.cluster import Answer, ClusterLauncher, Jobs, run
from snnpipe import signals
from snnpipe.errors import UserError, one_line

_STOP_S = 20.0


class SubmititLauncher(ClusterLauncher):
    """Run all jobs as one array of Slurm; conf/hydra/launcher/slurm.yaml says what the settings mean."""

    def _domains(self) -> Mapping[str, Any]:
        from typing import Literal

        from snnpipe.types import PositiveFloat, PositiveInt

        counts = dict.fromkeys(("timeout_min", "cpus_per_task", "array_parallelism"), PositiveInt)
        names = dict.fromkeys(("partition", "account"), str | None)
        types = {"cluster": Literal["slurm", "local"], "mem_gb": PositiveFloat | PositiveInt, "folder": str}
        return {**types, **counts, **names, "sbatch": dict[str, Any] | None, "setup": list[str]}

    def _submit(self, jobs: Jobs, overrides: Mapping[int, Sequence[str]]) -> dict[int, Any]:
        try:
            import submitit
        except ImportError as error:
            raise UserError("hydra/launcher: it needs submitit: pip install 'snnpipe[submitit]'") from error
        settings = self.settings
        shared = ("timeout_min", "cpus_per_task", "mem_gb")
        try:
            executor = submitit.AutoExecutor(settings["folder"], cluster=settings["cluster"])
            executor.update_parameters(
                name="snnpipe",
                **{name: settings[name] for name in shared},
                **{f"slurm_{name}": settings[name] for name in ("array_parallelism", "partition", "account")},
                slurm_setup=settings["setup"] or None,
                slurm_additional_parameters=settings["sbatch"],
            )
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
    with signals.handled():  # submitit passes over SIGTERM, and so scancel would leave the run as running
        return run(jobs, number, overrides)
