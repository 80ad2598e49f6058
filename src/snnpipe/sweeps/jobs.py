"""One job of a multi-run: what it does, and what it leaves behind however it ends."""

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from snnpipe import signals
from snnpipe.checked_files import read_json, write_json
from snnpipe.cores import limit_cores, threads
from snnpipe.errors import ConfigError, StorageError, UserError, one_line, reason
from snnpipe.masking import mask, masked, masked_traceback
from snnpipe.protocols import SweepStore
from snnpipe.sweeps.durations import KEY as N_STEPS
from snnpipe.sweeps.durations import told
from snnpipe.types import EarlierRun, SweepJob

if TYPE_CHECKING:
    from snnpipe.content import Content
    from snnpipe.run_result import RunResult
    from snnpipe.trainer import Trainer

_RESULT, _RESULT_FORMAT = "result.json", 1
_CONTENT_NOT_KNOWN = {"data.digest": "unknown"}
"""Tag of a job that failed before its content was known: an earlier result of it may be one of other data."""
FAULT, MISTAKE = 1, 2


def run_job(composed: DictConfig) -> Mapping[str, float] | None:
    """Run one job of a multi-run.

    Returns its metrics, or None where it failed: a failure is told and recorded, and not raised, so that the other
    jobs go on.
    """
    from snnpipe.config import build, check, interpolated_keys, resolve
    from snnpipe.describe import command_line
    from snnpipe.sweeps.table import job_line

    hydra = HydraConfig.get()
    job = _Job(composed, hydra, Path(hydra.runtime.output_dir))
    limit_cores(_cores_for(hydra.launcher))
    trainer = None
    try:
        config = resolve(composed)
        check(config, interpolated_keys(composed), trusted=None)
        if composed.sweep.resume and (done := job.finished(config, lambda: build(config, trusted=None).content)):
            print(f"snnpipe: job {job} is done already: run {done.run_id}", flush=True)
            return done.metrics
        earlier = job.unfinished(config)
        if earlier is not None and (other := build(config, trusted=None).content.difference(earlier.content)):
            print(f"snnpipe: job {job} begins once more, for run {earlier.run_id} cannot go on: {other}", flush=True)
            earlier = None
        if earlier is not None:
            config = resolve(composed, earlier.output_dir)
        shorter = list(job.possible(config))
        trainer = build(
            config,
            tags=job.tags(config),
            parent=composed.sweep.parent,
            durations=shorter,
            command=command_line(job.alone(config)),
            resumed=None if earlier is None else earlier.run_id,
            trusted=None,
        )
        result = trainer.run()
        for n_steps, metrics in result.at_duration.items():
            job.record_shorter(_with_steps(config, n_steps), metrics, result, trainer)
    except Exception as error:
        signals.check()
        print(f"snnpipe: job {job} failed", file=sys.stderr)
        logged = trainer is not None and trainer.was_logged
        job.record_failure(error, tell(error) == MISTAKE, logged=logged, further=_CONTENT_NOT_KNOWN)
        return None
    overrides, sweep = job.overrides(trainer.simulator.n_steps), composed.sweep
    answer = SweepJob(overrides, dict(result.metrics))
    output_dir = str(trainer.output_dir)
    print(f"snnpipe: {job_line(job.number, sweep.jobs, answer, list(sweep['keys']), output_dir)}", flush=True)
    job.keep(overrides, metrics=dict(result.metrics), output_dir=output_dir)
    return result.metrics


def record_loss(composed: DictConfig, error: Exception) -> None:
    """Tell and record, in the process that began the multi-run, that a job is gone with its own.

    ``composed`` is the job's configuration with Hydra's node in it.
    """
    hydra = composed.hydra
    job = _Job(composed, hydra, Path(hydra.sweep.dir) / str(hydra.job.num))
    print(f"snnpipe: job {job} was lost: {one_line(error)[:300]}", file=sys.stderr)
    job.record_failure(error, isinstance(error, UserError), logged=False)


def _cores_for(launcher: Mapping[str, Any]) -> int:
    """Return how many cores a launcher has for each of its jobs: what Ray and Slurm call it, or joblib's share."""
    given = launcher.get("num_cpus") or launcher.get("cpus_per_task")
    return int(given) if given else threads() // launcher.get("n_jobs", 1)


