"""``python -m snnpipe.review``, and what the MLflow UI shows of a run in a browser."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
from configs import composed

from snnpipe import MLflowLogger
from snnpipe.commands import review
from snnpipe.commands.shared import end_with
from snnpipe.config.build import build
from snnpipe.loggers.mlflow import view as mlflow_view
from snnpipe.loggers.mlflow.store import open_client

PATIENCE_S = 60
PREVIEWS = {
    "plots/raster_dense.png": "return [...document.images].some(i => i.complete && i.naturalWidth > 300)",
    "tables/accuracy_over_time.csv": "return document.body.innerText.includes('time_ms')",
    "report.html": "return document.querySelector('iframe.mlflow-html-iframe') !== null",
    "environment.json": "return document.body.innerText.includes('nengo-dl')",
}
"""Artifacts, and what is true in JavaScript where the UI previews them."""

TEXT = "const text = document.body.innerText.replace(/\\s+/g, ' ');"


@pytest.fixture(scope="module")
def run(tmp_path_factory, data_dir):
    """The default run, shortened, in a store of its own; and the folder that it is in."""
    folder = tmp_path_factory.mktemp("reviewed")
    short = ("data.max_train_images=320", "training.epochs=2", "simulator.max_images=50", "diagnosis.images=0")
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


@pytest.mark.long
def test_the_address_answers(address):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    assert address.startswith("http://127.0.0.1:") and "/#/experiments/1/runs" in address
    assert address.endswith("?workflowType=machine_learning&viewStateShareKey=snnpipe-1")
    assert b"MLflow" in opener.open(address.partition("#")[0], timeout=PATIENCE_S).read()


@pytest.mark.slow
def test_the_server_listens_on_loopback_alone(address):
    port = urlsplit(address).port
    listening = [c.laddr for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert {place.ip for place in listening if place.port == port} == {"127.0.0.1"}
    server = next(p for p in psutil.process_iter() if "mlflow" in p.cmdline() and str(port) in p.cmdline())
    for process in (server, *server.children(recursive=True)):
        places = [c.laddr.ip for c in process.net_connections("inet") if c.status == psutil.CONN_LISTEN]
        assert set(places) <= {"127.0.0.1"}


@pytest.fixture
def until(browser, tmp_path) -> Callable[[str], Any]:
    """Wait for what a script returns in the browser to become true, and return it."""
    from selenium.common.exceptions import TimeoutException
    from selenium.webdriver.support.wait import WebDriverWait

    def wait(script: str) -> Any:
        try:
            return WebDriverWait(browser, PATIENCE_S).until(lambda _: browser.execute_script(script))
        except TimeoutException:
            browser.save_screenshot(str(tmp_path / "failed.png"))
            raise AssertionError(f"in {tmp_path / 'failed.png'} this did not become true: {script}") from None

    return wait


@pytest.mark.slow  # 20 s with the run of the fixture
def test_the_runs_are_shown_with_their_accuracy_and_costs(browser, address, run, until):
    browser.get(address)
    until("return localStorage.getItem('mlflow.assistant.panelOpen_v1')")  # it opens once, over a third of the window
    browser.execute_script("localStorage.setItem('mlflow.assistant.panelOpen_v1', 'false')")
    browser.get("about:blank")
    browser.get(address)
    heads = until(
        "const heads = [...document.querySelectorAll('.ag-header-cell')].map("
        "(head) => [head.getBoundingClientRect().right, head.innerText.trim()]);"
        "return heads.some((head) => head[1] === 'snn/synops_per_image') && heads"
    )
    shown = sorted((right, name) for right, name in heads if "/" in name)
    assert [name for _, name in shown] == [name for name in mlflow_view.COLUMNS if name in run[0].metrics]
    assert len(shown) >= 5, "the latency may not be reached"
    assert shown[-1][0] <= 1280
    cells = browser.find_elements("css selector", ".ag-center-cols-container [role=gridcell]")
    assert sum(cell.text not in ("", "-") for cell in cells) >= len(shown)
    assert "workflowType=machine_learning" in browser.current_url
    text = browser.find_element("tag name", "body").text
    assert "Models" in text and "Evaluation runs" not in text, "of the mode for model training"
    assert "does not exist" not in text

    browser.get(f"{browser.current_url}&compareRunsMode=CHART")
    text = until(f"{TEXT} return text.includes('accuracy and costs (') && text")
    assert text.index("accuracy over time (2)") < text.index("accuracy and costs (")


@pytest.mark.slow
def test_the_ui_shows_the_run(browser, address, run, until):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.expected_conditions import element_to_be_clickable
    from selenium.webdriver.support.wait import WebDriverWait

    result = run[0]
    wait = WebDriverWait(browser, PATIENCE_S)

    def shows(text: str) -> str:
        return f"return document.body.innerText.includes({text!r})"

    def click(how: str, what: str) -> None:
        wait.until(element_to_be_clickable((how, what))).click()

    browser.get(address)
    until(shows("digits-Cnn2d-Keras-IntegrateAndFire-auto-8steps-50images"))
    click(By.PARTIAL_LINK_TEXT, "digits-Cnn2d-Keras")
    for text in ("Description", "of images get the class that the ANN gives", "snn/accuracy_at_step", "neuron"):
        until(shows(text))
    assert result.address["run id"] in browser.current_url

    click(By.LINK_TEXT, "snn/accuracy_at_step")
    text = until(f"{TEXT} return text.includes('ann (') && text")
    assert text.index("accuracy (1)") < text.index("ann ("), "accuracy over time comes first"
    wait.until(element_to_be_clickable((By.XPATH, "//input[@placeholder='Search metric charts']"))).send_keys("at_step")
    until("return document.querySelectorAll('.js-plotly-plot path.js-line').length >= 2")

    run_page = browser.current_url.rpartition("/")[0]
    for path, previewed in PREVIEWS.items():
        browser.get(f"{run_page}/artifacts/{path}")
        browser.refresh()  # another fragment alone loads nothing
        until(previewed)


# ---------------------------------------------------------------------- how an experiment is shown

VIEW = "mlflow.sharedViewState.snnpipe-1"


def opened(folder, name: str) -> Any:
    """Log a run to an experiment of a store, and return the experiment."""
    logger = MLflowLogger(name, folder=str(folder))
    logger.start("run", {}, {})
    logger.log_series("snn/accuracy_at_step", [0.25, 0.5])
    logger.finalize("FINISHED")
    return open_client(f"sqlite:///{folder}/mlflow.db").get_experiment_by_name(name)


def test_an_experiment_has_the_view_of_its_runs(tmp_path):
    client = open_client(f"sqlite:///{tmp_path}/mlflow.db")
    client.create_experiment("older", tags={"mlflow.experimentKind": "genai_development"})
    new, older = opened(tmp_path, "new"), opened(tmp_path, "older")
    assert new.tags[VIEW] == older.tags[VIEW]
    assert [e.tags["mlflow.experimentKind"] for e in (new, older)] == ["custom_model_development", "genai_development"]
    state = json.loads(json.loads(new.tags[VIEW])["state"])
    assert state["selectedColumns"] == [f"metrics.`{name}`" for name in mlflow_view.COLUMNS]

    client.set_experiment_tag(new.experiment_id, VIEW, "a user's own")
    assert opened(tmp_path, "new").tags[VIEW] == "a user's own"


def test_accuracy_over_time_has_a_name_that_sorts_before_all_others(tmp_path):
    experiment = opened(tmp_path, "new")
    client = open_client(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([experiment.experiment_id])
    for name in ("snn/accuracy_at_step", "accuracy/at_step"):
        assert [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, name)] == [(1, 0.25), (2, 0.5)]
    assert min(run.data.metrics) == "accuracy/at_step"


def test_a_store_that_takes_no_tag_is_shown_without_the_view(tmp_path):
    client = open_client(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.get_experiment(client.create_experiment("older"))
    refusing = open_client(f"sqlite:///file:{tmp_path}/mlflow.db?mode=ro&uri=true")
    assert not mlflow_view.show_results(refusing, experiment)
    assert VIEW not in client.get_experiment(experiment.experiment_id).tags
    assert mlflow_view.runs_address("http://host:1", "7", with_view=False).endswith(
        "/7/runs?workflowType=machine_learning"
    )
    assert mlflow_view.show_results(client, experiment)
    assert mlflow_view.show_results(refusing, client.get_experiment(experiment.experiment_id))


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


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(command, tmp_path):
    (tmp_path / "store.db").touch()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        said = command("--tracking-uri", f"sqlite:///{tmp_path}/store.db", "--port", port)
    assert f"--port: got {port}" in said
