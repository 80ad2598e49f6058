"""Opens the parent run of a multi-run before its jobs, and ends it with their table.

A job writes its answer to its folder of the multi-run and, if a logger keeps runs, to a child of the parent run. At the
end, the multi-run reads the child runs, or the folders if there is no such logger. So any launcher can run the jobs, in
any process and on any machine.
"""

import json
import sys
import warnings
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from snnpipe.base.errors import ArtifactError, LoggingError, UserError, one_line
from snnpipe.base.files import make_folder
from snnpipe.base.masking import to_environment
from snnpipe.protocols import Status, SweepStore
from snnpipe.sweeps import current
from snnpipe.sweeps.durations import merge_durations, task_overrides, what_varies
from snnpipe.sweeps.jobs import kept_jobs, tell, without_sweep
from snnpipe.sweeps.repeats import drop_repeats
from snnpipe.sweeps.results import write_results
from snnpipe.sweeps.table import sweep_table
from snnpipe.values.run import SweepJob

_HOW_MUCH = {"n_trials", "n_jobs", "max_batch_size", "storage"}
"""Settings of a sweeper that say how many jobs it runs and how fast, and not which values it tries."""


class SweepRecorder(Callback):
    """Opens the parent run when a multi-run begins. Hydra ignores a callback's errors, so the command line ends it."""

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Open the parent run, or reopen that of the same multi-run, and put its id into the jobs' configuration."""
        try:
            current.begin(_Sweep(config))
        except Exception as error:  # Hydra would only warn, and run the jobs without a parent run
            sys.exit(tell(error))


class _Sweep:
    """A multi-run that this process began."""

    def __init__(self, config: DictConfig):
        from snnpipe.config.build import build_sweep_store
        from snnpipe.config.multirun import check_sweep
        from snnpipe.settings.command_line import command_line

        check_sweep(config)
        self._folder = Path(config.hydra.sweep.dir)
        self._made = [path for path in (self._folder, *self._folder.parents) if not path.exists()]
        make_folder(self._folder, "hydra.sweep.dir")
        self._name = str(config.run_name or self._folder.name)
        self._command = command_line(sys.argv[1:])
        if dropped := drop_repeats(config):
            print(f"snnpipe: {dropped}", file=sys.stderr)
        identity = _identity(config)
        merge_durations(config)
        keys, n_jobs = what_varies(config)
        config.hydra.overrides.hydra.append(f"sweep.keys={keys}")
        if n_jobs is not None:
            config.hydra.overrides.hydra.append(f"sweep.jobs={n_jobs}")
        _move_passwords(config)
        try:
            self._store: SweepStore | None = build_sweep_store(config)
            if self._store is not None:
                parent = self._store.start_sweep(self._name, self._command, identity, resume=config.sweep.resume)
                config.hydra.overrides.hydra.append(f"sweep.parent={parent}")
            elif config.sweep.resume:
                raise UserError(
                    "sweep.resume: got true, but no logger keeps the jobs that are done: take logger=mlflow"
                )
        except Exception:
            self._leave_nothing()
            raise

    def end(self, status: Status) -> list[SweepJob]:
        """Print the table, write the results, end the parent run, and return the unfinished jobs."""
        ended: Status = "FAILED" if status == "FINISHED" else status
        try:
            jobs = self._jobs()
            failed = [job for job in jobs if job.metrics is None]
            if jobs:
                table = sweep_table(jobs)
                print(table, flush=True)
                results = write_results(jobs, self._folder, self._store, name=self._name, command=self._command)
                print(results, table.splitlines()[0], sep="\n", flush=True)
            else:
                self._leave_nothing()
            if failed:
                print(f"snnpipe: {_unfinished(failed, len(jobs), resumes=self._store is not None)}", file=sys.stderr)
            else:
                ended = status
        finally:
            if self._store is not None:
                self._store.finalize(ended)
        return failed

    def _jobs(self) -> list[SweepJob]:
        """Return the jobs from the store. Answers that it lacks, because it was away, come from the jobs' folders."""
        if self._store is None:
            return kept_jobs(self._folder)
        try:
            kept = kept_jobs(self._folder)
        except ArtifactError as error:  # the store has the jobs
            warnings.warn(one_line(error), stacklevel=2)
            kept = []
        try:
            stored = self._store.sweep_jobs()
        except LoggingError as error:
            warnings.warn(f"the table has this process's jobs only: {one_line(error)}", stacklevel=2)
            return kept
        finished = {tuple(job.overrides): job for job in kept if job.metrics is not None}

        def whole(job: SweepJob) -> SweepJob:
            here = finished.get(tuple(job.overrides)) if job.metrics is None else None
            return job if here is None else replace(job, metrics=here.metrics, specs=here.specs, error="")

        return [whole(job) for job in stored]

    def _leave_nothing(self) -> None:
        """Remove the folder of a multi-run without jobs, with Hydra's file in it, and the folders made above it."""
        with suppress(OSError):
            (self._folder / "multirun.yaml").unlink(missing_ok=True)
            for path in self._made:
                path.rmdir()


def _unfinished(failed: Sequence[SweepJob], jobs: int, *, resumes: bool) -> str:
    """Return how many jobs did not finish, and a cure. To repeat the command does not help against a mistake."""
    mistakes = sum(job.mistake for job in failed)
    text = f"{len(failed)} of {jobs} jobs did not finish"
    if mistakes == len(failed):
        return f"{text}: correct what the lines above name"
    again = "the same command with sweep.resume=true runs" if resumes else ""
    if not mistakes:
        return f"{text}; {again} them again, and no others" if again else text
    text += f": for {mistakes} of them, correct what the lines above name"
    return f"{text}; {again} the other{'s' * (len(failed) - mistakes > 1)} again" if again else text


def _move_passwords(node: Any) -> None:
    """Move a configuration's passwords to the environment, because Hydra and its launchers write it to files."""
    for key in list(node) if OmegaConf.is_dict(node) else range(len(node)):
        held = node._get_node(key)
        if OmegaConf.is_config(held) and not (held._is_none() or held._is_missing() or held._is_interpolation()):
            _move_passwords(held)
        elif isinstance(value := held._value(), str) and (moved := to_environment(value)) != value:
            with read_write(node), open_dict(node) if OmegaConf.is_dict(node) else nullcontext():
                node[key] = moved


def _identity(config: DictConfig) -> list[str]:
    """Return the texts that are equal for equal multi-runs: the overrides, and the values that the sweeper tries."""
    sweeper: Any = OmegaConf.to_container(config.hydra.sweeper, resolve=True)
    searched = {key: value for key, value in sweeper.items() if key not in _HOW_MUCH}
    return [*without_sweep(task_overrides(config.hydra)), json.dumps(searched, sort_keys=True)]
