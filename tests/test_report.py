"""The pages of runs and multi-runs, opened in a browser: the answer first, nothing from outside, a table that sorts."""

import json
import re
import shlex
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

from snnpipe import MLflowLogger
from snnpipe.artifacts.report import answer
from snnpipe.artifacts.sweep_plots import pareto_figure
from snnpipe.artifacts.sweep_report import sweep_page
from snnpipe.config.check import check
from snnpipe.config.compose import resolve
from snnpipe.metrics.front import pareto_front
from snnpipe.settings.command_line import with_overrides
from snnpipe.sweeps.results import best_settings, report_links, results_table, write_results
from snnpipe.sweeps.table import differing_keys, short_keys
from snnpipe.values.run import SweepJob


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

    from snnpipe.commands.main import main

    folder = tmp_path_factory.mktemp("report")
    words = [f"data.data_dir={data_dir}", "training.epochs=3", f"paths.mlruns={folder}", "data.max_test_images=100"]
    words.append("data.max_train_images=640")
    diagnosed = {"a": ["diagnosis.images=50"], "b": ["diagnosis.images=0", "simulator.max_images=20"]}
    scales = ("{conv*: 20.0, dense: 5.0}", "{conv*: 20.0, dense: 6.0}")
    before = os.getcwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        for name, scale in zip("ab", scales, strict=True):
            own = [f"conversion.scale_firing_rates={scale}", f"paths.output_dir={folder}/{name}"]
            patch.setattr("sys.argv", ["snnpipe", *words, *own, *diagnosed[name]])
            GlobalHydra.instance().clear()
            main()
    assert os.getcwd() == before
    return folder / "a", folder / "b"


@pytest.fixture(scope="module")
def run_folder(runs):
    return runs[0]


@pytest.mark.slow
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
    assert "Spikes of layer conv2d_1 for the first test samples." in captions
    assert "conversion.scale_firing_rates={conv*: 20.0, dense: 5.0}" in page.replace("&#39;", "'")
    assert re.search(r"run [0-9a-f]{32}<", page) and re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", page)
    assert "snnpipe 0.1.0" in page
    assert not re.search(r"""(?:src|href|url\()\s*=?\s*["']?(?:https?:)?//""", page)


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_report_names_the_run_that_it_was_trained_by(runs):
    first, second = [(folder / "report.html").read_text() for folder in runs]
    (run_id,) = re.findall(r"run ([0-9a-f]{32})<", first)
    assert "trained by" not in first
    assert f"trained by run {run_id}" in second


@pytest.mark.slow
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


@pytest.mark.slow
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


# ---------------------------------------------------------------------- of a multi-run


def job(scale, accuracy, latency, **own):
    metrics = {"snn/test_accuracy": accuracy, "snn/accuracy_drop": 0.98 - accuracy, "snn/synops_per_image": 1e3}
    metrics |= {"ann/test_accuracy": 0.98, "snn/agreement": 0.9, "snn/mean_rate_hz": 71.26}
    metrics |= {"snn/accuracy_ci_low": accuracy - 0.02, "snn/accuracy_ci_high": accuracy + 0.01}
    return SweepJob([f"scale={scale}"], metrics | ({"snn/latency_ms_to_1pt": latency} if latency else {}), **own)


def sweep_text(jobs, **own):
    header, rows = results_table(jobs)
    content = {"names": short_keys(differing_keys(jobs)), "best": best_settings(jobs), "picture": None} | own
    return sweep_page(name="grid", command="x", header=header, rows=rows, **content)


