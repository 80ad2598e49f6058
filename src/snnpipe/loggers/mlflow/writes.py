"""Sends what a run logs to an MLflow store at once, and keeps it while the store does not take it.

A call is plain data with the time at which it was made. So it can be sent later, and sending it twice does no harm:
metrics of the same name, step, time and value are one point in MLflow, and tags and files replace earlier ones.
"""

import time
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from snnpipe.base.errors import one_line, root_cause
from snnpipe.base.masking import mask
from snnpipe.loggers.mlflow.spool import Call, Outcome, RefusedError, Spool
from snnpipe.loggers.mlflow.store import check_takes_calls, may_take_later, wait_no_longer_than_needed
from snnpipe.protocols import Status

FOLDER = "unsent"
"""Name of the folder, within a run's output folder, that holds spools."""

ROWS, FILES = STREAMS = ("rows", "files")
"""Calls to the database, and calls to the folder of files. One of the two can be away while the other answers."""

_BATCH = {"params": 100, "metrics": 1000}
_FIRST_PAUSE_S, _PAUSE_S = 1.0, 60.0
_LAST_S = 10.0
_ATTEMPTS = 3


class MLflowWrites:
    """Sends the calls of a run in their order.

    Parameters
    ----------
    client
        An ``mlflow.MlflowClient``.
    run_id
        Id of the run.
    uri
        Address of the store.
    folder
        Folder for calls that the store does not take. They are in a folder with the run's id within it.
    began_ms
        Time at which the run began, by the store. No call gets an earlier time, nor one before that of an earlier call,
        even if the clock goes back.
    """

    def __init__(self, client: Any, run_id: str, uri: str, folder: Path, began_ms: int = 0):
        wait_no_longer_than_needed()
        self._client, self._run_id, self._uri = client, run_id, uri
        self._spool = Spool(spool_folder(folder, run_id), {"run_id": run_id, "store": mask(uri)})
        self._now_ms = began_ms
        self._pause_s = dict.fromkeys(STREAMS, 0.0)
        self._next_try = dict.fromkeys(STREAMS, 0.0)
        self._doubted = False

    def doubt(self) -> None:
        """Check before the next call whether the store answers. The caller has just seen that it does not."""
        self._doubted = True

    @property
    def waiting(self) -> bool:
        """Whether the store still lacks some rows of this run."""
        return ROWS in self._spool.streams()

    def catch_up(self) -> None:
        """Send the calls that an earlier process of the run has left.

        Raises
        ------
        MlflowException, OSError
            If the store does not take them.
        """
        if len(self._spool):
            hand_on_all(self._spool, self._client)

    def params(self, params: Mapping[str, str]) -> None:
        """Record parameters."""
        self._write({"kind": "params", "params": dict(params)})

    def metrics(self, points: Sequence[tuple[str, float, int]]) -> None:
        """Record metrics, each a name, a value and a step."""
        self._write({"kind": "metrics", "points": list(points)})

    def tag(self, name: str, value: str, *, of_files: bool = False) -> None:
        """Set or replace a tag. With ``of_files``, the tag is sent after the files that were logged before it."""
        self._write({"kind": "tag", "name": name, "value": value, "stream": FILES if of_files else ROWS})

    def dataset(self, dataset: Mapping[str, str]) -> None:
        """Record a dataset, given as the fields of an MLflow dataset."""
        self._write({"kind": "dataset", "dataset": dict(dataset)})

    def artifact(self, file: Path, folder: str) -> None:
        """Record a file.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        """
        file.stat()
        self._write({"kind": "artifact", "folder": folder, "stream": FILES}, file)

    def end(self, status: Status) -> None:
        """End the run. Calls that the store does not take within some seconds stay in the run's folder."""
        self._write({"kind": "end", "status": status})
        deadline, pause = time.monotonic() + _LAST_S, 0.1
        while len(self._spool) and time.monotonic() < deadline:
            time.sleep(pause)
            pause = min(2 * pause, _FIRST_PAUSE_S)
            self._next_try = dict.fromkeys(STREAMS, 0.0)
            self._send_kept()
        if len(self._spool):
            where = self._spool.folder.parent.parent
            text = f"{len(self._spool)} calls that log run {self._run_id} have not reached {self._spool.owner['store']}"
            if self._spool.is_safe:
                text += f": they are in {self._spool.folder}; `python -m snnpipe.send {where}` sends them"
            else:
                text += f" and are lost, because {self._spool.folder} cannot be written; the run's files are in {where}"
            warnings.warn(text, stacklevel=2)
        self._spool.close()

    # ------------------------------------------------------------------ sending

    def _write(self, call: Call, file: Path | None = None) -> None:
        self._now_ms = max(self._now_ms, time.time_ns() // 1_000_000)
        call = {"stream": ROWS, **call, "at": self._now_ms}
        if call["stream"] not in self._spool.streams():
            try:
                if self._doubted or len(self._spool):  # MLflow would wait longer for a store that is away
                    check_takes_calls(self._uri)
                    self._doubted = False
                send(self._client, self._run_id, call, file)
            except BaseException as error:
                if not isinstance(error, Exception):  # the run is being stopped, but its end must still be logged
                    self._spool.add(call, file)
                if not may_take_later(error):
                    raise
                self._put_off(call["stream"])
                if not len(self._spool):
                    warnings.warn(
                        f"the tracking store does not take what the run logs ({root_cause(error)[:200]}): it is kept "
                        f"in {self._spool.folder} until the store takes it",
                        stacklevel=2,
                    )
            else:
                return
        self._spool.add(call, file)
        self._send_kept()

    def _put_off(self, stream: str) -> None:
        self._pause_s[stream] = min(max(2 * self._pause_s[stream], _FIRST_PAUSE_S), _PAUSE_S)
        self._next_try[stream] = time.monotonic() + self._pause_s[stream]

    def _send_kept(self) -> None:
        """Send the kept calls of the streams whose pause is over."""
        now = time.monotonic()
        streams = {stream for stream in self._spool.streams() if self._next_try[stream] <= now}
        if not streams:
            return
        try:
            check_takes_calls(self._uri)
        except OSError:
            for stream in streams:
                self._put_off(stream)
            return
        outcome = hand_on(self._spool, self._client, streams)
        for stream in streams:
            if stream in outcome.failed:
                self._put_off(stream)
            else:
                self._pause_s[stream] = 0.0
        if outcome.taken:
            warnings.warn(f"the tracking store has taken {outcome.taken} calls that were kept for it", stacklevel=2)
        for why in outcome.refused:
            warnings.warn(f"the tracking store refuses a call that stays in {self._spool.folder}: {why}", stacklevel=2)


def hand_on(spool: Spool, client: Any, streams: Collection[str] = STREAMS) -> Outcome:
    """Send the calls of a spool to its run."""

    def take(call: Call, file: Path | None) -> None:
        try:
            send(client, spool.owner["run_id"], call, file)
        except Exception as error:
            if may_take_later(error) and not isinstance(error, FileNotFoundError):
                raise
            raise RefusedError(f"{call['kind']}: {one_line(error)[:300]}") from error

    return spool.hand_on(take, streams)


def hand_on_all(spool: Spool, client: Any) -> Outcome:
    """Send all calls of a spool to its run.

    Raises
    ------
    MlflowException, OSError
        If the store does not take them.
    """
    outcome = hand_on(spool, client)
    for error in outcome.failed.values():
        raise error
    return outcome


def send_left(folder: Path, client: Any) -> None:
    """Send the calls that a process has left in a spool's folder.

    Raises
    ------
    UserError
        If another process has locked the folder.
    MlflowException, OSError
        If the store does not take the calls.
    """
    spool = Spool(folder)
    try:
        hand_on_all(spool, client)
    finally:
        spool.close()


def spool_folder(folder: Path, run_id: str) -> Path:
    """Return the folder of a run's spool within the run's output folder."""
    return folder / FOLDER / run_id


def send(client: Any, run_id: str, call: Call, file: Path | None) -> None:
    """Send one call."""
    from mlflow.entities import Metric, Param

    if call["kind"] == "params":
        for some in _batches([Param(*item) for item in call["params"].items()], _BATCH["params"]):
            client.log_batch(run_id, params=some)
    elif call["kind"] == "metrics":
        metrics = [Metric(name, value, call["at"], step) for name, value, step in call["points"]]
        for some in _batches(metrics, _BATCH["metrics"]):
            client.log_batch(run_id, metrics=some)
    elif call["kind"] == "tag":
        client.set_tag(run_id, call["name"], call["value"])
    elif call["kind"] == "dataset":
        _send_dataset(client, run_id, call["dataset"])
    elif call["kind"] == "artifact":
        client.log_artifact(run_id, str(file), call["folder"] or None)
    else:
        client.set_terminated(run_id, status=call["status"], end_time=call["at"])


def _send_dataset(client: Any, run_id: str, dataset: Mapping[str, str]) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    inputs = [DatasetInput(Dataset(**dataset), [InputTag("mlflow.data.context", "training and test")])]
    for attempt in range(_ATTEMPTS):
        try:
            client.log_inputs(run_id, inputs)
        except MlflowException as error:  # if two runs log a new dataset at once, the second is refused once
            if attempt == _ATTEMPTS - 1 or may_take_later(error):
                raise
        else:
            return


def _batches(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for first in range(0, len(items), size):
        yield items[first : first + size]