def tell(error: Exception) -> int:
    """Print an error, with its traceback where it is a fault, and return the exit code that goes with it."""
    from snnpipe.hydra_errors import report

    mistake = isinstance(error, UserError)
    if not mistake:
        sys.stderr.write(masked_traceback(error))
    report(error)
    return MISTAKE if mistake else FAULT


def without_sweep(overrides: Sequence[str]) -> list[str]:
    """Return overrides but those that say how a multi-run is run, and not what."""
    return [override for override in overrides if not override.lstrip("+").startswith("sweep.")]


def single(overrides: Sequence[str]) -> list[str]:
    """Return overrides but the choice of a sweep, which would make a multi-run of them."""
    return [override for override in overrides if not override.startswith("sweep=")]


def kept_jobs(folder: Path) -> list[SweepJob]:
    """Return the jobs that left their answers in a multi-run's folder, in their order.

    Raises
    ------
    ArtifactError
        If one of the files was altered or cut off.
    """
    folders = sorted(folder.glob(f"*/{_RESULT}"), key=lambda path: (len(path.parent.name), path.parent.name))
    answers = [read_json(path, _RESULT_FORMAT, "answer of a job")["answers"] for path in folders]
    return [SweepJob(**job) for of_job in answers for job in of_job]


def _with_steps(config: Mapping[str, Any], n_steps: int) -> dict[str, Any]:
    return {**config, "simulator": {**config["simulator"], "n_steps": n_steps}}


