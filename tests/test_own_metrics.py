"""Metrics of a user's own: the documented example wherever metrics are shown, its contract, and what is refused."""

import csv
import re
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import nengo
import numpy as np
import pytest
from metric_plugins import Counting
from multiruns import FAST, client_of

from snnpipe import Cnn2d, MetricSpec, NengoDLConverter
from snnpipe.base.errors import ConfigError, SimulationError
from snnpipe.commands import compare
from snnpipe.commands.shared import end_with
from snnpipe.metrics.catalogue import CATALOGUE, DROP, LATENCY, SYNOPS, built_in
from snnpipe.metrics.measurements import checked_values, require_metrics, require_own
from snnpipe.run.summary import closing_table
from snnpipe.sweeps.jobs import kept_jobs
from snnpipe.sweeps.table import sweep_table
from snnpipe.testing import SPEC, check_metric
from snnpipe.values.metric import specs_of, tags_of
from snnpipe.values.result import RunResult
from snnpipe.values.run import SimulatedBatch, SweepJob
from snnpipe.values.simulation import SimulationSettings, SpikeEvents

PAGE = Path(__file__).parent.parent / "docs" / "metrics.md"
(EXAMPLE,) = (code for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL) if "FirstSpike" in code)


@pytest.fixture
def first_spike(tmp_path, monkeypatch):
    """The documented example, as a module that a configuration can name."""
    (tmp_path / "first_spike.py").write_text(EXAMPLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "first_spike", raising=False)
    import first_spike

    return first_spike.FirstSpike


@pytest.fixture(scope="module")
def network():
    converter = NengoDLConverter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=50.0, synapse=None)
    return converter.convert(Cnn2d(filters=[2], dense=4).build(SPEC), seed=0)


def events(*spikes):
    """Return one spike each of some images, steps and neurons."""
    columns = [np.array(column, np.int32) for column in zip(*spikes, strict=True)] or [np.empty(0, np.int32)] * 3
    return SpikeEvents(*columns, np.ones(len(spikes), np.int32))


def batch(ids, spikes, chunks=()):
    n = len(ids)
    zeros = np.zeros(n, np.int64)
    return SimulatedBatch(ids, zeros, zeros, np.zeros((n, 6, 2)), {"layer": spikes}, chunks)


# ---------------------------------------------------------------------- the documented example


def test_the_documented_example_is_worked_by_hand(first_spike, network):
    metric = first_spike()
    metric.start(network, SimulationSettings(n_steps=6))
    metric.add(batch(range(2), events((0, 3, 0), (0, 1, 1), (1, 4, 0))))
    metric.add(batch(range(2, 3), events()))
    assert metric.values() == {"first_spike_ms": 3.5}
    metric.start(network, SimulationSettings(n_steps=6))
    assert metric.values() == {}, "where nothing spikes there is no first spike"
    assert set(check_metric(metric, network)) == {"first_spike_ms"}


@pytest.mark.slow
def test_it_is_wherever_metrics_are(first_spike, command, tmp_path, monkeypatch, capfd):
    own = "+metrics.first_spike._target_=first_spike.FirstSpike"
    words = (*FAST[:-1], "diagnosis.images=0", "simulator.n_steps=12", "simulator.readout_steps=4")
    ran = command(*words, "callbacks=default", "run_name=one", own)
    assert ran.code == 0, ran.err
    shown = re.search(r"first spike +([\d.]+) ms  of any layer", ran.out)
    assert shown, ran.out
    swept = command("-m", *words, "callbacks=none", "conversion.scale_firing_rates=1,200", own)
    assert swept.code == 0, swept.err
    header = next(line for line in swept.out.splitlines() if "SynOps per sample" in line)
    assert header.split()[-2:] == ["first", "spike"]
    client = client_of(tmp_path / "work")
    runs = {run.data.tags.get("sweep.job", run.info.run_name): run for run in client.search_runs(["1"])}
    value = runs["one"].data.metrics["first_spike_ms"]
    assert f"{value:.2f}" == shown[1] and 1 <= value <= 12
    assert f"first spike | {shown[1]} ms" in runs["one"].data.tags["mlflow.note.content"]
    (page,) = (tmp_path / "work" / "mlruns").glob("outputs/*/report.html")
    assert f"<span>first spike</span><b>{shown[1]} ms</b>" in page.read_text()
    (table,) = (tmp_path / "work" / "mlruns").glob("multirun/*/sweep.csv")
    with table.open() as file:
        rows = list(csv.DictReader(file))
    kept = [float(row["first_spike_ms"]) if row["first_spike_ms"] else None for row in rows]
    assert kept == [runs[job].data.metrics.get("first_spike_ms") for job in "01"]
    assert kept[1] is not None and (kept[0] is None or kept[0] > kept[1]), "a higher scale spikes sooner"
    assert f"{kept[1]:.2f} ms" in swept.out
    assert ">first spike (ms)</button>" in table.with_name("report.html").read_text()
    monkeypatch.setattr(sys, "argv", ["compare", "one", runs["1"].info.run_id])
    with pytest.raises(SystemExit):
        end_with(compare.main)
    lines = [line.split() for line in capfd.readouterr().out.splitlines()]
    at = lines.index(["first", "spike"])
    assert lines[at + 1] == ["A", shown[1], "ms"] and lines[at + 2] == ["B", f"{kept[1]:.2f}", "ms"]
    assert lines[at + 3] == ["B", "-", "A", f"{kept[1] - value:+.2f}"]


