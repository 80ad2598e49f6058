"""Multi-runs: a parent run with a child a job, a table of all jobs at the end, and on resuming only what is missing.

A job leaves its answer in its folder of the multi-run and, where a logger keeps runs, in a child of the parent run. The
end of the multi-run reads the children, or the folders where there is no such logger: it does not matter which launcher
ran the jobs, in which process or on which machine.
"""

import json
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from snnpipe.compat import limit_cores, present_cores
from snnpipe.errors import UserError, one_line, reason
from snnpipe.files import replace_file
from snnpipe.protocols import Status, SweepStore
from snnpipe.sweep_table import sweep_table
from snnpipe.types import SweepJob

_RESULT = "result.json"
_FAULT, _MISTAKE = 1, 2


class SweepRecorder(Callback):
    """Opens the parent run when a multi-run begins. The command line ends it: Hydra passes over a callback's errors."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Open the parent run, or the one of an earlier, same multi-run, and tell the jobs of it."""
        global _current  # noqa: PLW0603  Hydra makes the callback, and the command line ends what it began
        try:
            _current = _Sweep(config)
        except Exception as error:  # Hydra would make a warning of it, and run the jobs without a parent
            sys.exit(_tell(error))


class _Sweep:
    """The multi-run that this process began."""

    def __init__(self, config: DictConfig):
        from snnpipe.config import build_sweep_store

        self._folder = Path(config.hydra.sweep.dir)
        self._store: SweepStore | None = build_sweep_store(config)
        if self._store is not None:
            name = str(config.run_name or self._folder.name)
            overrides = without_sweep(config.hydra.overrides.task)
            parent = self._store.start_sweep(name, overrides, resume=config.sweep.resume)
            config.hydra.overrides.hydra.append(f"sweep.parent={parent}")
        elif config.sweep.resume:
            raise UserError("sweep.resume: got true, but no logger keeps the jobs that are done: take logger=mlflow")

    def end(self, status: Status) -> list[SweepJob]:
        """Print the table, end the parent run, and return the jobs that did not finish."""
        jobs = self._store.sweep_jobs() if self._store is not None else _jobs_in(self._folder)
        failed = [job for job in jobs if job.metrics is None]
        if jobs:
            print(sweep_table(jobs), flush=True)
        if failed:
            again = "; the same command with sweep.resume=true runs them again, and no others" if self._store else ""
            print(f"snnpipe: {len(failed)} of {len(jobs)} jobs did not finish{again}", file=sys.stderr)
        if self._store is not None:
            self._store.finalize("FAILED" if failed and status == "FINISHED" else status)
        return failed


_current: _Sweep | None = None


def end_sweep(status: Status) -> int:
    """Print the table of this process's multi-run, if there is one, and end its parent run.

    Returns 0 where every job finished, 2 where all that failed were mistakes in what was asked for, 1 for faults.
    """
    global _current
    sweep, _current = _current, None
    failed = sweep.end(status) if sweep is not None else []
    return (_MISTAKE if all(job.mistake for job in failed) else _FAULT) if failed else 0


def _tell(error: Exception) -> int:
    """Print an error, with its traceback where it is a fault, and return the exit code that goes with it."""
    from snnpipe.hydra_errors import report

    mistake = isinstance(error, UserError)
    if not mistake:
        traceback.print_exception(error)
    report(error)
    return _MISTAKE if mistake else _FAULT


def without_sweep(overrides: Sequence[str]) -> list[str]:
    """Return overrides but those that say how a multi-run is run, and not what."""
    return [override for override in overrides if not override.lstrip("+").startswith("sweep.")]


# ---------------------------------------------------------------------- a job


