"""One job of a multi-run: what it does, and what it leaves behind however it ends."""

import json
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from snnpipe.base import signals
from snnpipe.base.checked_files import read_json, write_json
from snnpipe.base.cores import limit_cores, threads
from snnpipe.base.errors import ConfigError, StorageError, UserError, one_line, reason
from snnpipe.base.masking import mask, masked, masked_traceback
from snnpipe.protocols import SweepStore
from snnpipe.sweeps.durations import KEY as N_STEPS
from snnpipe.sweeps.durations import told
from snnpipe.values.metric import MetricSpec, tags_of, without_patterns
from snnpipe.values.run import EarlierRun, SweepJob

if TYPE_CHECKING:
    from snnpipe.run.content import Content
    from snnpipe.trainer import Trainer
    from snnpipe.values.result import RunResult

_RESULT, _RESULT_FORMAT = "result.json", 1
_CONTENT_NOT_KNOWN = {"data.digest": "unknown"}
"""Tag of a job that failed before its content was known: an earlier result of it may be one of other data."""
FAULT, MISTAKE = 1, 2


def run_job(composed: DictConfig) -> Mapping[str, float] | None:
    """Run one job of a multi-run.

    Returns its metrics, or None where it failed: a failure is told and recorded, and not raised, so that the other
    jobs go on.
    """
    from snnpipe.config.check import build, check, interpolated_keys, resolve
    from snnpipe.settings.command_line import command_line
    from snnpipe.sweeps.table import job_answers

    hydra = HydraConfig.get()
    job = _Job(composed, hydra, Path(hydra.runtime.output_dir))
    limit_cores(_cores_for(hydra.launcher))
    trainer = None
    try:
        config = resolve(composed)
        check(config, interpolated_keys(composed), trusted=None)
        if composed.sweep.resume and (done := job.finished(config, lambda: build(config, trusted=None).content)):
            for n_steps, answer in zip(job.steps, done, strict=True):
                job.say(n_steps, f"it is done already: run {answer.run_id}")
            return done[-1].metrics
        earlier = job.unfinished(config)
        if earlier is not None and (other := build(config, trusted=None).content.difference(earlier.content)):
            job.say(job.steps[-1], f"it begins once more, for run {earlier.run_id} cannot go on: {other}")
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
        logged = trainer is not None and trainer.was_logged
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
    """Tell and record, in the process that began the multi-run, that a job is gone with its own.

    ``composed`` is the job's configuration with Hydra's node in it.
    """
    hydra = composed.hydra
    job = _Job(composed, hydra, Path(hydra.sweep.dir) / str(hydra.job.num))
    for n_steps in job.unanswered:
        job.say(n_steps, f"it was lost: {one_line(error)[:300]}", file=sys.stderr)
    job.record_failure(error, isinstance(error, UserError), logged=False)


def _cores_for(launcher: Mapping[str, Any]) -> int:
    """Return how many cores a launcher has for each of its jobs: what Ray and Slurm call it, or joblib's share."""
    given = launcher.get("num_cpus") or launcher.get("cpus_per_task")
    return int(given) if given else threads() // launcher.get("n_jobs", 1)


def tell(error: Exception) -> int:
    """Print an error, with its traceback where it is a fault, and return the exit code that goes with it."""
    from snnpipe.config.messages import report

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
    return [_kept(job) for of_job in answers for job in of_job]


def _kept(job: Mapping[str, Any]) -> SweepJob:
    return SweepJob(**{**job, "specs": tuple(MetricSpec(**spec) for spec in job.get("specs", ()))})


def _plain(specs: Sequence[MetricSpec]) -> list[dict[str, Any]]:
    return [asdict(spec) for spec in without_patterns(specs)]


def _with_steps(config: Mapping[str, Any], n_steps: int) -> dict[str, Any]:
    return {**config, "simulator": {**config["simulator"], "n_steps": n_steps}}