# ---------------------------------------------------------------------- the catalogue


def test_every_metric_has_one_name_and_is_defined_on_the_page():
    names = [spec.name for spec in CATALOGUE]
    assert len(set(names)) == len(names)
    page = PAGE.read_text()
    missing = {name for name in names if f"{name.replace('*', '<layer>')}`" not in page}
    assert missing == {"best/*"} and "`best/...`" in page
    assert built_in("rate_hz/conv2d").unit == "Hz"
    assert built_in("rate_hz/") is None and built_in("snn/test_accuracy/more") is None


@pytest.mark.parametrize(
    ("spec", "value", "text"),
    [
        (DROP, -1e-6, "+0.00 points"),
        (LATENCY, 12.5, "12.5 ms"),
        (SYNOPS, 1234567.4, "1,234,567"),
        (MetricSpec("a", "a"), -1e-9, "-1e-09"),
    ],
)
def test_a_value_is_written_in_its_unit(spec, value, text):
    assert spec.text(value) == text


def test_a_difference_is_without_the_noise_of_the_last_digits():
    assert LATENCY.difference(26.9, 12.3) == "+14.6"
    assert LATENCY.difference(0.1 + 0.2, 0.3) == "+0"
    assert MetricSpec("a", "a", form=".2g").difference(1e-9, 3e-9) == "-2e-09"


# ---------------------------------------------------------------------- what is refused


def own(name="own/a", **changes):
    return SimpleNamespace(specs=[MetricSpec(name, "a")], start=print, add=print, values=dict, **changes)


SPEC_PROBLEMS = {
    "blank": ({"name": "first spike"}, "MetricSpec.name: got 'first spike': a metric's name has"),
    "upwards": ({"name": "../a"}, "MetricSpec.name: got '../a'"),
    "all": ({"name": "*"}, "MetricSpec.name: got '*'"),
    "within": ({"name": "own*"}, "MetricSpec.name: got 'own*'"),
    "no label": ({"label": ""}, "MetricSpec.label: got '': say what own/a is"),
    "lines": ({"label": "a\nb"}, "MetricSpec.label: got 'a\\nb': give a text of one line"),
    "long": ({"unit": "u" * 21}, "20 characters at most"),
    "factor": ({"factor": 0}, "MetricSpec.factor: got 0: give a number above 0"),
    "form": ({"form": "%.2f"}, "MetricSpec.form: got '%.2f': give a format of numbers"),
    "whole": ({"mean_form": "d"}, "MetricSpec.mean_form: got 'd'"),
    "direction": ({"better": "min"}, "MetricSpec.better: got 'min': give 'higher', 'lower' or ''"),
}


@pytest.mark.parametrize("case", SPEC_PROBLEMS)
def test_a_spec_outside_its_domain_is_one_line(case):
    changes, says = SPEC_PROBLEMS[case]
    with pytest.raises(ConfigError, match=re.escape(says)):
        MetricSpec(**{"name": "own/a", "label": "a"} | changes)


