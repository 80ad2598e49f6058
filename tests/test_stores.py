"""Addresses of MLflow stores, who may open them, and the experiment and run that a run is filed under."""

import re
import shlex
import sqlite3
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from snnpipe.base.errors import LoggingError, UserError
from snnpipe.commands import compare, review, send
from snnpipe.commands.shared import end_with, open_store
from snnpipe.loggers.mlflow.address import address_problem, check_address
from snnpipe.loggers.mlflow.logger import MLflowLogger
from snnpipe.loggers.mlflow.spool import Spool

# ---------------------------------------------------------------------- addresses

WRONG = {
    "sqlite:mlruns.db": "it is written sqlite:///mlruns.db",
    "sqlite:/mlflow.db": "sqlite:///mlflow.db for a file in this folder, and sqlite:////mlflow.db for /mlflow.db",
    "sqlite://mlflow.db": "it is written sqlite:///mlflow.db",
    "sqlite3:///x.db": "it is written sqlite:///x.db",
    "SQLite:////tmp/x.db": "it is written sqlite:////tmp/x.db",
    "sqlite+pysqlite:///x.db": "it is written sqlite:///x.db",
    "sqlite:///": "it names no file: sqlite:///mlruns/mlflow.db",
    "sqlite:///:memory:": "gone with the run",
    "sqlite:///runs/": "that is a folder: name a file in it: sqlite:///runs/mlflow.db",
    "sqllite:///x.db": "did you mean sqlite:///x.db?",
    "x.db": "a SQLite file is written sqlite:///x.db",
    "/data/runs.sqlite": "a SQLite file is written sqlite:////data/runs.sqlite",
    "postgres://u@h/db": "write postgresql+psycopg2://u@h/db",
    "postgresql:h/db": "write postgresql+psycopg2://h/db",
    "postgresql+nope://h/db": "it is written postgresql+psycopg2://h/db",
    "postgresql://h:port/db": "postgresql+psycopg2://USER:PASSWORD@HOST:PORT/DATABASE",
    "./mlruns": "MLflow no longer keeps runs in folders: write sqlite:///mlruns/mlflow.db; `mlflow migrate-filestore",
    "mlruns": "`mlflow migrate-filestore --source mlruns --target sqlite:///mlruns/mlflow.db`",
    "/tmp/my runs": "--source '/tmp/my runs' --target 'sqlite:////tmp/my runs/mlflow.db'`",
    "file:": "MLflow no longer keeps runs in folders: write sqlite:///mlruns/mlflow.db",
    "file:///data/mlruns": "write sqlite:////data/mlruns/mlflow.db",
    "file:./mlruns": "write sqlite:///mlruns/mlflow.db",
    "C:\\Users\\me\\mlruns": "write sqlite:///C:/Users/me/mlruns/mlflow.db",
    "localhost:5000": "http:// or https://: http://localhost:5000",
    "tracking.example.org": "as in http://tracking.example.org:5000",
    "//host:5000": "http://host:5000",
    "https//host": "it is written https://host",
    "http//host:5000": "it is written http://host:5000",
    "http:/host:5000": "it is written http://host:5000",
    "http:host": "it is written http://host",
    "HTTP://host:5000": "it is written http://host:5000",
    "htp://host": "did you mean http://host?",
    "http://": "it names no server: http://HOST:5000",
    "http://host:99999": "Port out of range",
    "http://host:abc": "'abc'",
    "http://[::1": "Invalid IPv6 URL",
    "http://ho st:5000": "has no blanks",
    "http://host:5000/#/experiments/1/runs/2": "the server's address is http://host:5000",
    "http://host/?a=b": "the server's address is http://host",
    " http://host:5000 ": "without blanks around it: http://host:5000",
    "": "it is empty",
    "  ": "it is empty",
    "s3://bucket/runs": "keeps files",
    "nonsense://x": "MLflow has no store of the kind nonsense",
}
RIGHT = [
    *("sqlite:///x.db", "sqlite:////tmp/x.db", "sqlite:///a/x.db?timeout=5", "http://host", "https://u:p@host/mlflow/"),
    *("http://127.0.0.1:5000", "http://[::1]:5000", "databricks", "databricks://profile"),
]
ADDRESS = re.compile(r"(?:sqlite:///|https?://(?=[\w\[])|postgresql\+psycopg2://)[^\s`'?;,]+")