class _Job:
    """What a job of a multi-run records, in its folder and in the store that keeps the multi-run."""

    def __init__(self, composed: DictConfig, hydra: DictConfig, folder: Path):
        self._folder, self.number = folder, int(hydra.job.num)
        self._overrides = [mask(override) for override in without_sweep(told(hydra))]
        self._composed, self._parent = composed, composed.sweep.parent
        self._durations: list[int] = list(composed.sweep.durations)
        self._kept: list[dict[str, Any]] = []

    def __str__(self) -> str:
        return " ".join(self._overrides) or "as configured"

    @cached_property
    def _store(self) -> SweepStore | None:
        from snnpipe.config import build_sweep_store

        return build_sweep_store(self._composed) if self._parent is not None else None

    def overrides(self, n_steps: int) -> list[str]:
        """Return what the job was told, where it answers for some number of steps."""
        if not self._durations:
            return self._overrides
        return [f"{N_STEPS}={n_steps}" if o.partition("=")[0] == N_STEPS else o for o in self._overrides]

    def alone(self, config: Mapping[str, Any]) -> list[str]:
        """Return the overrides that have the job's run again, by itself."""
        return single(self.overrides(config["simulator"]["n_steps"]))

    def tags(self, config: Mapping[str, Any]) -> dict[str, str]:
        """Return the tags of the run that answers for a configuration."""
        from snnpipe.config import chosen_experiment
        from snnpipe.fingerprint import run_fingerprint

        n_steps = config["simulator"]["n_steps"]
        return chosen_experiment() | {
            "sweep.job": str(self.number),
            "sweep.duration": str(n_steps),
            "sweep.overrides": json.dumps(self.overrides(n_steps)),
            "run.fingerprint": run_fingerprint(config),
        }

    def finished(self, config: Mapping[str, Any], content: "Callable[[], Content]") -> SweepJob | None:
        """Return this job as it finished in an earlier multi-run, if it did and answered for every duration.

        It is asked what the job's ``content`` is where there is one of its configuration.
        """
        from snnpipe.fingerprint import run_fingerprint

        if self._store is None:
            return None
        durations = (*self._durations, config["simulator"]["n_steps"])
        fingerprints = [run_fingerprint(_with_steps(config, n_steps)) for n_steps in durations]
        if not all(self._store.finished_job(self._parent, fingerprint) for fingerprint in fingerprints):
            return None
        now = content()
        if now.unknown:
            print(f"snnpipe: job {self} runs once more: {next(iter(now.unknown.values()))}", flush=True)
            return None
        found = [self._store.finished_job(self._parent, fingerprint, now.tags) for fingerprint in fingerprints]
        return found[-1] if all(found) else None

    def unfinished(self, config: Mapping[str, Any]) -> EarlierRun | None:
        """Return the run of this job that an earlier multi-run was stopped in, where it resumes."""
        from snnpipe.resume import earlier_run

        if config["run_id"] is not None or config["training"].get("resume"):
            key, value = ("run_id", config["run_id"]) if config["run_id"] else ("training.resume", "true")
            raise ConfigError(
                f"{key}: got {value}, which is for a single run: a multi-run goes on with sweep.resume=true"
            )
        if self._parent is None or not self._composed.sweep.resume:
            return None
        return earlier_run(self._composed, config, self._parent)

    def possible(self, config: Mapping[str, Any]) -> Iterator[int]:
        """Yield the shorter durations that the configuration can have; another is recorded as a mistake."""
        from snnpipe.config import check

        for n_steps in self._durations:
            try:
                check(_with_steps(config, n_steps), trusted=None)
            except UserError as error:
                tell(error)
                self._record(self.overrides(n_steps), self.tags(_with_steps(config, n_steps)), error, mistake=True)
            else:
                yield n_steps

    def record_shorter(
        self, config: Mapping[str, Any], metrics: Mapping[str, float], longest: "RunResult", trainer: "Trainer"
    ) -> None:
        """Record what the simulation of the longest duration says of a shorter one, as a run of its own.

        Where that fails, the shorter one is a job that failed.
        """
        overrides = self.overrides(config["simulator"]["n_steps"])
        try:
            if self._store is not None:
                self._log_shorter(self._store, config, metrics, longest, trainer)
        except Exception as error:
            self._record(overrides, self.tags(config), error, mistake=tell(error) == MISTAKE)
        else:
            self.keep(overrides, metrics=dict(metrics))

    def _log_shorter(
        self,
        store: SweepStore,
        config: Mapping[str, Any],
        metrics: Mapping[str, float],
        longest: "RunResult",
        trainer: "Trainer",
    ) -> None:
        from snnpipe.describe import filter_tags, flatten, run_name
        from snnpipe.metrics.series import step_series
        from snnpipe.summary import description

        simulator = config["simulator"]
        dataset = trainer.dataset_name
        tags = filter_tags(config, dataset) | trainer.content.tags | self.tags(config)
        tags["simulation.run_id"] = longest.address.get("run id", "")
        tags["description"] = description(metrics, longest.simulator, longest.trained_by, no_synops=longest.no_synops)
        store.start(config.get("run_name") or run_name(config, dataset), flatten(masked(config)), tags, self._parent)
        store.log_metrics(metrics)
        curves = {"accuracy": longest.accuracy_at_step, "agreement": longest.agreement_at_step}
        for name, values, first in step_series(curves, simulator["n_steps"], simulator["dt"]):
            store.log_series(name, values, first)
        store.finalize("FINISHED")

    def record_failure(
        self, error: Exception, mistake: bool, *, logged: bool, further: Mapping[str, str] | None = None
    ) -> None:
        """Record that the job failed, as a child of its own where its run was not opened, with ``further`` tags."""
        if logged:
            self.keep(self._overrides, error=reason(error), mistake=mistake)
        else:
            with suppress(UserError):  # it may have been the store that failed, and that has been told
                tags = {
                    "sweep.job": str(self.number),
                    "sweep.overrides": json.dumps(self._overrides),
                    **(further or {}),
                }
                self._record(self._overrides, tags, error, mistake)

    def _record(self, overrides: Sequence[str], tags: Mapping[str, str], error: Exception, mistake: bool) -> None:
        self.keep(overrides, error=reason(error), mistake=mistake)
        if self._store is not None:
            tags = {**tags, "error": reason(error), "error.mistake": str(mistake).lower()}
            self._store.start(" ".join(overrides), {}, tags, parent=self._parent)
            self._store.finalize("FAILED")

    def keep(self, overrides: Sequence[str], **answer: Any) -> None:
        """Add an answer to those in the job's folder."""
        self._kept.append({"overrides": list(overrides), **answer})
        try:
            write_json(self._folder / _RESULT, {"answers": self._kept}, _RESULT_FORMAT)
        except StorageError as error:  # where a logger keeps the job too, nothing is lost
            warnings.warn(one_line(error), stacklevel=2)
