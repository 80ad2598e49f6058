"""Runs one job of a multi-run, and records its result or its failure."""

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from snnpipe.base import signals
from snnpipe.base.checked_files import read_json, write_json
from snnpipe.base.cores import limit_cores, threads
from snnpipe.base.errors import ConfigError, StorageError, UserError, one_line, reason
from snnpipe.base.exits import FAULT, MISTAKE
from snnpipe.base.garbage import importing
from snnpipe.base.masking import mask, masked, masked_traceback
from snnpipe.protocols import SweepStore
from snnpipe.sweeps.durations import KEY as N_STEPS
from snnpipe.sweeps.durations import task_overrides
from snnpipe.values.metric import MetricSpec, tags_of, without_patterns
from snnpipe.values.run import EarlierRun, SweepJob

if TYPE_CHECKING:
    from snnpipe.run.content import Content
    from snnpipe.trainer import Trainer
    from snnpipe.values.result import RunResult

_RESULT, _RESULT_FORMAT = "result.json", 1
_CONTENT_NOT_KNOWN = {"data.digest": "unknown"}
"""Tag of a job that failed before its content was known. An earlier result of the job may be for other data."""


def run_job(composed: DictConfig) -> Mapping[str, float] | None:
    """Run one job of a multi-run, and return its metrics; None if it failed.

    A failure is printed and recorded but not raised, so that the other jobs go on.
    """
    from snnpipe.config.build import build
    from snnpipe.config.check import check
    from snnpipe.config.compose import interpolated_keys, resolve
    from snnpipe.settings.command_line import command_line
    from snnpipe.sweeps.table import job_answers

    hydra = HydraConfig.get()
    job = _Job(composed, hydra, Path(hydra.runtime.output_dir))
    limit_cores(_cores_for(hydra.launcher))
    trainer = None
    try:
        config = resolve(composed)
        with importing():
            check(config, interpolated_keys(composed), trusted=None)
        if composed.sweep.resume and (done := job.finished(config, lambda: build(config, trusted=None).content)):
            for n_steps, answer in zip(job.steps, done, strict=True):
                job.say(n_steps, f"it is done already: run {answer.run_id}")
            return done[-1].metrics
        earlier = job.unfinished(config)
        if earlier is not None and (other := build(config, trusted=None).content.difference(earlier.content)):
            job.say(job.steps[-1], f"it starts again, because run {earlier.run_id} cannot go on: {other}")
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
        logged = trainer is not None and trainer.log.was_started
        for n_steps in job.unanswered:
            job.say(n_steps, "failed", file=sys.stderr)
        further = trainer.content.tags if logged and trainer is not None else _CONTENT_NOT_KNOWN
        job.record_failure(error, tell(error) == MISTAKE, logged=logged, further=further)
        return None
    output_dir = str(trainer.output_dir)
    job.say(job.steps[-1], f"{job_answers(result.metrics)}, files {output_dir}")
    job.keep(job.steps[-1], metrics=dict(result.metrics), output_dir=output_dir, specs=_plain(result.specs))
    return result.metrics


def record_loss(composed: DictConfig, error: Exception) -> None:
    """Print and record that a job was lost with its process. The process that began the multi-run calls this.

    ``composed`` is the job's configuration, with its node ``hydra``.
    """
    hydra = composed.hydra
    job = _Job(composed, hydra, Path(hydra.sweep.dir) / str(hydra.job.num))
    for n_steps in job.unanswered:
        job.say(n_steps, f"it was lost: {one_line(error)[:300]}", file=sys.stderr)
    job.record_failure(error, isinstance(error, UserError), logged=False)


def _cores_for(launcher: Mapping[str, Any]) -> int:
    """Return the number of cores that a launcher has for each job: the setting of Ray or Slurm, or joblib's share."""
    given = launcher.get("num_cpus") or launcher.get("cpus_per_task")
    return int(given) if given else threads() // launcher.get("n_jobs", 1)


def tell(error: Exception) -> int:
    """Print an error, with its traceback if it is a fault, and return its exit code."""
    from snnpipe.config.messages import report

    mistake = isinstance(error, UserError)
    if not mistake:
        sys.stderr.write(masked_traceback(error))
    report(error)
    return MISTAKE if mistake else FAULT


def without_sweep(overrides: Sequence[str]) -> list[str]:
    """Return overrides without those of ``sweep.*``, which say how a multi-run is run and not what it runs."""
    return [override for override in overrides if not override.lstrip("+").startswith("sweep.")]


def single(overrides: Sequence[str]) -> list[str]:
    """Return overrides without ``sweep=...``, so that they describe a single run."""
    return [override for override in overrides if not override.startswith("sweep=")]


def kept_jobs(folder: Path) -> list[SweepJob]:
    """Return the jobs whose answers are in a multi-run's folder, in their order.

    Raises
    ------
    ArtifactError
        If one of the files was altered or cut off.
    """
    folders = sorted(folder.glob(f"*/{_RESULT}"), key=lambda path: (len(path.parent.name), path.parent.name))
    answers = [read_json(path, _RESULT_FORMAT, "answer of a job")["answers"] for path in folders]
    return [_kept(job) for of_job in answers for job in of_job]