def test_the_table_of_a_multi_run_sorts(browser, tmp_path):
    jobs = [job(100, 0.97, 30.0), job(9, 0.5, None), job(20, 0.98, 4.0), SweepJob(["scale=<b>"], error="no")]
    page = sweep_text(jobs)
    (tmp_path / "report.html").write_text(page)
    show(browser, tmp_path / "report.html", 1280, "light")

    def sorted_by(title):
        heads = browser.find_elements("css selector", "#jobs th button")
        next(head for head in heads if head.text.startswith(title)).click()
        return [row.text.split()[1] for row in browser.find_elements("css selector", "#jobs tbody tr")]

    assert sorted_by("SNN accuracy") == ["9", "100", "20", "<b>"]
    assert sorted_by("SNN accuracy") == ["20", "100", "9", "<b>"]
    assert sorted_by("latency") == ["20", "100", "9", "<b>"], "what was not reached comes last"
    assert sorted_by("mean firing rate")[-1] == "<b>", "a failed job has one cell for all its metrics"
    assert sorted_by("scale") == ["9", "20", "100", "<b>"]
    assert "4 jobs, 1 of them failed: at best 98.00 % (scale=20)" in page
    rows = [row.text for row in browser.find_elements("css selector", "#jobs tbody tr")]
    assert "2 9 50.00 % +48.00 - 1,000 98.00 % 48.00 to 51.00 % 90.00 % 71.3" in rows
    assert "3 20 98.00 % +0.00 4 1,000 98.00 % 96.00 to 99.00 % 90.00 % 71.3" in [row.lstrip("● ") for row in rows]
    assert "4 <b> failed: no" in rows
    assert "98.00 % (drop +0.00 points), 4 ms, 1,000 SynOps per sample" in page


def test_settings_that_are_best_at_several_things_are_named_once():
    page = sweep_text([job(1, 0.98, 4.0), job(2, 0.9, None)])
    assert "<b>most accurate, fewest SynOps within 1 point of the ANN, fastest within 1 point of the ANN</b>" in page
    assert page.count("<code>python -m snnpipe scale=1</code>") == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_columns_of_a_multi_run_are_on_a_screen_of_1280(browser, tmp_path, scheme):
    scales = [f"{{conv2d: {a}.0, conv2d_1: 40.0, conv2d_2: 60.0, dense: {b}.0}}" for a in (20, 200) for b in (80, 160)]
    jobs = [
        replace(job(0, 0.9, 4.0), overrides=[f"conversion.scale_firing_rates={scale}", *rest])
        for scale in scales
        for rest in (["neuron=spiking_relu", "simulator.n_steps=40", f"{group}.neuron.tau_rc=0.02"] for group in GROUPS)
    ]
    jobs[1] = replace(jobs[1], metrics=None, error=f"ConfigError: {'a long reason ' * 20}{'x' * 200}")
    (tmp_path / "report.html").write_text(sweep_text(jobs))
    show(browser, tmp_path / "report.html", 1280, scheme)
    table = browser.find_element("css selector", ".wide")
    assert table.get_property("scrollWidth") <= table.get_property("clientWidth")
    heads = [head.text for head in browser.find_elements("css selector", "#jobs th")]
    assert heads[1].replace("\n", "") == "scale_firing_rates"
    assert {"training.neuron.tau_rc", "conversion.neuron.tau_rc"} <= {head.replace("\n", "") for head in heads}
    assert len({row.text for row in browser.find_elements("css selector", "#jobs td.setting")}) >= 4


GROUPS = ("training", "conversion")


def test_jobs_link_to_their_reports(browser, tmp_path):
    done = tmp_path / "outputs" / "a run"
    done.mkdir(parents=True)
    (done / "report.html").write_text("the report of a job")
    jobs = [
        job(1, 0.9, None, output_dir=str(done), run_id="a" * 32),
        job(2, 0.9, None, output_dir=str(tmp_path / "gone")),
        job(3, 0.9, None),
    ]
    folder = tmp_path / "multirun" / "grid"
    folder.mkdir(parents=True)
    assert report_links(jobs, folder) == ["../../outputs/a%20run/report.html", "", ""]
    store = MLflowLogger(folder=str(tmp_path / "mlruns"))
    store.start_sweep("grid", "x", ["x"], resume=False)
    write_results(jobs, folder, store, name="grid", command="x")
    show(browser, folder / "report.html", 1280, "light")
    (link,) = browser.find_elements("css selector", "#jobs a")
    assert (link.text, link.find_element("xpath", "..").get_attribute("title")) == ("1", "run " + "a" * 32)
    link.click()
    assert "the report of a job" in browser.page_source
    (kept,) = (tmp_path / "mlruns" / "artifacts").rglob("report.html")
    assert 'href="../' not in kept.read_text(), "where MLflow shows the page, the folder of the job is not"


