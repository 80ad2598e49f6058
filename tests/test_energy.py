"""Energy estimates against the example of docs/metrics.md, to the picojoule."""

import csv
import re
from pathlib import Path

import pytest

from snnpipe.artifacts.tables import write_energy
from snnpipe.metrics.energy import DEVICES, OperationCounts, energy_estimates, energy_metrics, energy_range
from snnpipe.run.summary import closing_table
from snnpipe.values.result import RunResult

# 10 neurons and 3 steps
COUNTS = OperationCounts(synops=100, neuron_updates=30, first_layer_macs=(30, 90), ann_macs=50, ann_activations=10)
DOCS = Path(__file__).parent.parent / "docs" / "metrics.md"


def pj(joules):
    return None if joules is None else round(joules * 1e12, 6)


@pytest.mark.parametrize(
    ("device", "low", "high", "ann"),
    [
        ("45 nm, float32", 90 + 27 + 138, 90 + 27 + 414, 230 + 9),
        ("45 nm, int8 with int32 sums", 10 + 3 + 9, 10 + 3 + 27, 15 + 1),
        ("Loihi (14 nm)", 2360 + 1560, 2360 + 2430, None),
        ("TrueNorth (28 nm)", 2600, 2600, None),
        ("Darwin3 (22 nm)", 547, 547, None),
        ("SpiNNaker2 prototype (28 nm)", 45_000 + 65_700, 45_000 + 65_700, None),
    ],
)
def test_an_estimate_is_what_the_hand_gets(device, low, high, ann):
    (found,) = [estimate for estimate in energy_estimates(COUNTS) if estimate.device.name == device]
    assert (pj(found.snn_low_j), pj(found.snn_high_j), pj(found.ann_j)) == (low, high, ann)
    assert found.ratio == (None if ann is None else (pytest.approx(low / ann), pytest.approx(high / ann)))


def test_a_range_spans_the_devices_of_a_kind():
    estimates = energy_estimates(COUNTS)
    arithmetic, chips = (energy_range(estimates, kind) for kind in ("arithmetic", "neuromorphic chip"))
    assert [pj(j) for j in (arithmetic.snn_low_j, arithmetic.snn_high_j)] == [22, 531]
    assert [pj(j) for j in (arithmetic.ann_low_j, arithmetic.ann_high_j)] == [16, 239]
    assert [pj(j) for j in (chips.snn_low_j, chips.snn_high_j)] == [547, 4790]
    assert (chips.ann_low_j, chips.ann_high_j) == (None, None)
    assert {name: round(value * 1000, 6) for name, value in energy_metrics(COUNTS).items()} == {
        "energy/snn_nj_low": 22,
        "energy/snn_nj_high": 531,
        "energy/ann_nj_low": 16,
        "energy/ann_nj_high": 239,
        "energy/chip_nj_low": 547,
        "energy/chip_nj_high": 4790,
    }


def test_the_page_has_the_figures_that_are_used():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in DOCS.read_text().splitlines() if "| [" in line]
    figures = {
        row[0]: [[float(x.replace(",", "")) for x in re.findall(r"\d[\d,.]*", cell)] for cell in row[1:4]]
        for row in rows
    }
    assert figures.keys() == {device.name for device in DEVICES}
    for device in DEVICES:
        synop, update, mac = figures[device.name]
        assert synop == [device.synop_pj]
        assert update == ([] if device.update_pj in (None, (0, 0)) else sorted(set(device.update_pj)))
        assert mac[:1] == ([] if device.mac_pj is None else [pytest.approx(device.mac_pj)])
        assert re.search(r"doi:10\.|arXiv:", device.source)


def test_the_table_says_what_is_left_out_and_where_it_is_published(tmp_path):
    with write_energy(tmp_path / "energy.csv", energy_estimates(COUNTS)).open() as file:
        rows = {row["device"]: row for row in csv.DictReader(file)}
    assert rows["45 nm, float32"]["ann_nj"] == "0.239" and rows["45 nm, float32"]["snn_per_ann_low"] == "1.067"
    assert rows["Loihi (14 nm)"]["left_out"] == "first layer" and rows["Loihi (14 nm)"]["ann_nj"] == ""
    assert rows["Darwin3 (22 nm)"]["left_out"] == "neuron updates, first layer"
    assert rows["TrueNorth (28 nm)"]["source"].endswith("doi:10.1126/science.1254642")


@pytest.mark.parametrize("factor", [1, 1e2, 12_345, 1e6, 1e9])
def test_the_closing_table_has_a_range_in_its_width(factor):
    counts = OperationCounts(factor * 100, factor * 30, (factor * 30, factor * 90), factor * 50, factor * 10)
    metrics = dict.fromkeys(("snn/test_images", "ann/test_accuracy", "snn/mean_rate_hz", "snn/max_rate_hz"), 1.0)
    metrics |= dict.fromkeys(("snn/test_accuracy", "snn/accuracy_ci_low", "snn/accuracy_ci_high"), 1.0)
    metrics |= dict.fromkeys(("snn/agreement", "simulate/images_per_s", "simulate/peak_memory_mb"), 1.0)
    table = closing_table(RunResult(metrics | {"snn/accuracy_drop": 0.0} | energy_metrics(counts), [], []))
    assert max(map(len, table.splitlines())) <= 100
    if factor == 1:
        assert "SNN 0.022 to 0.53 nJ, ANN 0.016 to 0.24 nJ in arithmetic units" in table
        assert "SNN 0.55 to 4.8 nJ on neuromorphic chips" in table