@pytest.mark.parametrize("uri", WRONG)
def test_an_address_that_no_store_has_is_told_with_the_right_spelling(uri, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no run has made a store
    problem = address_problem(uri)
    assert problem is not None and WRONG[uri] in problem
    for cure in ADDRESS.findall(problem):
        if not {"HOST", "PORT"} & set(re.findall("[A-Z]+", cure)):
            assert address_problem(cure) is None, f"{cure} is wrong itself"


@pytest.mark.parametrize("uri", RIGHT)
def test_an_address_of_a_store_is_taken(uri):
    assert address_problem(uri) is None


@pytest.mark.parametrize("uri", ["mysql://h/db", "mysql+pymysql://h/db", "mssql://h/db", "postgresql+psycopg://h/db"])
def test_a_database_whose_library_is_missing_says_what_to_install(uri, monkeypatch):
    monkeypatch.setattr("snnpipe.loggers.mlflow.address.find_spec", lambda name: None)
    problem = address_problem(uri)
    assert problem is not None
    install, spelled = re.search(r"pip install (\S+), and write (\S+)$", problem).groups()
    assert install in ("pymysql", "pymssql", "'psycopg[binary]'")
    monkeypatch.setattr("snnpipe.loggers.mlflow.address.find_spec", lambda name: name not in {"MySQLdb", "pyodbc"})
    assert address_problem(spelled) is None


def test_a_password_in_a_wrong_address_is_not_shown():
    with pytest.raises(LoggingError, match=r"key: got 'postgres://u:\*\*\*@h/db'") as raised:
        check_address("postgres://u:gehe1m@h/db", "key")
    assert "gehe1m" not in str(raised.value)


# ---------------------------------------------------------------------- every command takes and refuses the same


def tool(module, monkeypatch, capsys, *words: str) -> str:
    """Return the one line that a tool ends with."""
    monkeypatch.setattr(sys, "argv", [module.__name__, *words])
    with pytest.raises(SystemExit) as stopped:
        end_with(module.main)
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("snnpipe: error: ")


def all_tools(uri: str, folder, monkeypatch, capsys) -> list[str]:
    left = Spool(folder / "unsent" / "r", {"run_id": "r", "store": "http://127.0.0.1:9"})
    left.add({"kind": "tag", "name": "a", "value": "b", "stream": "rows", "at": 1}, None)
    left.close()
    option = ("--tracking-uri", uri)
    return [
        tool(review, monkeypatch, capsys, *option),
        tool(compare, monkeypatch, capsys, "a", "b", *option),
        tool(send, monkeypatch, capsys, str(folder), *option),
    ]


@pytest.mark.parametrize("uri", ["sqlite:/x.db", "postgres://h/db", "./mlruns", "http:/h", "http://h:abc", "", "C:\\x"])
def test_every_command_refuses_an_address_in_the_same_words(uri, tmp_path, monkeypatch, capsys):
    lines = all_tools(uri, tmp_path, monkeypatch, capsys)
    assert set(lines) == {f"--tracking-uri: got {uri!r}: {address_problem(uri)}"}
    if uri:
        with pytest.raises(LoggingError) as raised:
            MLflowLogger(tracking_uri=uri)
        assert str(raised.value) == f"logger.tracking_uri: got {uri!r}: {address_problem(uri)}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        with pytest.raises(LoggingError, match="^MLFLOW_TRACKING_URI: got "):
            MLflowLogger()
        assert tool(review, monkeypatch, capsys).startswith(f"MLFLOW_TRACKING_URI: got {uri!r}: ")


def test_an_address_is_refused_where_nothing_is_left_to_be_sent(tmp_path, monkeypatch, capsys):
    for uri in ("http:/h", "./mlruns"):
        line = tool(send, monkeypatch, capsys, str(tmp_path), "--tracking-uri", uri)
        assert line == f"--tracking-uri: got {uri!r}: {address_problem(uri)}"


def test_a_tool_that_reads_does_not_speak_of_logging(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    reads = tool(compare, monkeypatch, capsys, "a", "b", "--tracking-uri", "http://127.0.0.1:9")
    assert reads.endswith("set it to a store that answers, or leave it out for mlruns/mlflow.db")
    sends = all_tools("http://127.0.0.1:9", tmp_path, monkeypatch, capsys)[-1]
    assert "or leave it out for the store of the run; 1 of 1 calls" in sends


def test_a_run_refuses_an_address_before_anything_is_trained(command, tmp_path):
    result = command("logger.tracking_uri=./mlruns")
    assert result.code == 2
    (line,) = result.error_lines
    assert result.err.strip() == line and "logger.tracking_uri: got './mlruns': MLflow no longer keeps" in line
    assert not list((tmp_path / "work").iterdir())


@pytest.fixture
def guarded():
    """Answer every request on loopback with one status, which can be set."""
    status = [401]

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status[0])
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_PATCH = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", status
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("code", [401, 403])
def test_a_server_that_lets_nobody_in_names_the_variables(guarded, code, tmp_path, monkeypatch, capsys):
    uri, status = guarded
    status[0] = code
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    lines = all_tools(uri, tmp_path, monkeypatch, capsys)
    with pytest.raises(LoggingError) as raised:
        MLflowLogger(tracking_uri=uri).start("run", {}, {})
    for line in [*lines, str(raised.value)]:
        assert f"{uri} answers {code}: " in line
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN"):
            assert name in line
        assert "refused" not in line
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "me")
    with pytest.raises(LoggingError, match="it refuses the value of MLFLOW_TRACKING_USERNAME"):
        open_store(uri)


