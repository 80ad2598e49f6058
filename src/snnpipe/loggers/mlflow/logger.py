"""Logs runs and multi-runs to MLflow."""

import json
import os
import re
import shlex
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from snnpipe.base.errors import LoggingError, root_cause
from snnpipe.base.files import make_folder
from snnpipe.base.masking import mask
from snnpipe.bundle.bundle import SUFFIX
from snnpipe.loggers.mlflow.active import ActiveRun, active_run
from snnpipe.loggers.mlflow.address import cannot_open
from snnpipe.loggers.mlflow.experiment import find_or_create
from snnpipe.loggers.mlflow.fits import MLflowFits
from snnpipe.loggers.mlflow.model import FOLDER, write_model
from snnpipe.loggers.mlflow.runs import MLflowRuns
from snnpipe.loggers.mlflow.spool import CALLS
from snnpipe.loggers.mlflow.store import (
    SQLITE,
    VARIABLE,
    create_sqlite,
    given_by,
    is_server,
    may_take_later,
    open_client,
    opening_errors,
    sqlite_file,
    store_uri,
    without_user,
)
from snnpipe.loggers.mlflow.sweeps import PARENT_TAG, SWEEP_TAG, MLflowSweeps, sweep_fingerprint
from snnpipe.loggers.mlflow.view import FIRST_CHART, run_address, show_results
from snnpipe.loggers.mlflow.writes import MLflowWrites, send_left, spool_folder
from snnpipe.protocols import Status
from snnpipe.settings.domains import ExperimentName, Text
from snnpipe.settings.schema import check_fields
from snnpipe.values.checkpoint import EarlierFit
from snnpipe.values.data import DataSpec
from snnpipe.values.run import EarlierRun, SweepJob

_PARAM_LENGTH, _NAME_LENGTH = 6000, 250
_FOLDER = "mlruns"
_DATASET_DIGEST = 16
_PATIENCE_S = 30.0
_OWN_NAMES = {"description": "mlflow.note.content"}
"""MLflow's own names for tags that its pages show in a special place."""

_OF_AN_END = {"error", "error.mistake"}
"""Tags of a run that failed. They are removed when the run is resumed."""

_T = TypeVar("_T")