class _Job:
    """What a job of a multi-run records, in its folder and in the store that keeps the multi-run."""

    def __init__(self, composed: DictConfig, hydra: DictConfig, folder: Path):
        self._folder, self._number = folder, int(hydra.job.num)
        self._overrides = [mask(override) for override in without_sweep(told(hydra))]
        self._composed, self._parent = composed, composed.sweep.parent
        self._durations: list[int] = list(composed.sweep.durations)
        self.steps: list[int | None] = [*self._durations, self._longest()] if self._durations else [None]
        self._kept: list[dict[str, Any]] = []
        self._answered: set[int | None] = set()

    def _longest(self) -> int:
        """Return the number of steps that is simulated, which stands last where there are shorter ones."""
        given = [o.partition("=")[2] for o in self._overrides if o.partition("=")[0] == N_STEPS]
        return int(given[-1])

    def number(self, n_steps: int | None) -> int:
        """Return the number of what the job answers for some steps, from 1: of its row wherever jobs are listed."""
        return self._number * len(self.steps) + self.steps.index(n_steps) + 1

    def say(self, n_steps: int | None, what: str, file: TextIO | None = None) -> None:
        """Print a line of what the job answers for some steps: its number, what it was told, and what came of it."""
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
        """The numbers of steps, None for the configured one, that the job has left no answer for yet."""
        return [n_steps for n_steps in self.steps if n_steps not in self._answered]

    @cached_property
    def _store(self) -> SweepStore | None:
        from snnpipe.config.check import build_sweep_store

        return build_sweep_store(self._composed) if self._parent is not None else None

    def overrides(self, n_steps: int | None) -> list[str]:
        """Return what the job was told, where it answers for some number of steps."""
        if not self._durations or n_steps is None:
            return self._overrides
        return [f"{N_STEPS}={n_steps}" if o.partition("=")[0] == N_STEPS else o for o in self._overrides]

    def alone(self, config: Mapping[str, Any]) -> list[str]:
        """Return the overrides that have the job's run again, by itself."""
        return single(self.overrides(config["simulator"]["n_steps"]))

    def tags(self, config: Mapping[str, Any]) -> dict[str, str]:
        """Return the tags of the run that answers for a configuration."""
        from snnpipe.config.check import chosen_experiment
        from snnpipe.run.fingerprint import run_fingerprint

        n_steps = config["simulator"]["n_steps"]
        return chosen_experiment() | {
            **self._place(n_steps if self._durations else None),
            "sweep.duration": str(n_steps),
            "run.fingerprint": run_fingerprint(config),
        }

    def _place(self, n_steps: int | None) -> dict[str, str]:
        """Return the tags that say which answer a run is."""
        tags = {
            "sweep.job": str(self._number),
            "sweep.number": str(self.number(n_steps)),
            "sweep.overrides": json.dumps(self.overrides(n_steps)),
        }
        return tags if n_steps is None else tags | {"sweep.duration": str(n_steps)}

    def finished(self, config: Mapping[str, Any], content: "Callable[[], Content]") -> list[SweepJob]:
        """Return what this job answered for each of its steps in an earlier multi-run, if it finished for all of them.

        It is asked what the job's ``content`` is where there is one of its configuration.
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
            self.say(self.steps[-1], f"it runs once more: {next(iter(now.unknown.values()))}")
            return []
        answers = [self._store.finished_job(self._parent, fingerprint, now.tags) for fingerprint in fingerprints]
        found = [answer for answer in answers if answer is not None]
        return found if len(found) == len(answers) else []

    def unfinished(self, config: Mapping[str, Any]) -> EarlierRun | None:
        """Return the run of this job that an earlier multi-run was stopped in, where it resumes."""
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
        """Yield the shorter durations that the configuration can have; another is recorded as a mistake."""
        from snnpipe.config.check import check

        for n_steps in self._durations:
            try:
                check(_with_steps(config, n_steps), trusted=None)
            except UserError as error:
                self.say(n_steps, "failed", file=sys.stderr)
                tell(error)
                self._record(n_steps, self.tags(_with_steps(config, n_steps)), error, mistake=True)
            else:
                yield n_steps

    def record_shorter(
        self, config: Mapping[str, Any], metrics: Mapping[str, float], longest: "RunResult", trainer: "Trainer"
    ) -> None:
        """Record what the simulation of the longest duration says of a shorter one, as a run of its own.

        Where that fails, the shorter one is a job that failed.
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
        tags["description"] = description(
            metrics, longest.simulator, longest.trained_by, no_synops=longest.no_synops, specs=longest.specs
        )
        store.start(config.get("run_name") or run_name(config, dataset), flatten(masked(config)), tags, self._parent)
        store.log_metrics(metrics)
        curves = {"accuracy": longest.accuracy_at_step, "agreement": longest.agreement_at_step}
        for name, values, first in step_series(curves, simulator["n_steps"], simulator["dt"]):
            store.log_series(name, values, first)
        store.finalize("FINISHED")

    def record_failure(
        self, error: Exception, mistake: bool, *, logged: bool, further: Mapping[str, str] | None = None
    ) -> None:
        """Record that the job failed for each of its steps that it left no answer for.

        Each is a child of its own with ``further`` tags, but for the one whose run was opened.
        """
        for n_steps in self.unanswered:
            if logged and n_steps == self.steps[-1]:
                self.keep(n_steps, error=reason(error), mistake=mistake)
                continue
            with suppress(UserError):  # it may have been the store that failed, and that has been told
                self._record(n_steps, {**self._place(n_steps), **(further or {})}, error, mistake)

    def _record(self, n_steps: int | None, tags: Mapping[str, str], error: Exception, mistake: bool) -> None:
        self.keep(n_steps, error=reason(error), mistake=mistake)
        if self._store is not None:
            tags = {**tags, "error": reason(error), "error.mistake": str(mistake).lower()}
            self._store.start(" ".join(self.overrides(n_steps)), {}, tags, parent=self._parent)
            self._store.finalize("FAILED")

    def keep(self, n_steps: int | None, **answer: Any) -> None:
        """Add what the job answers for some steps to the file in its folder."""
        self._answered.add(n_steps)
        self._kept.append({"overrides": self.overrides(n_steps), "number": self.number(n_steps), **answer})
        try:
            write_json(self._folder / _RESULT, {"answers": self._kept}, _RESULT_FORMAT)
        except StorageError as error:  # where a logger keeps the job too, nothing is lost
            warnings.warn(one_line(error), stacklevel=2)
