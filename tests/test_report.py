"""The pages of runs and multi-runs, opened in a browser: the answer first, nothing from outside, a table that sorts."""

import json
import re
import shlex

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from PIL import Image

from snnpipe.artifacts.report import answer, sweep_page
from snnpipe.config import check, resolve
from snnpipe.describe import with_overrides
from snnpipe.sweeps.results import best_settings, results_table
from snnpipe.types import SweepJob


def show(browser, path, width: int, scheme: str) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(path.as_uri())


def requested(browser) -> list[str]:
    """Return the addresses that were asked for since this was last called."""
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    return [url for url in urls if not url.startswith("data:")]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, data_dir):
    """The folders of a small run and of another one that takes its training, with their reports."""
    import os

    from hydra.core.global_hydra import GlobalHydra

    from snnpipe.cli import main

    folder = tmp_path_factory.mktemp("report")
    words = [f"data.data_dir={data_dir}", "training.epochs=3", f"paths.mlruns={folder}", "diagnosis.images=50"]
    scales = ("{conv*: 20.0, dense: 5.0}", "{conv*: 20.0, dense: 6.0}")
    before = os.getcwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, scale in zip("ab", scales, strict=True):
            own = [f"conversion.scale_firing_rates={scale}", f"paths.output_dir={folder}/{name}"]
            patch.setattr("sys.argv", ["snnpipe", *words, *own])
            GlobalHydra.instance().clear()
            main()
    assert os.getcwd() == before
    return folder / "a", folder / "b"


@pytest.fixture(scope="module")
def run_folder(runs):
    return runs[0]


def test_a_run_leaves_its_pictures_and_its_report(run_folder):
    pictures = {path.name for path in (run_folder / "plots").iterdir()}
    assert pictures >= {
        "accuracy_over_time.png",
        "class_scores.png",
        "confusion.png",
        "raster_dense.png",
        "rate_against_activation.png",
        "rate_histograms.png",
        "training_curves.png",
    }
    for path in (run_folder / "plots").iterdir():
        pixels = np.asarray(Image.open(path).convert("L"))
        assert pixels.std() > 5, f"{path.name} is empty"
    page = (run_folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(pictures)
    captions = re.findall("<figcaption>(.*?)</figcaption>", page)
    assert len(set(captions)) == len(captions) == len(pictures)
    assert "Spikes of layer conv2d_1 for the first test images." in captions
    assert "conversion.scale_firing_rates={conv*: 20.0, dense: 5.0}" in page.replace("&#39;", "'")
    assert re.search(r"run [0-9a-f]{32}<", page) and re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", page)
    assert "snnpipe 0.1.0" in page
    assert not re.search(r"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//""", page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 420])
def test_the_report_asks_for_nothing_and_fits_the_window(browser, run_folder, width, scheme):
    path = run_folder / "report.html"
    requested(browser)
    show(browser, path, width, scheme)
    assert requested(browser) == [path.as_uri()]
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    top = browser.find_element("class name", "answer")
    assert "spiking" in top.text and top.location["y"] < 200, "the answer comes first"
    loaded = "return [...document.images].every((image) => image.complete && image.naturalWidth > 100)"
    assert browser.execute_script(loaded)
    ground, text = browser.execute_script(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color].map((c) => c.match(/\\d+/g)[0])"
    )
    assert (int(ground) > int(text)) == (scheme == "light")
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_the_report_names_the_run_that_it_was_trained_by(runs):
    first, second = [(folder / "report.html").read_text() for folder in runs]
    (run_id,) = re.findall(r"run ([0-9a-f]{32})<", first)
    assert "trained by" not in first
    assert f"trained by run {run_id}" in second


def test_each_suggestion_comes_with_a_whole_command(browser, run_folder):
    show(browser, run_folder / "report.html", 1280, "light")
    suggested = browser.find_elements("css selector", "ol.try li")
    assert suggested
    for item in suggested:
        override = item.find_element("css selector", "code").text
        words = shlex.split(item.find_element("css selector", "pre").text)
        assert words[:3] == ["python", "-m", "snnpipe"] and "training.epochs=3" in words
        assert not [word for word in words if word.startswith("paths.output_dir=")], (
            "it would overwrite this run's files"
        )
        assert words[-len(shlex.split(override)) :] == shlex.split(override)
        keys = [word.partition("=")[0] for word in words[3:]]
        assert len(set(keys)) == len(keys)
        with initialize_config_module("snnpipe.conf", version_base="1.3"):
            check(resolve(compose("config", overrides=words[3:])))