def test_what_is_no_mlflow_server_is_told(guarded):
    uri, status = guarded
    status[0] = 404
    with pytest.raises(LoggingError, match="no MLflow server is there"):
        open_store(uri)


def test_a_file_that_is_no_database_is_one_line(tmp_path):
    (tmp_path / "notes.db").write_text("hello " * 1000)
    with pytest.raises(LoggingError, match="logger.tracking_uri: cannot open sqlite:.*not a database"):
        MLflowLogger(tracking_uri=f"sqlite:///{tmp_path}/notes.db").start("run", {}, {})


def test_nothing_of_a_logger_that_was_not_started_is_an_attribute_error(tmp_path):
    logger = MLflowLogger(folder=str(tmp_path))
    for call in (
        lambda: logger.set_tag("a", "b"),
        lambda: logger.log_metrics({"a": 1.0}),
        lambda: logger.log_artifact(tmp_path),
        lambda: logger.shared_fit("x"),
    ):
        with pytest.raises(UserError, match="no run is open: call start first"):
            call()
    logger.finalize("FAILED")
    assert logger.address["run id"] == ""


@pytest.mark.slow  # MLflow's migrations
def test_the_command_that_moves_old_runs_moves_them(tmp_path, monkeypatch):
    from mlflow import MlflowClient

    old = tmp_path / "mlruns"
    with monkeypatch.context() as environment:
        environment.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        client = MlflowClient(old.as_uri())
        run = client.create_run(client.create_experiment("old"))
        client.log_metric(run.info.run_id, "accuracy", 0.5)
    problem = address_problem(str(old))
    assert problem is not None
    words = shlex.split(re.search("`(.*)`", problem)[1])
    assert words[0] == "mlflow"
    moved = subprocess.run([sys.executable, "-m", *words], check=False, capture_output=True, text=True)
    assert moved.returncode == 0, moved.stderr
    target = problem.rpartition("then write ")[2]
    _, client = open_store(target)
    assert client.get_run(run.info.run_id).data.metrics == {"accuracy": 0.5}


# ---------------------------------------------------------------------- the experiment


def started(logger: MLflowLogger):
    """Return a run of a logger as the store has it, and its experiment's name."""
    logger.start("run", {"seed": 0}, {"a": "b"})
    logger.log_metrics({"snn/test_accuracy": 0.5})
    logger.finalize("FINISHED")
    run = logger._client.get_run(logger.address["run id"])
    return run, logger._client.get_experiment(run.info.experiment_id).name


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """Leave MLflow's settings of the process as they were."""
    import mlflow
    from mlflow.tracking import fluent

    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    fluent._active_experiment_id = None
    monkeypatch.chdir(tmp_path)
    yield monkeypatch
    mlflow.set_tracking_uri(None)
    fluent._active_experiment_id = None


