"""A sweeper that asks Optuna which settings to try next, for one objective or several.

Hydra's own Optuna sweeper needs an old Optuna, which cannot keep a study in a database with a current SQLAlchemy. This
one uses Optuna's ask-and-tell interface, so that trials run on any launcher.
"""

import warnings
from collections.abc import Mapping, Sequence
from math import inf, isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, MinLen
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from snnpipe.base.errors import ConfigError, UserError, did_you_mean, one_line
from snnpipe.metrics.catalogue import CATALOGUE
from snnpipe.metrics.front import OBJECTIVES
from snnpipe.sweeps.durations import as_overrides
from snnpipe.values.metric import spec_of

if TYPE_CHECKING:
    import optuna


_OBJECTIVES, _SWEEP = "snnpipe.objectives", "snnpipe.sweep"
"""Attribute of a study with its objectives, and attribute of a trial with the multi-run that asked for it."""


class OptunaSweeper(Sweeper):
    """Run the trials that Optuna asks for, batch by batch.

    Parameters
    ----------
    minimize, maximize
        Metrics of a run to minimise, and metrics to maximise. At least one metric in total.
    n_trials
        Number of finished trials that the study must have in the end. Failed trials do not count.
    n_jobs
        Number of trials that are asked for together. The launcher may run them at the same time.
    params
        Settings to search, each a key with a list of values, ``range(...)`` or ``interval(low, high)``. A range or an
        interval may be ``tag(log, ...)``. Overrides of the command line that list values are searched too.
    sampler
        ``tpe`` (Bayesian), ``nsga2`` (evolutionary) or ``random``.
    seed
        Seed of the sampler.
    storage
        Where Optuna keeps the study: the URL of a database, or the path of a journal file (``.log``). A journal file is
        safe on a shared file system.
    study_name
        Name of the study. None makes a new study for the multi-run. An earlier study of that name is continued.
    as_configured
        Whether to run the configuration without any of the searched settings first, for comparison. This run is no
        trial of the study.
    """

    def __init__(
        self,
        minimize: list[Annotated[str, MinLen(1)]],
        maximize: list[Annotated[str, MinLen(1)]],
        n_trials: Annotated[int, Ge(1)],
        n_jobs: Annotated[int, Ge(1)],
        params: dict[str, Any],
        sampler: Literal["tpe", "nsga2", "random"],
        seed: Annotated[int, Ge(0)],
        storage: Annotated[str, MinLen(1)],
        study_name: Annotated[str, MinLen(1)] | None,
        as_configured: bool,
    ):
        self._minimized = dict.fromkeys(minimize, True) | dict.fromkeys(maximize, False)
        self._n_trials, self._n_jobs = n_trials, n_jobs
        self._params = dict(params)
        self._sampler, self._seed = sampler, seed
        self._storage, self._study_name = storage, study_name
        self._as_configured = as_configured
        self._may_be_missing: set[str] = set()

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the objects that Hydra gives to a sweeper, and make the launcher."""
        self.hydra_context, self.config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run trials until the study has enough of them."""
        fixed, space = self._space(arguments)
        self._may_be_missing = self._check_directions()
        study = self._open_study()
        self._check(study, space)
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        OmegaConf.save(self.config, Path(self.config.hydra.sweep.dir) / "multirun.yaml")
        next_job = len(study.trials) + 1
        if self._as_configured:
            self._launch([fixed], first_job=0)
        if self.config.sweep.resume:
            self._repeat_interrupted(study)
        failures = 0
        while (missing := self._n_trials - _n_complete(study)) > 0 and failures < self._n_trials:
            trials = [self._ask(study, space) for _ in range(min(self._n_jobs, missing))]
            jobs = [[*fixed, *(f"{key}={_written(value)}" for key, value in t.params.items())] for t in trials]
            answers = self._launch(jobs, next_job)
            next_job += len(trials)
            for trial, metrics in zip(trials, answers, strict=True):
                failures = 0 if self._tell(study, trial, metrics) else failures + 1

    # ------------------------------------------------------------------ its parts

    def _space(self, arguments: Sequence[str]) -> tuple[list[str], dict[str, Any]]:
        """Return the overrides of every trial, and the distribution of each searched setting."""
        words = [*as_overrides(self._params), *arguments]
        parsed = OverridesParser.create(config_loader=self.hydra_context.config_loader).parse_overrides(words)
        latest = {override.get_key_element(): override for override in parsed}
        fixed = [o.input_line or "" for o in latest.values() if not o.is_sweep_override()]
        space = {key: _distribution(o) for key, o in latest.items() if o.is_sweep_override()}
        if not self._minimized:
            raise ConfigError("hydra.sweeper.minimize: nothing to search for: name a metric, as [snn/accuracy_drop]")
        if not space:
            raise ConfigError(
                "hydra.sweeper.params: nothing to search: give a key several values, as in "
                "'conversion.scale_firing_rates=interval(10,300)'"
            )
        return fixed, space

    def _check_directions(self) -> set[str]:
        """Return the metrics that a run may be without, because it did not reach them.

        Raises
        ------
        ConfigError
            If an objective is to be minimized of which more is better, or the other way round.
        """
        from snnpipe.config.build import metric_specs

        own = metric_specs(self.config)
        problems = []
        for name, small in self._minimized.items():
            spec = spec_of(name, (*CATALOGUE, *own))
            if spec is not None and spec.better == ("higher" if small else "lower"):
                key, other = ("minimize", "maximize") if small else ("maximize", "minimize")
                problems.append(
                    f"hydra.sweeper.{key}: got {name!r}, whose {spec.better} values are better: name it in "
                    f"hydra.sweeper.{other}"
                )
        if problems:
            raise ConfigError(*problems)
        return {spec.name for spec in (*OBJECTIVES, *own)}

    def _open_study(self) -> "optuna.Study":
        try:
            import optuna
        except ImportError as error:
            raise UserError("hydra/sweeper: it needs Optuna: pip install 'snnpipe[optuna]'") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        name = self._study_name or self._identity
        try:
            study = optuna.create_study(
                storage=_open_storage(self._storage),
                study_name=name,
                directions=["minimize" if small else "maximize" for small in self._minimized.values()],
                load_if_exists=True,
            )
        except Exception as error:
            raise ConfigError(
                f"hydra.sweeper.storage: cannot open study {name!r} in {self._storage} ({one_line(error)[:300]}): "
                "give the URL of a database that answers, or the path of a .log file; or another study_name"
            ) from error
        study.sampler = self._make_sampler(self._seed + len(study.trials))  # a continued study needs new random numbers
        return study

    @property
    def _identity(self) -> str:
        """Identity of the multi-run: the id of its parent run, or the name of its folder."""
        return _parent_of(self.config) or Path(self.config.hydra.sweep.dir).name

    def _check(self, study: "optuna.Study", space: Mapping[str, Any]) -> None:
        """Raise `ConfigError` if an earlier study of this name had other objectives or other values to search."""
        from optuna.distributions import check_distribution_compatibility

        key = f"hydra.sweeper.study_name: the study {study.study_name!r}"
        wanted = [f"{'minimize' if small else 'maximize'} {name}" for name, small in self._minimized.items()]
        there = study.user_attrs.get(_OBJECTIVES, wanted if not study.trials else None)
        if there != wanted:
            raise ConfigError(f"{key} has other objectives ({', '.join(there or ['unknown'])}): give another name")
        study.set_user_attr(_OBJECTIVES, wanted)
        for trial in study.get_trials(deepcopy=False):
            for name in space.keys() & trial.distributions.keys():
                try:
                    check_distribution_compatibility(trial.distributions[name], space[name])
                except ValueError as error:
                    raise ConfigError(
                        f"{key} has searched other values of {name} ({trial.distributions[name]}): give another name"
                    ) from error

    def _ask(self, study: "optuna.Study", space: dict[str, Any]) -> "optuna.Trial":
        trial = study.ask(space)
        trial.set_user_attr(_SWEEP, self._identity)
        return trial

    def _repeat_interrupted(self, study: "optuna.Study") -> None:
        """Queue the trials that this multi-run left open when it was killed, so that they come first."""
        from optuna.trial import TrialState

        for trial in study.get_trials(states=[TrialState.RUNNING]):
            if trial.user_attrs.get(_SWEEP) == self._identity:
                study.tell(trial.number, state=TrialState.FAIL)
                study.enqueue_trial(trial.params)

    def _make_sampler(self, seed: int) -> "optuna.samplers.BaseSampler":
        from optuna import exceptions, samplers

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", exceptions.ExperimentalWarning)
            if self._sampler == "tpe":
                return samplers.TPESampler(seed=seed, multivariate=True, constant_liar=self._n_jobs > 1)
            if self._sampler == "nsga2":
                return samplers.NSGAIISampler(seed=seed)
            return samplers.RandomSampler(seed=seed)

    def _launch(self, jobs: Sequence[Sequence[str]], first_job: int) -> list[Mapping[str, float] | None]:
        """Run jobs and return the metrics of each; None for a job that failed."""
        self.validate_batch_is_legal(jobs)
        return [job.return_value for job in self.launcher.launch(jobs, initial_job_idx=first_job)]

    def _tell(self, study: "optuna.Study", trial: "optuna.Trial", metrics: Mapping[str, float] | None) -> bool:
        """Report the end of a trial to the study; return whether the trial counts as finished."""
        from optuna.trial import TrialState

        if metrics is None:
            study.tell(trial, state=TrialState.FAIL)
            return False
        ended = study.tell(trial, [self._value(metrics, name) for name in self._minimized])
        return ended.state == TrialState.COMPLETE

    def _value(self, metrics: Mapping[str, float], name: str) -> float:
        """Return the value of an objective; the worst possible value if the run does not have it or it is NaN."""
        if name not in metrics and name not in self._may_be_missing:
            key = "hydra.sweeper.minimize" if self._minimized[name] else "hydra.sweeper.maximize"
            raise ConfigError(f"{key}: no such metric {name!r}; {did_you_mean(name, metrics)}")
        value = metrics.get(name, nan)
        return (inf if self._minimized[name] else -inf) if isnan(value) else value