@dataclass
class MLflowLogger:
    """Log to an MLflow tracking store.

    Parameters
    ----------
    experiment_name
        Experiment of the runs. None uses ``$MLFLOW_EXPERIMENT_NAME`` or ``$MLFLOW_EXPERIMENT_ID``, and without them
        ``snnpipe``.
    tracking_uri
        Address of the store. None uses ``$MLFLOW_TRACKING_URI``, and without it a SQLite file in ``folder``.
    folder
        Folder of the SQLite store and its artifacts.
    spool
        Folder for calls that the store does not take, until it takes them. None uses ``folder``.

    Notes
    -----
    If a run is active in MLflow (``with mlflow.start_run():``) when this one begins, this one is nested under it. The
    active run stays open. If none of the parameters above was given, this run is in the store and the experiment of the
    active run. If it is in another store, it is not nested, and a warning says so.
    """

    experiment_name: ExperimentName | None = None
    tracking_uri: Text | None = None
    folder: Text = _FOLDER
    spool: Text | None = None
    _run_id: str = field(default="", init=False)
    _experiment_id: str = field(default="", init=False)
    _there: set[tuple[str, int]] = field(default_factory=set, init=False)
    _params_there: Collection[str] = field(default=(), init=False, repr=False)
    _client: Any = field(default=None, init=False, repr=False)
    _opened: MLflowWrites | None = field(default=None, init=False, repr=False)
    _store: str = field(default="", init=False, repr=False)
    _around: ActiveRun | None = field(default=None, init=False, repr=False)

    def __post_init__(self) -> None:
        check_fields(self, "logger")
        self._uri()

    @property
    def _writes(self) -> MLflowWrites:
        if self._opened is None:
            raise LoggingError("MLflowLogger: no run is open: call start first")
        return self._opened

    def start(
        self,
        run_name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        parent: str | None = None,
        resumed: str | None = None,
    ) -> None:
        """Open a run. A missing store or experiment is made.

        A resumed run keeps its params, and every metric of a step that it already has.

        Raises
        ------
        LoggingError
            If the store cannot be reached or written to.
        """
        with self._opening():
            client = self._open_client()
            if parent:
                MLflowSweeps(client).end_earlier(self._experiment_id, parent, tags)
            tags = {_OWN_NAMES.get(name, name): value for name, value in tags.items()}
            if parent is None and self._around is not None:
                parent = self._around.run_id
            tags |= {PARENT_TAG: parent} if parent else {}
            if resumed is None:
                self._write_to(client.create_run(self._experiment_id, run_name=run_name[:_NAME_LENGTH], tags=tags))
            else:
                self._params_there = self._reopen(resumed, tags)
        self.log_params(params)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record further parameters; a resumed run keeps those that it has."""
        named = {_name(name): _text(value)[:_PARAM_LENGTH] for name, value in params.items()}
        self._writes.params({name: text for name, text in named.items() if name not in self._params_there})

    def _write_to(self, run: Any) -> None:
        """Log to this run from now on."""
        self._run_id = run.info.run_id
        spool = Path(self.spool or self.folder)
        self._opened = MLflowWrites(self._client, self._run_id, self._uri(), spool, run.info.start_time)

    def _reopen(self, run_id: str, tags: Mapping[str, str]) -> Collection[str]:
        """Reopen a run, and return the names of its params."""
        self._write_to(self._client.get_run(run_id))
        self._writes.catch_up()
        run = self._client.get_run(run_id)
        self._experiment_id = run.info.experiment_id
        self._client.update_run(run_id, status="RUNNING")
        for name in _OF_AN_END & run.data.tags.keys():
            self._client.delete_tag(run_id, name)
        for name, value in tags.items():
            self._client.set_tag(run_id, name, value)
        histories = [self._client.get_metric_history(run_id, name) for name in run.data.metrics]
        self._there = {(metric.key, metric.step) for history in histories for metric in history}
        return set(run.data.params)

    def log_dataset(self, spec: DataSpec) -> None:
        """Record the dataset as an MLflow input."""
        source = {"uri": spec.source}
        if spec.source_type == "tensorflow_datasets":
            source = {"tfds": f"{spec.name}:{spec.version}", "folder": spec.source}
        elif spec.source_type in ("", "code"):
            source = {"tags": {"mlflow.source.name": spec.source}}  # type: ignore[dict-item]  # as MLflow's own
        profile = {"train": spec.n_train, "validation": spec.n_validation, "test": spec.n_test}
        schema = {spec.sample_word: list(spec.input_shape), "classes": list(spec.class_names), "scaling": spec.scaling}
        digest = spec.digest[:_DATASET_DIGEST] or f"unknown_{self._run_id[:8]}"  # equal to that of no other run
        self._writes.dataset(
            {
                "name": spec.name,
                "digest": digest,
                "source_type": spec.source_type or "code",
                "source": json.dumps(source),
                "schema": json.dumps(schema)[:1_000_000],
                "profile": json.dumps(profile),
            }
        )

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send metrics in one batch."""
        self._send([(name, value, step or 0) for name, value in metrics.items()])

    def log_series(self, name: str, values: Sequence[float], first_step: int = 1) -> None:
        """Send one metric's value at consecutive steps."""
        names = [name, FIRST_CHART[name]] if name in FIRST_CHART else [name]
        self._send([(name, value, first_step + i) for name in names for i, value in enumerate(values)])

    def _send(self, points: Sequence[tuple[str, float, int]]) -> None:
        named = [(_name(name), float(value), step) for name, value, step in points]
        self._writes.metrics([point for point in named if (point[0], point[2]) not in self._there])

    def set_tag(self, name: str, value: str) -> None:
        """Set or replace a tag."""
        self._writes.tag(_OWN_NAMES.get(name, name), value)

    def log_artifact(self, path: Path, folder: str = "") -> None:
        """Copy a file to the run's artifacts. A stored network becomes a model of MLflow too."""
        self._writes.artifact(path, folder)
        if path.suffix == SUFFIX:
            with TemporaryDirectory(prefix=".model-", dir=path.parent) as scratch:
                for file, of_model in write_model(path, Path(scratch) / FOLDER):
                    self._writes.artifact(file, of_model)

    def finalize(self, status: Status) -> None:
        """Close the run."""
        if self._opened is not None:
            self._opened.end(status)

    def shared_fit(self, fingerprint: str) -> AbstractContextManager[EarlierFit | None]:
        """Return a context manager that yields an earlier training with this fingerprint, or None if there is none."""
        return MLflowFits(self._client, self._run_id, self._writes).shared(fingerprint)

    # ------------------------------------------------------------------ multi-runs

    def start_sweep(self, name: str, command: str, identity: Sequence[str], *, resume: bool) -> str:
        """Open the parent run of a multi-run and return its id; to resume, that of the newest of the same identity."""
        sweeps = MLflowSweeps(self._open_client())
        fingerprint = sweep_fingerprint(identity)
        earlier = sweeps.newest(self._experiment_id, fingerprint) if resume else None
        if earlier is None:
            self.start(name, {"command": command}, {SWEEP_TAG: fingerprint})
        else:
            sweeps.reopen(earlier)
            self._write_to(self._client.get_run(earlier))
        return self._run_id

    def sweep_jobs(self) -> Sequence[SweepJob]:
        """Return the jobs of the open multi-run in their order, each with its latest result. All of them are over."""
        sweeps = MLflowSweeps(self._client or self._open_client())

        def ask() -> list[SweepJob]:
            sweeps.end_killed(self._experiment_id, self._run_id)
            return sweeps.jobs(self._experiment_id, self._run_id)

        return self._patiently(ask)

    def log_table(self, name: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Record a table where MLflow's pages look for tables. It replaces an earlier table of that name."""
        content = json.dumps({"columns": list(header), "data": [list(row) for row in rows]})
        with TemporaryDirectory() as folder:
            file = Path(folder, Path(name).name)
            file.write_text(content, encoding="utf-8")
            self.log_artifact(file, name.rpartition("/")[0])
        self.set_tag("mlflow.loggedArtifacts", json.dumps([{"path": name, "type": "table"}]))

    def earlier_run(self, run_id: str | None, fingerprint: str, parent: str | None = None) -> EarlierRun | None:
        """Return the run with this id; without an id, the newest unfinished run with this fingerprint.

        An id is MLflow's, or the value of the run's tag ``run.id``. With ``parent``, a search for a fingerprint covers
        only runs under that parent run. None if there is no such run. Calls in the run's folder that the store did not
        take earlier are sent first.

        Raises
        ------
        LoggingError
            If the id has the form of an MLflow id and this store has no such run, or if the store does not take the
            calls in the run's folder.
        """
        runs = MLflowRuns(self._open_client(), self._experiment_id)
        run = runs.earlier(run_id, fingerprint, parent)
        left = None if run is None else spool_folder(Path(run.output_dir), run.run_id)
        if run is not None and left is not None and (left / CALLS).is_file():
            with self._opening():
                send_left(left, self._client)
            run = runs.earlier(run.run_id, fingerprint, parent)
        return run

    def finished_job(self, parent: str, fingerprint: str, content: Mapping[str, str] | None = None) -> SweepJob | None:
        """Return the finished job with this fingerprint, and this content if given; None if there is none."""
        return MLflowSweeps(self._open_client()).finished(self._experiment_id, parent, fingerprint, content or {})

    @property
    def address(self) -> dict[str, str]:
        """The run's id, and the command that opens the UI of its store from any folder; for a server, its address."""
        uri = self._uri()
        if is_server(uri):
            where = run_address(without_user(uri).rstrip("/"), self._experiment_id, self._run_id)
        else:
            where = shlex.join([_python(), "-m", "snnpipe.review", *_store_option(uri)])
        return {"run id": self._run_id, "review": where}

    # ------------------------------------------------------------------ the store

    def _patiently(self, ask: Callable[[], _T]) -> _T:
        """Ask the store. If it does not answer, ask again for a while.

        Raises
        ------
        LoggingError
            If the store does not answer in that time.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return ask()
            except Exception as error:
                if not may_take_later(error):
                    raise
                if time.monotonic() > deadline:
                    raise LoggingError(f"{self._uri()} does not answer: {root_cause(error)}") from error
            time.sleep(1)

    def _uri(self) -> str:
        return self._store or store_uri(self.tracking_uri, self.folder)

    def _open_client(self) -> Any:
        self._store, self._around = self._choose_store()
        uri = self._store
        with self._opening(), self._first_use(uri):
            self._client = open_client(uri)
            artifacts = (sqlite_file(uri).parent / "artifacts").resolve().as_uri() if uri.startswith(SQLITE) else None
            self._experiment_id = find_or_create(self._client, self.experiment_name, self._around, artifacts)
            show_results(self._client, self._client.get_experiment(self._experiment_id))
        return self._client

    def _choose_store(self) -> tuple[str, ActiveRun | None]:
        """Return the address of the store to log to, and the active run in it that the new run is nested under."""
        uri, around = store_uri(self.tracking_uri, self.folder), active_run()
        if around is None or around.is_in(uri):
            return uri, around
        if self.tracking_uri is None and VARIABLE not in os.environ and self.folder == _FOLDER:
            return around.store, around
        warnings.warn(
            f"the active run {around.run_id} is in {mask(around.store)}, and this run in {mask(uri)}: it is not nested "
            "under the active run",
            stacklevel=2,
        )
        return uri, None

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """Turn an error of the store into a `LoggingError` of one line."""
        try:
            yield
        except opening_errors() as error:
            raise cannot_open(self._uri(), given_by(self.tracking_uri, "logger.tracking_uri"), error) from error

    @contextmanager
    def _first_use(self, uri: str) -> Iterator[None]:
        """Make a missing SQLite store. Within the block, no other process can create that store's experiments."""
        if not uri.startswith(SQLITE):
            yield
            return
        import fcntl

        folder = make_folder(sqlite_file(uri).parent, "paths.mlruns")
        with (folder / ".mlflow.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            create_sqlite(uri)
            yield


def _name(name: str) -> str:
    """Return a name with only the characters that MLflow allows, and with no path that leads elsewhere."""
    words = re.sub(r"[^\w\-. :/]", "_", name[:_NAME_LENGTH]).split("/")
    return "/".join(word if word.strip(".") else f"_{word}" for word in words)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _python() -> str:
    """Return the command for this Python in a shell, from any folder."""
    return "python" if shutil.which("python") == sys.executable else sys.executable


def _store_option(uri: str) -> list[str]:
    """Return the option that names a store from any folder; no option if the environment names it."""
    if uri.startswith(SQLITE):
        return ["--tracking-uri", f"{SQLITE}{sqlite_file(uri).absolute()}"]
    return [] if uri == os.environ.get("MLFLOW_TRACKING_URI") else ["--tracking-uri", mask(uri)]