def test_the_experiment_is_what_is_given_else_the_environments_else_snnpipe(clean, tmp_path):
    def logger(**given) -> MLflowLogger:
        return MLflowLogger(folder=str(tmp_path / "store"), **given)

    assert started(logger())[1] == "snnpipe"
    clean.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    first, name = started(logger())
    assert name == "mine"
    assert started(logger(experiment_name="other"))[1] == "other"
    clean.setenv("MLFLOW_EXPERIMENT_ID", first.info.experiment_id)
    assert started(logger())[1] == "mine"
    clean.delenv("MLFLOW_EXPERIMENT_NAME")
    assert started(logger())[1] == "mine"
    clean.setenv("MLFLOW_EXPERIMENT_NAME", "other")
    with pytest.raises(LoggingError, match="MLFLOW_EXPERIMENT_ID: got .*MLFLOW_EXPERIMENT_NAME=other is another"):
        started(logger())
    clean.delenv("MLFLOW_EXPERIMENT_NAME")
    clean.setenv("MLFLOW_EXPERIMENT_ID", "4711")
    with pytest.raises(LoggingError, match="MLFLOW_EXPERIMENT_ID: got '4711', and this store has no such experiment"):
        started(logger())
    clean.delenv("MLFLOW_EXPERIMENT_ID")
    clean.setenv("MLFLOW_EXPERIMENT_NAME", "x" * 300)
    with pytest.raises(UserError, match="MLFLOW_EXPERIMENT_NAME: got"):
        started(logger())


@pytest.mark.long
def test_a_command_files_its_run_under_the_environments_experiment(command, clean, tmp_path):
    clean.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    clean.chdir(tmp_path / "work")
    fast = ("debug=fast", "model=mlp", "model.units=[4]", "callbacks=none", "training.epochs=0")
    assert command(*fast).code == 0
    assert command(*fast, "experiment_name=given").code == 0
    with sqlite3.connect(tmp_path / "work" / "mlruns" / "mlflow.db") as database:
        names = database.execute("select e.name from runs r join experiments e using (experiment_id)").fetchall()
    assert sorted(name for (name,) in names) == ["given", "mine"]


# ---------------------------------------------------------------------- inside an active run


def test_a_run_inside_an_active_run_is_nested_under_it(clean, tmp_path):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/team.db")
    mlflow.set_experiment("team")
    with mlflow.start_run() as outer:
        mlflow.log_metric("before", 1.0)
        inner, name = started(MLflowLogger())
        assert mlflow.active_run().info.run_id == outer.info.run_id
        mlflow.log_metric("after", 2.0)
        elsewhere, other = started(MLflowLogger(experiment_name="other"))
    assert inner.data.tags["mlflow.parentRunId"] == outer.info.run_id and name == "team"
    assert elsewhere.data.tags["mlflow.parentRunId"] == outer.info.run_id and other == "other"
    assert mlflow.get_run(outer.info.run_id).data.metrics == {"before": 1.0, "after": 2.0}
    assert mlflow.get_run(outer.info.run_id).info.status == "FINISHED"
    assert "mlflow.parentRunId" not in started(MLflowLogger())[0].data.tags, "the active run is over"


def test_where_no_store_is_given_a_nested_run_is_in_that_of_the_active_run(clean, tmp_path):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/default.db")
    with mlflow.start_run() as outer:
        clean.delenv("MLFLOW_TRACKING_URI")
        logger = MLflowLogger()
        inner, _ = started(logger)
        assert inner.data.tags["mlflow.parentRunId"] == outer.info.run_id
        assert inner.info.experiment_id == outer.info.experiment_id
        assert f"sqlite:///{tmp_path}/default.db" in logger.address["review"]
    assert not (tmp_path / "mlruns" / "mlflow.db").exists()


def test_a_run_in_another_store_than_the_active_one_says_that_it_is_not_nested(clean, tmp_path):
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/theirs.db")
    with mlflow.start_run() as outer:
        with pytest.warns(
            UserWarning, match=f"the active run {outer.info.run_id} is in .*theirs.db.* it is not nested"
        ):
            inner, name = started(MLflowLogger(tracking_uri=f"sqlite:///{tmp_path}/ours.db"))
        assert "mlflow.parentRunId" not in inner.data.tags and name == "snnpipe"
        assert mlflow.active_run().info.run_id == outer.info.run_id
