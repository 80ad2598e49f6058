"""Runs the jobs of a multi-run on a Ray cluster, or on a Ray that it starts on this machine."""

import os
import re
import signal
import socket
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

from annotated_types import Ge, MinLen

from hydra_plugins.snnpipe.cluster import Answer, ClusterLauncher, Jobs, plain, run
from snnpipe.base.errors import UserError, one_line

_ANSWER_TIMEOUT_S = 5.0
_STOP_S = 20.0


class RayLauncher(ClusterLauncher):
    """Run each job as a task of Ray.

    Parameters
    ----------
    address
        Address of the cluster, ``host:port`` or ``ray://host:port``. None uses ``$RAY_ADDRESS``, or a Ray of this
        machine.
    num_cpus
        Number of cores of a job.
    max_retries
        How many times a job is started again if its process or machine is lost.
    runtime_env
        Ray's runtime environment for the jobs.
    """

    keeps_passwords = True

    def __init__(
        self,
        address: Annotated[str, MinLen(1)] | None,
        num_cpus: Annotated[int, Ge(1)],
        max_retries: Annotated[int, Ge(0)],
        runtime_env: dict[str, Any] | None,
    ):
        self._address, self._num_cpus, self._max_retries = address, num_cpus, max_retries
        self._runtime_env = plain(runtime_env)

    def _submit(self, jobs: Jobs, overrides: Mapping[int, Sequence[str]]) -> dict[int, Any]:
        cpus = self._num_cpus
        self._ray = ray = self._connected()
        largest = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
        if cpus > largest > 0:  # a cluster with 0 cores adds nodes on demand
            raise UserError(f"hydra.launcher.num_cpus: got {cpus}: the largest node of the cluster has {largest:.0f}")
        task = ray.remote(num_cpus=cpus, max_retries=self._max_retries)(run)
        shared = ray.put(jobs)
        return {number: task.remote(shared, number, words) for number, words in overrides.items()}

    def _connected(self) -> Any:
        """Return Ray. It stays connected while this process lives, because a sweeper may launch more than once.

        Raises
        ------
        UserError
            If Ray is not installed, or there is no such cluster.
        """
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # otherwise Ray warns of a future default
        try:
            import ray
        except ImportError as error:
            raise UserError("hydra/launcher: it needs Ray: pip install 'snnpipe[ray]'") from error
        if ray.is_initialized():
            return ray
        address = self._address or os.environ.get("RAY_ADDRESS")
        quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "ERROR"}
        terminate = signal.getsignal(signal.SIGTERM)
        try:
            if host := re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address or ""):  # Ray would try for minutes
                socket.create_connection((host[1], int(host[2])), timeout=_ANSWER_TIMEOUT_S).close()
            ray.init(address, runtime_env=self._runtime_env, **quiet)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"hydra.launcher.address: got {address!r}: {one_line(error)[:300]} (is it up, and where it wants a "
                "token, is RAY_AUTH_MODE=token set here?)"
            ) from error
        finally:
            signal.signal(signal.SIGTERM, terminate)  # Ray has replaced the handler
        return ray

    def _over(self, pending: Mapping[int, Any]) -> Collection[int]:
        over = set(self._ray.wait(list(pending.values()), num_returns=len(pending), timeout=0)[0])
        return [number for number, ref in pending.items() if ref in over]

    def _answer(self, handle: Any) -> Answer:
        answer: Answer = self._ray.get(handle)
        return answer

    def _stop(self, pending: Mapping[int, Any]) -> None:
        for ref in pending.values():
            self._ray.cancel(ref)
        self._ray.wait(list(pending.values()), num_returns=len(pending), timeout=_STOP_S)
        self._ray.shutdown()