def _kept(job: Mapping[str, Any]) -> SweepJob:
    return SweepJob(**{**job, "specs": tuple(MetricSpec(**spec) for spec in job.get("specs", ()))})


def _plain(specs: Sequence[MetricSpec]) -> list[dict[str, Any]]:
    return [asdict(spec) for spec in without_patterns(specs)]


def _with_steps(config: Mapping[str, Any], n_steps: int) -> dict[str, Any]:
    return {**config, "simulator": {**config["simulator"], "n_steps": n_steps}}


class _Job:
    """Records a job of a multi-run in its folder, and in the store that keeps the multi-run."""

    def __init__(self, composed: DictConfig, hydra: DictConfig, folder: Path):
        self._folder, self._number = folder, int(hydra.job.num)
        self._overrides = [mask(override) for override in without_sweep(task_overrides(hydra))]
        self._composed, self._parent = composed, composed.sweep.parent
        self._durations: list[int] = list(composed.sweep.durations)
        self.steps: list[int | None] = [*self._durations, self._longest()] if self._durations else [None]
        self._kept: list[dict[str, Any]] = []
        self._answered: set[int | None] = set()

    def _longest(self) -> int:
        """Return the number of steps that is simulated: the last one given."""
        given = [o.partition("=")[2] for o in self._overrides if o.partition("=")[0] == N_STEPS]
        return int(given[-1])

    def number(self, n_steps: int | None) -> int:
        """Return the number, from 1, of the job's answer for some steps. Every list of jobs shows this number."""
        return self._number * len(self.steps) + self.steps.index(n_steps) + 1

    def say(self, n_steps: int | None, what: str, file: TextIO | None = None) -> None:
        """Print a line about the job's answer for some steps: its number, its overrides, and ``what``."""
        from snnpipe.sweeps.table import job_name

        sweep = self._composed.sweep
        keys = [*sweep["keys"], *([N_STEPS] if self._durations else [])]
        n_jobs = None if sweep.jobs is None else sweep.jobs * len(self.steps)
        print(
            f"snnpipe: {job_name(self.number(n_steps), n_jobs, self.overrides(n_steps), keys)}: {what}",
            flush=True,
            file=file,
        )

    @property
    def unanswered(self) -> list[int | None]:
        """The numbers of steps without an answer yet; None stands for the configured number of steps."""
        return [n_steps for n_steps in self.steps if n_steps not in self._answered]

    @cached_property
    def _store(self) -> SweepStore | None:
        from snnpipe.config.build import build_sweep_store

        return build_sweep_store(self._composed) if self._parent is not None else None

    def overrides(self, n_steps: int | None) -> list[str]:
        """Return the job's overrides, with ``n_steps`` in place of the longest duration if the job has several."""
        if not self._durations or n_steps is None:
            return self._overrides
        return [f"{N_STEPS}={n_steps}" if o.partition("=")[0] == N_STEPS else o for o in self._overrides]

    def alone(self, config: Mapping[str, Any]) -> list[str]:
        """Return the overrides that repeat the job's run as a single run."""
        return single(self.overrides(config["simulator"]["n_steps"]))

    def tags(self, config: Mapping[str, Any]) -> dict[str, str]:
        """Return the tags of the run with the answer for a configuration."""
        from snnpipe.config.compose import chosen_experiment
        from snnpipe.run.fingerprint import run_fingerprint

        n_steps = config["simulator"]["n_steps"]
        return chosen_experiment() | {
            **self._place(n_steps if self._durations else None),
            "sweep.duration": str(n_steps),
            "run.fingerprint": run_fingerprint(config),
        }

    def _place(self, n_steps: int | None) -> dict[str, str]:
        """Return the tags that say which job and which duration a run belongs to."""
        tags = {
            "sweep.job": str(self._number),
            "sweep.number": str(self.number(n_steps)),
            "sweep.overrides": json.dumps(self.overrides(n_steps)),
        }
        return tags if n_steps is None else tags | {"sweep.duration": str(n_steps)}

    def finished(self, config: Mapping[str, Any], content: "Callable[[], Content]") -> list[SweepJob]:
        """Return this job's answers in an earlier multi-run, one for each duration; none if one of them did not finish.

        ``content`` is called only if the multi-run has finished jobs of this configuration.
        """
        from snnpipe.run.fingerprint import run_fingerprint

        if self._store is None:
            return []
        durations = (*self._durations, config["simulator"]["n_steps"])
        fingerprints = [run_fingerprint(_with_steps(config, n_steps)) for n_steps in durations]
        if not all(self._store.finished_job(self._parent, fingerprint) for fingerprint in fingerprints):
            return []
        now = content()
        if now.unknown:
            self.say(self.steps[-1], f"it runs again: {next(iter(now.unknown.values()))}")
            return []
        answers = [self._store.finished_job(self._parent, fingerprint, now.tags) for fingerprint in fingerprints]
        finished = [answer for answer in answers if answer is not None]
        return finished if len(finished) == len(answers) else []

    def unfinished(self, config: Mapping[str, Any]) -> EarlierRun | None:
        """Return this job's unfinished run of an earlier multi-run, if the multi-run resumes; otherwise None."""
        from snnpipe.config.resume import earlier_run

        if config["run_id"] is not None or config["training"].get("resume"):
            key, value = ("run_id", config["run_id"]) if config["run_id"] else ("training.resume", "true")
            raise ConfigError(
                f"{key}: got {value}, which is for a single run: a multi-run goes on with sweep.resume=true"
            )
        if self._parent is None or not self._composed.sweep.resume:
            return None
        return earlier_run(self._composed, config, self._parent)

    def possible(self, config: Mapping[str, Any]) -> Iterator[int]:
        """Yield the shorter durations that are valid in the configuration. Others are recorded as mistakes."""
        from snnpipe.config.check import check_simulator

        for n_steps in self._durations:
            try:
                check_simulator(_with_steps(config, n_steps))
            except UserError as error:
                self.say(n_steps, "failed", file=sys.stderr)
                tell(error)
                self._record(n_steps, self.tags(_with_steps(config, n_steps)), error, mistake=True)
            else:
                yield n_steps

    def record_shorter(
        self, config: Mapping[str, Any], metrics: Mapping[str, float], longest: "RunResult", trainer: "Trainer"
    ) -> None:
        """Record the result for a shorter duration, taken from the longest simulation, as a run of its own.

        If that fails, the job is recorded as failed for this duration.
        """
        from snnpipe.sweeps.table import job_answers

        n_steps = config["simulator"]["n_steps"]
        try:
            if self._store is not None:
                self._log_shorter(self._store, config, metrics, longest, trainer)
        except Exception as error:
            self.say(n_steps, "failed", file=sys.stderr)
            self._record(n_steps, self.tags(config), error, mistake=tell(error) == MISTAKE)
        else:
            self.say(n_steps, job_answers(metrics))
            self.keep(n_steps, metrics=dict(metrics), specs=_plain(longest.specs))

    def _log_shorter(
        self,
        store: SweepStore,
        config: Mapping[str, Any],
        metrics: Mapping[str, float],
        longest: "RunResult",
        trainer: "Trainer",
    ) -> None:
        from snnpipe.metrics.series import step_series
        from snnpipe.run.summary import description
        from snnpipe.settings.describe import flatten
        from snnpipe.settings.naming import filter_tags, run_name

        simulator = config["simulator"]
        dataset = trainer.dataset_name
        tags = filter_tags(config, dataset) | trainer.content.tags | self.tags(config)
        tags |= tags_of(longest.specs) | {"simulation.run_id": longest.address.get("run id", "")}
        tags["description"] = description(replace(longest, metrics=metrics, diagnosis=None, remarks=()))
        store.start(config.get("run_name") or run_name(config, dataset), flatten(masked(config)), tags, self._parent)
        store.log_metrics(metrics)
        curves = {"accuracy": longest.accuracy_at_step, "agreement": longest.agreement_at_step}
        for name, values, first in step_series(curves, simulator["n_steps"], simulator["dt"]):
            store.log_series(name, values, first)
        store.finalize("FINISHED")

    def record_failure(
        self, error: Exception, mistake: bool, *, logged: bool, further: Mapping[str, str] | None = None
    ) -> None:
        """Record that the job failed for each duration without an answer.

        Each of them becomes a child run with ``further`` tags, except the one whose run is already open (``logged``).
        """
        for n_steps in self.unanswered:
            if logged and n_steps == self.steps[-1]:
                self.keep(n_steps, error=reason(error), mistake=mistake)
                continue
            with suppress(UserError):  # the store itself may have failed, and that error is printed already
                self._record(n_steps, {**self._place(n_steps), **(further or {})}, error, mistake)

    def _record(self, n_steps: int | None, tags: Mapping[str, str], error: Exception, mistake: bool) -> None:
        self.keep(n_steps, error=reason(error), mistake=mistake)
        if self._store is not None:
            tags = {**tags, "error": reason(error), "error.mistake": str(mistake).lower()}
            self._store.start(" ".join(self.overrides(n_steps)), {}, tags, parent=self._parent)
            self._store.finalize("FAILED")

    def keep(self, n_steps: int | None, **answer: Any) -> None:
        """Add the job's answer for some steps to the file in its folder."""
        self._answered.add(n_steps)
        self._kept.append({"overrides": self.overrides(n_steps), "number": self.number(n_steps), **answer})
        try:
            write_json(self._folder / _RESULT, {"answers": self._kept}, _RESULT_FORMAT)
        except StorageError as error:  # a logger may keep the answer too
            warnings.warn(one_line(error), stacklevel=2)
