"""``python -m snnpipe.review``, and what the MLflow UI shows of a run in a browser."""

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from urllib.parse import urlsplit

import psutil
import pytest
from configs import composed

from snnpipe import review
from snnpipe.config import build
from snnpipe.tool import end_with

PATIENCE_S = 60
PREVIEWS = {
    "plots/raster_dense.png": "return [...document.images].some(i => i.complete && i.naturalWidth > 300)",
    "tables/accuracy_over_time.csv": "return document.body.innerText.includes('time_ms')",
    "report.html": "return document.querySelector('iframe.mlflow-html-iframe') !== null",
    "environment.json": "return document.body.innerText.includes('nengo-dl')",
}
"""Artifacts, and what is true in JavaScript where the UI previews them."""


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_dir):
    """The default run, shortened, in a store of its own; and the folder that it is in."""
    folder = tmp_path_factory.mktemp("reviewed")
    short = ("data.max_train_images=320", "training.epochs=2", "simulator.max_images=50")
    places = (f"paths.mlruns={folder}/mlruns", f"data.data_dir={data_dir}")
    return build(composed(*short, *places)).run(), folder


@pytest.fixture(scope="module")
def address(run):
    """The address that is printed. In the end Ctrl-C leaves no process."""
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    process = subprocess.Popen(
        [sys.executable, "-m", "snnpipe.review"],
        cwd=run[1],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    yield process.stdout.readline().strip()
    started = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, err) == (0, "")
    assert started and not psutil.wait_procs(started, timeout=PATIENCE_S)[1]


def test_the_address_answers(address):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    assert address.startswith("http://127.0.0.1:") and "/#/experiments/1/runs" in address
    assert b"MLflow" in opener.open(address.partition("#")[0], timeout=PATIENCE_S).read()


def test_the_server_listens_on_loopback_alone(address):
    port = urlsplit(address).port
    listening = [c.laddr for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert {place.ip for place in listening if place.port == port} == {"127.0.0.1"}
    server = next(p for p in psutil.process_iter() if "mlflow" in p.cmdline() and str(port) in p.cmdline())
    for process in (server, *server.children(recursive=True)):
        places = [c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert set(places) <= {"127.0.0.1"}


def test_the_ui_shows_the_run(browser, address, run, tmp_path):
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.expected_conditions import element_to_be_clickable
    from selenium.webdriver.support.wait import WebDriverWait

    result = run[0]
    wait = WebDriverWait(browser, PATIENCE_S)

    def until(script: str) -> None:
        try:
            wait.until(lambda _: browser.execute_script(script))
        except TimeoutException:
            browser.save_screenshot(str(tmp_path / "failed.png"))
            raise AssertionError(f"in {tmp_path / 'failed.png'} this did not become true: {script}") from None

    def shows(text: str) -> str:
        return f"return document.body.innerText.includes({text!r})"

    def click(how: str, what: str) -> None:
        wait.until(element_to_be_clickable((how, what))).click()

    browser.get(address)
    until(shows("digits-Cnn2d-Keras-SpikingReLU-x100-10ms-60steps-50images"))
    click(By.PARTIAL_LINK_TEXT, "digits-Cnn2d-Keras")
    for text in ("Description", "of images get the class that the ANN gives", "snn/accuracy_at_step", "neuron"):
        until(shows(text))
    assert result.address["run id"] in browser.current_url

    click(By.LINK_TEXT, "snn/accuracy_at_step")
    wait.until(element_to_be_clickable((By.XPATH, "//input[@placeholder='Search metric charts']"))).send_keys("at_step")
    until("return document.querySelectorAll('.js-plotly-plot path.js-line').length >= 2")

    run_page = browser.current_url.rpartition("/")[0]
    for path, previewed in PREVIEWS.items():
        browser.get(f"{run_page}/artifacts/{path}")
        browser.refresh()  # another fragment alone loads nothing
        until(previewed)


# ---------------------------------------------------------------------- what goes wrong


@pytest.fixture
def command(monkeypatch, capsys, tmp_path) -> Callable[..., str]:
    """Run the command in an empty folder, where it ends in a mistake; return the line that it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["review", *arguments])
        with pytest.raises(SystemExit) as end:
            end_with(review.main)
        out, err = capsys.readouterr()
        assert (end.value.code, out, err.count("\n")) == (2, "", 1)
        assert err.startswith("snnpipe: error: ")
        return err

    return run


def test_a_store_that_is_not_there_is_named(command, tmp_path):
    assert f"there is no store {tmp_path}/mlruns/mlflow.db yet" in command()
    assert "cannot open http://127.0.0.1:9" in command("--tracking-uri", "http://127.0.0.1:9")
    assert not list(tmp_path.iterdir())


def test_a_port_that_is_taken_is_named(command, tmp_path):
    (tmp_path / "store.db").touch()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        said = command("--tracking-uri", f"sqlite:///{tmp_path}/store.db", "--port", port)
    assert f"--port: got {port}" in said
