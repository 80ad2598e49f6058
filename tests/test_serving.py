"""A logged network as a model of MLflow: loaded, registered, and served on loopback."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import numpy as np
import pytest

import snnpipe

FAST = ("debug=fast", "model=mlp", "model.units=[8]", "callbacks=none", "diagnosis.images=0")
REQUESTS, AT_ONCE = 200, 4


@pytest.fixture
def logged(command):
    """The folder of an MLflow model that a run has logged."""
    result = command(*FAST)
    assert result.code == 0, result.err
    (folder,) = Path("mlruns/artifacts").absolute().glob("*/artifacts/model")
    return folder


def digits(n):
    return np.random.default_rng(0).uniform(-1, 1, (n, 8, 8, 1)).astype(np.float32)


@pytest.mark.slow
def test_it_is_registered_loaded_and_refuses_samples_that_do_not_fit(logged):
    folder = logged.parent
    predictions = snnpipe.load(folder / "conversion" / "network.snn").predict(digits(5))
    mlflow.set_tracking_uri(f"sqlite:///{Path('mlruns/mlflow.db').absolute()}")
    try:
        version = mlflow.register_model(f"runs:/{folder.parent.name}/model", "digits")
        model = mlflow.pyfunc.load_model(f"models:/digits/{version.version}")
        answers = model.predict(digits(5))
    finally:
        mlflow.set_tracking_uri(None)
    assert list(answers["class"]) == predictions.classes.tolist()
    assert list(answers["name"]) == list(predictions)
    assert list(answers["settled_ms"]) == predictions.settled_ms.tolist()
    assert list(answers["spikes"]) == predictions.spikes.tolist()
    with pytest.raises(mlflow.exceptions.MlflowException, match=r"\(2, 8, 1\) does not match .*\(-1, 8, 8, 1\)"):
        model.predict(np.zeros((2, 8, 1), np.float32))
    with pytest.raises(mlflow.exceptions.MlflowException, match="sample 1 has a value that is infinite or no number"):
        model.predict(np.stack([np.zeros((8, 8, 1), np.float32), np.full((8, 8, 1), np.nan, np.float32)]))


@pytest.fixture
def server(logged):
    """The address of a server of the model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    words = ["-m", "mlflow", "models", "serve", "-m", str(logged), "--env-manager", "local", "--port", str(port)]
    with open("server.log", "wb") as log:
        running = subprocess.Popen([sys.executable, *words], env=environment, stdout=log, stderr=log, process_group=0)
    try:
        address, until = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while time.monotonic() < until and running.poll() is None:
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=5)
                break
            except OSError:
                time.sleep(0.2)
        yield address
    finally:
        os.killpg(running.pid, 15)
        running.wait(30)


def asked(address, content):
    """Return the status and the answer to a request."""
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    request = urllib.request.Request(f"{address}/invocations", data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.slow
def test_a_server_answers_as_predict_does_and_refuses_with_a_reason(logged, server):
    samples = digits(REQUESTS)
    expected = snnpipe.load(logged / "data" / "network.snn").predict(samples)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda x: asked(server, {"inputs": x[None].tolist()}), samples))
    assert {status for status, _ in answers} == {200}
    rows = [answer["predictions"][0] for _, answer in answers]
    assert [row["class"] for row in rows] == expected.classes.tolist()
    assert [row["settled_ms"] for row in rows] == expected.settled_ms.tolist()
    assert [row["spikes"] for row in rows] == expected.spikes.tolist()
    for wrong, words in (
        ({"inputs": [[1, 2], [3, 4]]}, "does not match expected shape (-1, 8, 8, 1)"),
        ({"inputs": "x"}, "Failed to convert data"),
        ({"inputs": [[[[float("nan")]] * 8] * 8]}, "infinite or no number"),
        ({"inputs": [[[[200]] * 8] * 8]}, "whole numbers up to 200 of type float32, as pixels are"),
        (b"no JSON", "JSON"),
        ({}, "must"),
    ):
        status, answer = asked(server, wrong)
        assert status == 400 and words in answer["message"], (wrong, answer)
