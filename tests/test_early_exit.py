"""Early exit: its threshold and its values worked by hand, its contract, and a run with it."""

import re

import numpy as np
import pytest
from multiruns import FAST

from snnpipe import Cnn2d, EarlyExit, NengoDLConverter
from snnpipe.base.errors import ConfigError, SimulationError
from snnpipe.metrics.early_exit import exit_steps, exit_threshold, margins
from snnpipe.metrics.measurements import require_metrics
from snnpipe.testing import SPEC, check_metric
from snnpipe.values.run import SimulatedBatch
from snnpipe.values.simulation import LayerActivity, SimulationChunk, SimulationSettings, SpikeEvents

MARGINS = np.array([[1.0, 3.0, 2.0], [4.0, 1.0, 5.0], [2.0, 2.0, 6.0], [0.5, 1.5, 0.1]])
RIGHT = np.array([[0, 1, 1], [1, 1, 1], [0, 0, 1], [0, 1, 0]], bool)


@pytest.fixture(scope="module")
def network():
    return NengoDLConverter(scale_firing_rates=50.0).convert(Cnn2d(filters=[2], dense=4).build(SPEC), seed=0)


def test_a_margin_is_between_the_two_best_classes():
    assert margins(np.array([[[1.0, 5.0, 3.5], [-1.0, -1.0, -4.0]]])).tolist() == [[1.5, 0.0]]


def test_an_image_stops_where_its_margin_reaches_the_threshold():
    assert exit_steps(MARGINS, 2.0).tolist() == [1, 0, 0, 2]
    assert exit_steps(MARGINS, 0.0).tolist() == [0, 0, 0, 0]
    assert exit_steps(MARGINS, 9.0).tolist() == [2, 2, 2, 2]


@pytest.mark.parametrize(
    ("max_drop", "threshold"),
    [
        (0.0, 3.0),  # 3 are right at the end; up to 2.0 the third image stops at its first step, and is wrong
        (25.0, 1.0),  # 2 are enough; up to 0.5 every image stops at its first step, and 1 is right
        (100.0, 0.0),
    ],
)
def test_the_threshold_is_the_smallest_that_keeps_the_accuracy(max_drop, threshold):
    assert exit_threshold(MARGINS, RIGHT, max_drop) == threshold


def right_with(margins_bt, right_bt, threshold):
    return right_bt[np.arange(len(right_bt)), exit_steps(margins_bt, threshold)].sum()


@pytest.mark.parametrize("n_steps", [1, 2, 7])
@pytest.mark.parametrize("max_drop", [0.0, 3.0])
def test_the_threshold_is_that_of_a_search_through_all_of_them(n_steps, max_drop):
    rng = np.random.default_rng(n_steps)
    margins_bt = rng.integers(0, 12, (60, n_steps)).astype(float)
    right_bt = rng.random((60, n_steps)) < np.linspace(0.3, 0.8, n_steps)
    needed = right_bt[:, -1].sum() - max_drop / 100 * 60
    keeps = [right_with(margins_bt, right_bt, threshold) >= needed for threshold in range(14)]
    smallest = 13 - keeps[::-1].index(False) + 1 if False in keeps else 0
    threshold = exit_threshold(margins_bt, right_bt, max_drop)
    assert exit_steps(margins_bt, threshold).tolist() == exit_steps(margins_bt, smallest).tolist()
    assert threshold == 0 if smallest == 0 else smallest - 1 < threshold <= smallest


def batch(scores, labels, counts=None):
    """Return a batch whose images make so many spikes at each step, in one layer of a single neuron."""
    scores = np.array(scores, float)
    ids = range(len(scores))
    nothing = SpikeEvents.concatenate([])
    chunks = [
        SimulationChunk(t, scores[:, t : t + 1], {"conv2d": LayerActivity(np.array(of_step)[:, None], nothing)})
        for t, of_step in enumerate(counts or ())
    ]
    return SimulatedBatch(ids, np.array(labels), np.array(labels), scores, {}, chunks)


def test_the_documented_example_is_worked_by_hand(network):
    metric = EarlyExit()
    metric.start(network, SimulationSettings(n_steps=3))
    metric._spiking = ["conv2d"]
    metric.prepare(batch([[[2, 0], [3, 0], [4, 0]], [[1, 0], [0, 2], [0, 3]]], [0, 1]))
    shown = [[[2, 0], [2, 0], [2, 0]], [[0, 1], [0, 3], [0, 4]], [[1, 0], [1, 0], [0, 1]]]
    metric.add(batch(shown, [0, 1, 0], [[10] * 3, [20] * 3, [30] * 3]))
    assert metric.values() == {
        "snn/early_exit_accuracy": 2 / 3,
        "snn/early_exit_ms_mean": 2.0,
        "snn/early_exit_ms_median": 2.0,
        "snn/early_exit_ms_p95": 3.0,
        "snn/early_exit_spikes_per_image": (10 + 30 + 60) / 3,
        "snn/early_exit_threshold": 2.0,
        "snn/early_exit_threshold_images": 2,
        "snn/early_exit_threshold_accuracy": 1.0,
    }


def test_it_keeps_the_contract_and_is_refused_in_one_line(network):
    assert set(check_metric(EarlyExit(), network)) == {spec.name for spec in EarlyExit.specs}
    with pytest.raises(ConfigError, match=r"metrics\.early_exit\.max_drop: got -1"):
        EarlyExit(max_drop=-1.0)
    metric = EarlyExit()
    metric.start(network, SimulationSettings(n_steps=3))
    assert metric.values() == {}
    with pytest.raises(SimulationError, match="has no threshold: give its prepare"):
        metric.add(batch([[[1, 0]]], [0]))
    metric.every_step = 1
    with pytest.raises(ConfigError, match=r"EarlyExit\.every_step: got 1: give True"):
        require_metrics([metric])
    metric.every_step, metric.prepare = True, None
    with pytest.raises(ConfigError, match=r"EarlyExit\.prepare: got None: give a method"):
        require_metrics([metric])


@pytest.mark.slow
@pytest.mark.parametrize("share", [pytest.param(0.1, marks=pytest.mark.long), 0.0])
def test_a_run_measures_it(command, share):
    words = (*FAST[:-1], "diagnosis.images=0", "metrics=early_exit", f"data.validation_share={share}")
    ran = command(*words, "callbacks=none", "simulator.n_steps=8", "simulator.readout=mean")
    assert ran.code == 0, ran.err
    shown = re.search(r"early exit: mean time +([\d.]+) ms", ran.out)
    assert shown and 1 <= float(shown[1]) <= 8, ran.out
    assert bool(re.search(r"EarlyExit: prepared on [\d,]+ training images", ran.out)) == (share == 0.0), ran.out