PROBLEMS = {
    "a class": ([Counting], "metrics: got the class Counting: give an object of it, made with ()"),
    "no metric": ([object()], "metrics: object is no metric: give it what snnpipe.protocols.Metric says"),
    "no specs": ([SimpleNamespace(**vars(own()) | {"specs": []})], "SimpleNamespace.specs: got []: give a list of"),
    "texts": ([SimpleNamespace(**vars(own()) | {"specs": ["a"]})], "SimpleNamespace.specs: got ['a']: give a list of"),
    "images": ([own(sample_images=-1)], "SimpleNamespace.sample_images: got -1: give a whole number, or None"),
    "snnpipe's": ([own("snn/test_accuracy")], "'snn/test_accuracy' is logged by snnpipe already: give it another name"),
    "a layer's": ([own("rate_hz/mine")], "'rate_hz/mine' is logged by snnpipe already"),
    "twice": ([own(), own()], "'own/a' is logged by SimpleNamespace already: give it another name"),
    "another's": ([Counting(), own("own/right")], "'own/right' is logged by Counting already: give it another name"),
    "snnpipe's all": ([own("snn/*")], "'snn/*' is logged by snnpipe already"),
    "a pattern's": ([Counting(), own("own/spikes/a")], "'own/spikes/a' is logged by Counting already"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_is_no_metric_of_its_own_is_one_line(case):
    metrics, says = PROBLEMS[case]
    with pytest.raises(ConfigError, match=re.escape(says)) as raised:
        require_metrics(metrics)
    assert len(raised.value.problems) == 1


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"own/a": float("nan")}, "values() gave own/a=nan: give one finite number, or leave the name out"),
        ({"own/a": np.inf}, "values() gave own/a=inf"),
        ({"own/a": "1"}, "values() gave own/a='1'"),
        ({"own/a": True}, "values() gave own/a=True"),
        ({"own/a": np.zeros(2)}, "values() gave own/a=array([0., 0.])"),
        ({"own/b": 1.0}, "values() gave 'own/b', which its specs lack: add a MetricSpec for it"),
        ({1: 1.0}, "values() gave 1, which its specs lack"),
        (1.0, "values() gave 1.0: it must return numbers by name, as a dict"),
    ],
)
def test_values_that_are_no_finite_numbers_are_one_line(values, says):
    metric = own()
    metric.values = lambda: values
    with pytest.raises(SimulationError, match=re.escape(f"metrics: SimpleNamespace.{says}")):
        checked_values(metric)


@pytest.mark.parametrize(
    ("name", "value", "step", "says"),
    [
        ("my metric", 1.0, None, "log_metric: got the name 'my metric': a metric's name has"),
        ("own/*", 1.0, None, "log_metric: got the name 'own/*'"),
        ("fit/loss", 1.0, None, "log_metric: 'fit/loss' is logged by snnpipe already: give it another name"),
        ("own/spikes/a", 1.0, None, "log_metric: 'own/spikes/a' is logged by a metric of the run already"),
        ("own/b", float("inf"), None, "log_metric: got own/b=inf: give one finite number"),
        ("own/b", "1", None, "log_metric: got own/b='1': give one finite number"),
        ("own/b", 1.0, 1.5, "log_metric: got step=1.5 of own/b: give a whole number of 0 or more, or None"),
        ("own/b", 1.0, -1, "log_metric: got step=-1 of own/b"),
    ],
)
def test_what_a_callback_cannot_log_is_one_line(name, value, step, says):
    with pytest.raises(ConfigError, match=re.escape(says)):
        require_own(name, value, step, Counting.specs)


@pytest.mark.slow
def test_a_mistake_in_a_configuration_is_told_before_anything_runs(command):
    clash = command(*FAST, "+metrics.mine._target_=metric_plugins.Counting", "+metrics.again=${metrics.mine}")
    assert clash.code == 2 and "metrics: Counting: 'own/right' is logged by Counting already" in clash.err
    lacking = command(*FAST, "+metrics.mine._target_=snnpipe.Progress")
    assert lacking.error_lines == [
        "snnpipe: error: metrics.mine._target_: snnpipe.callbacks.progress.Progress is no metric: it lacks start, add, "
        "values"
    ]
    assert "metrics.mine: got 1: no such metric, and no _target_ to build" in command(*FAST, "+metrics.mine=1").err


# ---------------------------------------------------------------------- the contract


class LastBatch(Counting):
    """A metric with a mistake: it has the spikes of the last batch only."""

    def add(self, batch):
        self.kept = 0
        super().add(batch)


class Remembers(Counting):
    """A metric with a mistake: it does not begin anew."""

    specs = (*Counting.specs, MetricSpec("own/evaluations", "evaluations"))
    evaluations = 0

    def start(self, network, settings):
        super().start(network, settings)
        self.evaluations += 1

    def values(self):
        return super().values() | {"own/evaluations": self.evaluations}


