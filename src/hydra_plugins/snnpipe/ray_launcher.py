"""Jobs of a multi-run on a Ray cluster, or on a Ray that is started on this machine for them."""

import contextlib
import io
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from snnpipe.errors import LoggingError, UserError, one_line

_KEY = "hydra.launcher"
_STOP_S = 20.0


class RayLauncher(Launcher):
    """Run each job as a task of Ray.

    Parameters
    ----------
    address
        Of the cluster, as ``ray.init`` takes it; None joins one that is found here, or starts one.
    num_cpus
        Cores of a job.
    max_retries
        How often a job is begun again whose process or node is gone.
    runtime_env
        Ray's runtime environment of the jobs.
    """

    def __init__(self, address: str | None, num_cpus: int, max_retries: int, runtime_env: DictConfig):
        self.address = address
        self.num_cpus = num_cpus
        self.max_retries = max_retries
        self.runtime_env: Any = OmegaConf.to_container(runtime_env, resolve=True)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra hands to a launcher."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs, and print what each has printed when it is over; one that is lost with its node is recorded.

        Raises
        ------
        UserError
            If Ray is not installed or cannot be reached, or a setting is outside its domain.
        """
        self._check()
        ray = self._connect()
        setup_globals()
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        jobs = _Jobs(self.context, self.config, self.task, Singleton.get_state(), os.getcwd(), _settings_of_stores())
        shared = ray.put(jobs)
        task = ray.remote(num_cpus=self.num_cpus, max_retries=self.max_retries)(_run)
        pending = {}
        for number, overrides in enumerate(map(list, job_overrides), start=initial_job_idx):
            pending[task.remote(shared, number, overrides)] = number, overrides
        ended = {}
        try:
            while pending:
                (ref, *_), _ = ray.wait(list(pending))
                number, overrides = pending.pop(ref)
                ended[number] = _end(ray, ref, jobs.config_of(number, overrides))
        except BaseException:  # told to end: so are the jobs
            for ref in pending:
                ray.cancel(ref)
            ray.wait(list(pending), num_returns=len(pending), timeout=_STOP_S)
            ray.shutdown()
            raise
        return [ended[number] for number in sorted(ended)]

    def _check(self) -> None:
        from snnpipe.errors import ConfigError
        from snnpipe.schema import value_problem
        from snnpipe.types import NonNegativeInt, PositiveInt

        domains: dict[str, Any] = {"address": str | None, "num_cpus": PositiveInt, "max_retries": NonNegativeInt}
        problems = [value_problem(f"{_KEY}.{name}", getattr(self, name), domain) for name, domain in domains.items()]
        if found := [problem for problem in problems if problem]:
            raise ConfigError(*found)

    def _connect(self) -> Any:
        """Return Ray, which stays connected while this process lives: a sweeper may launch more than once."""
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # without it Ray warns of a default to come
        try:
            import ray
        except ImportError as error:
            raise UserError("hydra/launcher: it needs Ray: pip install 'snnpipe[ray]'") from error
        if not ray.is_initialized():
            terminate = signal.getsignal(signal.SIGTERM)
            quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
            try:
                ray.init(self.address, runtime_env=self.runtime_env or None, **quiet)
            except (OSError, RuntimeError, ValueError) as error:
                raise UserError(f"{_KEY}.address: got {self.address!r}: {one_line(error)[:300]}") from error
            finally:
                signal.signal(signal.SIGTERM, terminate)  # Ray puts its own in place
        largest = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
        if self.num_cpus > largest > 0:  # one with 0 cores adds nodes when they are asked for
            raise UserError(f"{_KEY}.num_cpus: got {self.num_cpus}: the largest node of the cluster has {largest:.0f}")
        return ray


@dataclass(frozen=True)
class _Jobs:
    """What all jobs of a multi-run take along to the processes that run them."""

    context: HydraContext
    config: DictConfig
    task: TaskFunction
    singletons: Any
    folder: str
    environment: Mapping[str, str]

    def config_of(self, number: int, overrides: Sequence[str]) -> DictConfig:
        """Return a job's own configuration."""
        config: DictConfig = self.context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(config):
            config.hydra.job.id = f"{config.hydra.job.name}_{number}"
            config.hydra.job.num = number
        return config


def _settings_of_stores() -> dict[str, str]:
    """Return the environment variables that hold for the jobs wherever they run."""
    return {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_") or name == "TFDS_DATA_DIR"}


def _run(jobs: _Jobs, number: int, overrides: Sequence[str]) -> tuple[JobReturn, str, str]:
    """Run a job in a process of Ray's; return how it ended and what it printed."""
    out, err = io.StringIO(), io.StringIO()
    os.environ.update(jobs.environment)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        setup_globals()
        Singleton.set_state(jobs.singletons)
        config = jobs.config_of(number, overrides)
        _enter(jobs.folder, config)
        HydraConfig.instance().set_config(config)
        ended = run_job(
            hydra_context=jobs.context,
            config=config,
            task_function=jobs.task,
            job_dir_key="hydra.sweep.dir",
            job_subdir_key="hydra.sweep.subdir",
        )
    return ended, out.getvalue(), err.getvalue()


def _enter(folder: str, config: DictConfig) -> None:
    """Go to the folder in which the multi-run was started, as its relative paths are meant.

    Raises
    ------
    LoggingError
        If this machine has no such folder, and runs are logged to files.
    """
    if Path(folder).is_dir():
        os.chdir(folder)
        return
    store = str(config.logger.get("tracking_uri") or os.environ.get("MLFLOW_TRACKING_URI") or "a file")
    if "://" not in store or store.startswith(("sqlite:", "file:")):
        raise LoggingError(
            f"logger.tracking_uri: got {store}, and the machine {socket.gethostname()} has no folder {folder} to log to: "
            "give an MLflow server's address, or start in a folder that all machines share"
        )


def _end(ray: Any, ref: Any, config: DictConfig) -> JobReturn:
    """Print what a job has printed and return how it ended; where its process or node is gone, record that."""
    from snnpipe.sweeps import record_loss

    try:
        ended, out, err = ray.get(ref)
    except ray.exceptions.RayError as error:
        record_loss(config, error.cause if isinstance(error, ray.exceptions.RayTaskError) else error)
        return JobReturn(overrides=list(config.hydra.overrides.task), status=JobStatus.COMPLETED)
    sys.stdout.write(out)
    sys.stderr.write(err)
    sys.stdout.flush()
    sys.stderr.flush()
    return ended