COSTS = {
    "4 jobs, latency not reached by any": [
        [14, np.inf, 2e4],
        [20, np.inf, 1.5e4],
        [4, np.inf, 8.5e4],
        [12, np.inf, 8e4],
    ],
    "one latency": [[i / 3, 10 if i % 2 else np.inf, 1000 * 1.5**i] for i in range(12)],
    "latencies close together": [[i, 10 + i / 1000, 5e5 + i] for i in range(12)],
    "30 jobs": [[2.0 * (i % 11), np.inf if i % 3 else 5 + i, 900 * 1.3**i] for i in range(30)],
    "30 jobs, the same": [[1.0, 20.0, 1e6]] * 30,
    "60 jobs, crowded": [[(i * 7 % 13) / 5, 1 + i * 11 % 17, 1e5 + 1e3 * (i * 5 % 19)] for i in range(60)],
    "a drop of nothing, and below": [[-0.5, 3, 100], [0.0, 2, 90], [0.0, 1, 5e6]],
}


@pytest.mark.slow
@pytest.mark.parametrize("case", COSTS)
def test_nothing_in_the_picture_of_the_front_overlaps_or_repeats(case):
    costs = COSTS[case]
    labels = [
        f"scale_firing_rates={{conv2d: {i}.0, conv2d_1: 40.0, dense: 80.0}} neuron=lif" for i in range(len(costs))
    ]
    front = pareto_front(costs)
    figure = pareto_figure(
        labels=labels,
        costs=costs,
        names=["drop", "latency", "SynOps"],
        on_front=front,
        reference=[False] * len(costs),
        numbers=range(100, 100 + len(costs)),
    )
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)

    def overlap(texts):
        boxes = [Text.get_window_extent(text, renderer) for text in texts]  # without the line to its point
        return [
            (a.get_text(), b.get_text())
            for (a, x), (b, y) in combinations(zip(texts, boxes, strict=True), 2)
            if x.overlaps(y)
        ]

    *panels, key = figure.axes
    for axes in panels:
        numbers = [text for text in axes.texts if text.get_text()[:1] == "1" and "reached" not in text.get_text()]
        assert numbers and not overlap(numbers)
        frame = axes.get_window_extent(renderer)
        assert all(frame.contains(*corner) for t in numbers for corner in Text.get_window_extent(t, renderer).corners())
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            shown = [tick.get_text() for tick in ticks]
            assert len(set(shown)) == len(shown) and not overlap(ticks)
    (named,) = key.texts
    assert "100" in named.get_text() or not front[0]
    assert named.get_window_extent(renderer).y0 >= 0


def test_the_answer_is_a_sentence():
    metrics = {"snn/test_accuracy": 0.95, "snn/accuracy_drop": 0.03}
    assert (
        answer(metrics)
        == "95.00 % spiking, 3.00 points below the ANN's 98.00 %. It does not come within one point of the ANN."
    )
    better = {"snn/test_accuracy": 0.95, "snn/accuracy_drop": -0.01, "snn/latency_ms_to_1pt": 12.0}
    assert answer(better) == "95.00 % spiking, 1.00 points above the ANN's 94.00 %. Within one point of it after 12 ms."
    assert answer(better | {"snn/accuracy_drop": 0.0}).startswith("95.00 % spiking, as the ANN's 95.00 %.")
