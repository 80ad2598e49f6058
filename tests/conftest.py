"""Fixtures that tests share: the digits prepared once, small parts, a fitted model, the command line."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from snnpipe.frameworks import compat

ROOT = Path(__file__).parent.parent

# Tests that a shell started in the background ignore Ctrl-C, and so would the processes that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config: pytest.Config) -> None:
    """Import TensorFlow before a test imports tensorflow_datasets or a plugin by itself, where tests run."""
    if hasattr(config, "workerinput") or not config.getoption("numprocesses", None):
        compat.import_nengo_dl()


@pytest.fixture(scope="session", autouse=True)
def databases(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let MLflow fill a new SQLite file from one that it has made once: its migrations take a second each time.

    Processes that tests start make theirs by themselves.
    """
    from mlflow import MlflowClient
    from mlflow.store.db import utils

    made = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{made}").search_experiments()
    migrate = utils._initialize_tables

    def fill(engine) -> None:
        if engine.url.get_backend_name() != "sqlite":
            migrate(engine)
            return
        with closing(sqlite3.connect(made)) as template, closing(sqlite3.connect(engine.url.database)) as database:
            template.backup(database)

    utils._initialize_tables = fill


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the digits prepared in it."""
    from snnpipe import TfdsDataModule

    folder = tmp_path_factory.mktemp("tfds")
    TfdsDataModule("digits", data_dir=str(folder)).prepare_data()
    return folder


@pytest.fixture
def digits(data_dir: Path) -> Callable:
    """Make a data module of the digits, set up."""
    from snnpipe import TfdsDataModule

    def make(**settings):
        data = TfdsDataModule("digits", **{"data_dir": str(data_dir), "batch_size": 32, **settings})
        data.setup()
        return data

    return make


@pytest.fixture(scope="session")
def fitted(data_dir: Path):
    """A small CNN trained on the digits for three epochs, and its data module."""
    from snnpipe import Cnn2d, KerasTraining, TfdsDataModule
    from snnpipe.testing import Silent

    data = TfdsDataModule("digits", data_dir=str(data_dir), batch_size=32)
    data.setup()
    compat.start_afresh(0)
    model = Cnn2d(filters=[8, 16], dense=32).build(data.spec)
    KerasTraining(epochs=3, learning_rate=3e-3).fit(model, data, Silent())
    return model, data


class Result:
    """How a command line ended."""

    def __init__(self, code: int, out: str, err: str):
        self.code, self.out, self.err = code, out, err

    @property
    def error_lines(self) -> list[str]:
        return [line for line in self.err.splitlines() if line.startswith("snnpipe: error:")]


@pytest.fixture
def command(tmp_path: Path, data_dir: Path, monkeypatch, capfd) -> Callable[..., Result]:
    """Run ``python -m snnpipe`` within this process, in an empty folder."""
    from hydra.core.global_hydra import GlobalHydra

    from snnpipe.commands.main import main

    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(*overrides: str) -> Result:
        monkeypatch.setattr(sys, "argv", ["snnpipe", *overrides])
        GlobalHydra.instance().clear()
        code = 0
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # as the interpreter does, and pytest does not
                main()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except Exception as error:  # as the interpreter would end
            print(repr(error), file=sys.stderr)
            code = 1
        return Result(code, *capfd.readouterr())

    return run


@pytest.fixture
def process(tmp_path: Path, data_dir: Path) -> Callable[..., subprocess.Popen]:
    """Start ``python -m snnpipe`` as a process of its own, in an empty folder."""
    folder = tmp_path / "process"
    folder.mkdir()

    def start(*overrides: str) -> subprocess.Popen:
        environment = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "HYDRA_FULL_ERROR")}
        return subprocess.Popen(
            [sys.executable, "-m", "snnpipe", *overrides],
            cwd=folder,
            env=environment | {"TFDS_DATA_DIR": str(data_dir)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="module")
def browser() -> Iterator:
    """A headless Chromium that logs its requests."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs Chromium and its driver (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--no-proxy-server"):
        options.add_argument(argument)
    options.add_argument("--window-size=1280,1000")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    opened = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield opened
    opened.quit()