def _distribution(override: Override) -> "optuna.distributions.BaseDistribution":
    """Return the distribution from which Optuna draws a setting: a range of numbers, or a choice of several texts."""
    from optuna.distributions import CategoricalDistribution

    value = override.value()
    try:
        return _range_of(value) or CategoricalDistribution(list(override.sweep_string_iterator()))
    except (ValueError, IndexError) as error:
        key, _, given = (override.input_line or "").partition("=")
        raise ConfigError(
            f"{key}: got {given}: no range to search ({error}); it goes from low to high, tag(log, ...) from above 0"
        ) from error


def _range_of(value: Any) -> "optuna.distributions.BaseDistribution | None":
    from optuna.distributions import FloatDistribution, IntDistribution

    if isinstance(value, IntervalSweep) and value.start is not None and value.end is not None:
        whole = isinstance(value.start, int) and isinstance(value.end, int)
        return (IntDistribution if whole else FloatDistribution)(value.start, value.end, log="log" in value.tags)
    if isinstance(value, RangeSweep) and value.start is not None and value.stop is not None:
        numbers = list(value.range())
        whole = all(isinstance(number, int) for number in numbers)
        return (IntDistribution if whole else FloatDistribution)(numbers[0], numbers[-1], step=value.step)
    return None


def _open_storage(address: str) -> "optuna.storages.BaseStorage":
    """Return the storage at a database's URL, or in a journal file.

    Only one process at a time makes the tables of a new SQLite file.
    """
    import fcntl

    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if "://" not in address:
        Path(address).parent.mkdir(parents=True, exist_ok=True)
        return JournalStorage(JournalFileBackend(address))
    if not address.startswith("sqlite:///"):
        return RDBStorage(address)
    folder = Path(address.removeprefix("sqlite:///")).parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".optuna.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return RDBStorage(address)


def _parent_of(config: DictConfig) -> str | None:
    """Return the id of the multi-run's parent run, which the recorder has added to Hydra's overrides; None if none."""
    given = [o.partition("=")[2] for o in config.hydra.overrides.hydra if o.startswith("sweep.parent=")]
    return given[-1] if given else None


def _n_complete(study: "optuna.Study") -> int:
    from optuna.trial import TrialState

    return len(study.get_trials(deepcopy=False, states=[TrialState.COMPLETE]))


def _written(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