@pytest.mark.parametrize(
    ("command", "added", "whole"),
    [
        ("python -m snnpipe a.b=1 c=2", "a.b=3", "python -m snnpipe c=2 a.b=3"),
        ("python -m snnpipe '+a.b={x: 1}' a.bc=2", "a.b=3 d=4", "python -m snnpipe a.bc=2 a.b=3 d=4"),
        ("python -m snnpipe a.b.x=1", "'a.b={x: 1, \"*\": 2}'", "python -m snnpipe 'a.b={x: 1, \"*\": 2}'"),
        (
            "python -m snnpipe neuron=lif neuron.tau_rc=1",
            "neuron=spiking_relu",
            "python -m snnpipe neuron=spiking_relu",
        ),
        (
            "python -m snnpipe training=keras training.epochs=1",
            "training=nengo_dl neuron@training.neuron=lif",
            "python -m snnpipe training.epochs=1 training=nengo_dl neuron@training.neuron=lif",
        ),
    ],
)
def test_overrides_take_the_place_of_earlier_ones_of_their_keys(command, added, whole):
    assert with_overrides(command, added) == whole


def test_tables_and_pictures_on_a_narrow_window(browser, run_folder):
    show(browser, run_folder / "report.html", 420, "light")
    table = browser.find_element("css selector", ".wide")
    assert table.get_property("scrollWidth") > table.get_property("clientWidth")
    assert table.value_of_css_property("background-image").count("gradient") == 4

    picture, image = (browser.find_element("css selector", f".picture {what}") for what in ("summary", "img"))
    assert image.size["width"] < 420 < image.get_property("naturalWidth")
    top = browser.execute_script("arguments[0].scrollIntoView(); return scrollY", picture)
    picture.click()
    assert image.size["width"] == image.get_property("naturalWidth")
    assert picture.rect["width"] <= 420 and picture.get_property("scrollWidth") > 420, "it scrolls within the window"
    picture.click()
    assert image.size["width"] < 420
    assert browser.execute_script("return scrollY") == top


def test_the_table_of_a_multi_run_sorts(browser, tmp_path):
    def job(scale, accuracy, latency):
        metrics = {"snn/test_accuracy": accuracy, "snn/accuracy_drop": 0.98 - accuracy, "snn/synops_per_image": scale}
        return SweepJob([f"scale={scale}"], metrics | ({"snn/latency_ms_to_1pt": latency} if latency else {}))

    jobs = [job(100, 0.97, 30.0), job(9, 0.5, None), job(20, 0.98, 4.0), SweepJob(["scale=<b>"], error="no")]
    header, rows = results_table(jobs)
    page = sweep_page(name="grid", command="x", header=header, rows=rows, best=best_settings(jobs), picture=None)
    (tmp_path / "report.html").write_text(page)
    show(browser, tmp_path / "report.html", 1280, "light")

    def sorted_by(title):
        heads = browser.find_elements("css selector", "#jobs th button")
        next(head for head in heads if head.text.startswith(title)).click()
        return [row.text.split()[1] for row in browser.find_elements("css selector", "#jobs tbody tr")]

    assert sorted_by("test_accuracy") == ["9", "100", "20", "<b>"]
    assert sorted_by("test_accuracy") == ["20", "100", "9", "<b>"]
    assert sorted_by("latency") == ["20", "100", "9", "<b>"], "what was not reached comes last"
    assert sorted_by("scale") == ["9", "20", "100", "<b>"]
    assert "4 jobs, 1 of them failed: at best 98.00 % (scale=20)" in page


def test_the_answer_is_a_sentence():
    metrics = {"snn/test_accuracy": 0.95, "snn/accuracy_drop": 0.03}
    assert (
        answer(metrics)
        == "95.00 % spiking, 3.00 points below the ANN's 98.00 %. It does not come within one point of the ANN."
    )
    better = {"snn/test_accuracy": 0.95, "snn/accuracy_drop": -0.01, "snn/latency_ms_to_1pt": 12.0}
    assert answer(better) == "95.00 % spiking, 1.00 points above the ANN's 94.00 %. Within one point of it after 12 ms."
    assert answer(better | {"snn/accuracy_drop": 0.0}).startswith("95.00 % spiking, as the ANN's 95.00 %.")