def test_the_contract_of_a_metric(network):
    values = check_metric(Counting(), network)
    assert values["own/images"] == 8 and values["own/kept"] > 0
    for wrong in (LastBatch(), Remembers()):
        with pytest.raises(
            AssertionError, match="a metric depends on the batches, the chunks, or an earlier evaluation"
        ):
            check_metric(wrong, network)


# ---------------------------------------------------------------------- tables

MANY = tuple(MetricSpec(f"own/{i}", f"metric {i}", "ms", form=".3f", better="lower") for i in range(12))
METRICS = {
    **{"ann/test_accuracy": 0.98, "snn/test_accuracy": 0.95, "snn/accuracy_drop": 0.03},
    **{"snn/accuracy_ci_low": 0.9, "snn/accuracy_ci_high": 0.97, "snn/agreement": 0.9, "snn/test_images": 100.0},
    **{"snn/mean_rate_hz": 10.0, "snn/max_rate_hz": 90.0, "snn/synops_per_image": 1000.0},
    **{spec.name: 1000.5 + i for i, spec in enumerate(MANY)},
}


def test_specs_are_recorded_as_tags():
    pattern = MetricSpec("own/layer/*", "of a layer")
    tags = tags_of([*MANY[:2], pattern])
    assert specs_of(tags | {"data": "digits", "metric.a": "{", "metric.b": '{"name": 1}'}) == MANY[:2]


@pytest.mark.slow
def test_jobs_without_a_store_keep_their_specs(command, tmp_path):
    own_metric = "+metrics.own._target_=metric_plugins.Counting"
    result = command("-m", *FAST, "logger=csv", "conversion.scale_firing_rates=50", "simulator.n_steps=4,8", own_metric)
    assert result.code == 0, result.err
    (folder,) = (tmp_path / "work" / "mlruns" / "multirun").iterdir()
    jobs = kept_jobs(folder)
    assert [job.specs for job in jobs] == [Counting.specs[:3]] * 2
    lines = result.out.splitlines()
    first = 1 + next(i for i, line in enumerate(lines) if line.endswith("SynOps per sample  own images  own accuracy"))
    for job, line in zip(jobs, lines[first : first + 2], strict=True):
        assert line.split()[-3:] == ["20", f"{100 * job.metrics['own/right']:.2f}", "%"]
    assert lines[first + 2] == "  also in sweep.csv: spikes kept"


def test_many_metrics_fit_the_tables_uncut():
    lines = closing_table(RunResult(METRICS, [], [], specs=MANY)).splitlines()
    shown = [line.split()[-2:] for line in lines if line.startswith("  metric ")]
    assert shown == [[f"{1000.5 + i:.3f}", "ms"] for i in range(12)]
    long = replace(MANY[0], label="a label of forty characters, all of them", note="x " * 99 + "x")
    assert max(map(len, closing_table(RunResult(METRICS, [], [], specs=[long])).splitlines())) <= 100
    jobs = [SweepJob([f"data={i}"], METRICS, specs=MANY) for i in range(2)]
    _, header, row, _, also, rule = sweep_table(jobs).splitlines()
    assert len(rule) <= 100
    assert header.endswith("SynOps per sample     metric 0     metric 1     metric 2")
    assert row.endswith("1,000  1000.500 ms  1001.500 ms  1002.500 ms")
    assert also.startswith("  also in sweep.csv: metric 3, metric 4") and also.endswith("metric 10, metric 11")


def test_many_metrics_are_compared_in_several_tables():
    runs = [
        compare._Run(letter, letter * 32, letter, "finished", metrics, {}, specs, None)
        for letter, metrics, specs in (
            ("A", METRICS, MANY),
            ("B", METRICS | {"own/11": 1010.5}, MANY),
            ("C", {name: value for name, value in METRICS.items() if name != "own/0"}, MANY[1:]),
        )
    ]
    tables = compare._own_results(runs)
    assert [name for table in tables for name in table[0] if name] == [spec.label for spec in MANY]
    assert all(sum(2 + max(map(len, column)) for column in zip(*table, strict=True)) <= 100 for table in tables)
    last = {row[0]: row for row in tables[-1]}
    assert last["B"][-1] == "1010.500 ms" and last["B - A"][-1] == "-1.000"
    first = {row[0]: row for row in tables[0]}
    assert first["C"][1] == "-" and first["C - A"][1] == ""