def run_job(composed: DictConfig) -> None:
    """Run one job of a multi-run. A failure is told and recorded, and not raised: the other jobs go on."""
    from snnpipe.config import build, check, interpolated_keys, resolve
    from snnpipe.fingerprint import run_fingerprint
    from snnpipe.summary import closing_table

    job = HydraConfig.get()
    folder, overrides = Path(job.runtime.output_dir), without_sweep(job.overrides.task)
    limit_cores(_cores_for(job.launcher))
    tags = _tags(job.job.num, overrides)
    trainer = None
    try:
        config = resolve(composed)
        check(config, interpolated_keys(composed))
        tags["run.fingerprint"] = run_fingerprint(config)
        if composed.sweep.resume and (done := _finished(composed, tags["run.fingerprint"])):
            print(f"snnpipe: job {' '.join(overrides)} is done already: run {done.run_id}", flush=True)
            return
        trainer = build(config, tags=tags, parent=composed.sweep.parent)
        result = trainer.run()
    except Exception as error:
        print(f"snnpipe: job {' '.join(overrides)} failed", file=sys.stderr)
        mistake = _tell(error) == _MISTAKE
        if trainer is None or not trainer.was_logged:
            _record_failure(composed, tags, error)
        _keep(folder, SweepJob(overrides, error=reason(error), mistake=mistake))
        return
    print(closing_table(result), flush=True)
    _keep(folder, SweepJob(overrides, metrics=dict(result.metrics)))


def record_loss(composed: DictConfig, error: Exception) -> None:
    """Tell and record, in the process that began the multi-run, that a job is gone with its own.

    ``composed`` is the job's configuration with Hydra's node in it.
    """
    hydra = composed.hydra
    overrides = without_sweep(hydra.overrides.task)
    print(f"snnpipe: job {' '.join(overrides)} was lost: {one_line(error)[:300]}", file=sys.stderr)
    _record_failure(composed, _tags(hydra.job.num, overrides), error)
    job = SweepJob(overrides, error=reason(error), mistake=isinstance(error, UserError))
    _keep(Path(hydra.sweep.dir) / str(hydra.job.num), job)


def _tags(number: int, overrides: Sequence[str]) -> dict[str, str]:
    return {"sweep.job": str(number), "sweep.overrides": json.dumps(overrides)}


def _cores_for(launcher: Mapping[str, Any]) -> int:
    """Return how many cores a launcher has for each of its jobs: what Ray and Slurm call it, or joblib's share."""
    given = launcher.get("num_cpus") or launcher.get("cpus_per_task")
    return int(given) if given else present_cores() // launcher.get("n_jobs", 1)


def _finished(composed: DictConfig, fingerprint: str) -> SweepJob | None:
    """Return the job of the parent run that finished with the same configuration."""
    from snnpipe.config import build_sweep_store

    store = build_sweep_store(composed)
    return store.finished_job(composed.sweep.parent, fingerprint) if store is not None else None


def _record_failure(composed: DictConfig, tags: Mapping[str, str], error: Exception) -> None:
    """Record a job that failed before its run was opened as a child that failed."""
    from snnpipe.config import build_sweep_store

    try:
        store = build_sweep_store(composed)
        if store is not None and composed.sweep.parent is not None:
            mistake = str(isinstance(error, UserError)).lower()
            tags = {**tags, "error": reason(error), "error.mistake": mistake}
            store.start(" ".join(json.loads(tags["sweep.overrides"])), {}, tags, parent=composed.sweep.parent)
            store.finalize("FAILED")
    except UserError:  # it was the store that failed, and that has been told
        return


def _keep(folder: Path, job: SweepJob) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with replace_file(folder / _RESULT) as file:
        content = {"overrides": job.overrides, "metrics": job.metrics, "error": job.error, "mistake": job.mistake}
        file.write(json.dumps(content, indent=1).encode())


def _jobs_in(folder: Path) -> Sequence[SweepJob]:
    """Return the jobs that left their answer in a multi-run's folder, in their order."""
    folders = sorted(folder.glob(f"*/{_RESULT}"), key=lambda path: (len(path.parent.name), path.parent.name))
    return [SweepJob(**json.loads(path.read_text())) for path in folders]
