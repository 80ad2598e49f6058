"""The common part of the launchers for clusters: it runs each job in its own process, and waits for all jobs."""

import contextlib
import io
import os
import socket
import sys
import time
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, TextIO

from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, run_job, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from snnpipe.base.errors import LoggingError
from snnpipe.base.masking import VARIABLE, is_secret

_POLL_S = 0.2


@dataclass(frozen=True)
class Jobs:
    """The common data of a multi-run's jobs, which goes to the processes that run them."""

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


@dataclass(frozen=True)
class Answer:
    """How a job ended, or the error that prevented its start, and the text that it printed."""

    ended: JobReturn | Exception
    out: str
    err: str


class ClusterLauncher(Launcher):
    """Gives all jobs to a cluster, and prints the output of each job when the job is over."""

    keeps_passwords: ClassVar[bool]
    """Whether jobs go to the cluster only in memory, so that they may contain passwords."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the objects that Hydra gives to a launcher."""
        self.context, self.task, self.config = hydra_context, task_function, config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run jobs. A job that is lost with its process is printed and recorded, and the others go on.

        Raises
        ------
        UserError
            If the cluster is not available.
        """
        setup_globals()
        Path(self.config.hydra.sweep.dir).mkdir(parents=True, exist_ok=True)
        jobs = Jobs(
            self.context, self.config, self.task, Singleton.get_state(), os.getcwd(), _environment(self.keeps_passwords)
        )
        overrides = dict(enumerate(map(list, job_overrides), start=initial_job_idx))
        pending = self._submit(jobs, overrides)
        ended = {}
        try:
            while pending:
                time.sleep(_POLL_S)
                for number in self._over(pending):
                    ended[number] = self._end(pending.pop(number), jobs.config_of(number, overrides[number]))
        except BaseException:  # when this process ends, the jobs end too
            self._stop(pending)
            raise
        return [ended[number] for number in overrides]

    def _end(self, handle: Any, config: DictConfig) -> JobReturn:
        from snnpipe.sweeps.jobs import record_loss

        try:
            answer = self._answer(handle)
        except Exception as error:  # the cluster may raise anything
            answer = Answer(error, "", "")
        sys.stdout.write(answer.out)
        sys.stdout.flush()
        sys.stderr.write(answer.err)
        sys.stderr.flush()
        ended = answer.ended
        if isinstance(ended, JobReturn) and ended.status == JobStatus.COMPLETED:
            return ended
        record_loss(config, ended._return_value if isinstance(ended, JobReturn) else ended)
        return JobReturn(overrides=list(config.hydra.overrides.task), status=JobStatus.COMPLETED)

    @abstractmethod
    def _submit(self, jobs: Jobs, overrides: Mapping[int, Sequence[str]]) -> dict[int, Any]:
        """Start `run` for each job on the cluster, and return a handle of each job by its number."""

    @abstractmethod
    def _over(self, pending: Mapping[int, Any]) -> Collection[int]:
        """Return the numbers of the jobs that are over, without waiting."""

    @abstractmethod
    def _answer(self, handle: Any) -> Answer:
        """Return a job's answer, or raise an error if its process or node is gone."""

    @abstractmethod
    def _stop(self, pending: Mapping[int, Any]) -> None:
        """End jobs."""


def plain(setting: Any) -> Any:
    """Return a setting as plain lists and dictionaries. Hydra gives a launcher its own containers."""
    return OmegaConf.to_container(setting, resolve=True) if OmegaConf.is_config(setting) else setting


def run(jobs: Jobs, number: int, overrides: Sequence[str]) -> Answer:
    """Run a job in its process on the cluster."""
    os.environ.update(jobs.environment)
    out, err = _Copy(sys.stdout), _Copy(sys.stderr)
    ended: JobReturn | Exception
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
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
        except Exception as error:
            ended = error
    return Answer(ended, out.getvalue(), err.getvalue())


class _Copy(io.StringIO):
    """Keeps a copy of what is written to a stream. The stream goes to the cluster's log, the copy to the terminal."""

    def __init__(self, stream: TextIO):
        super().__init__()
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(text)
        self._stream.flush()
        return super().write(text)


def _environment(passwords: bool) -> dict[str, str]:
    """Return the environment variables that jobs need on every machine, with or without those that hold passwords."""
    wanted = ("MLFLOW_", "TFDS_DATA_DIR", VARIABLE)
    own = {name: value for name, value in os.environ.items() if name.startswith(wanted)}
    return {name: value for name, value in own.items() if passwords or not is_secret(name, value)}


def _enter(folder: str, config: DictConfig) -> None:
    """Change to the folder in which the multi-run was started, because its relative paths start there.

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
            f"logger.tracking_uri: got {store}, and the machine {socket.gethostname()} has no folder {folder} to log "
            "to: give an MLflow server's address, or start in a folder that all machines share"
        )
