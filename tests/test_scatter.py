"""The compiled functions of the event-driven kernel that add rows of weights and list spikes, against NumPy."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tf_keras as keras
from tf_keras import layers

from snnpipe import ClockDrivenSimulator, EventDrivenSimulator, NengoDLConverter
from snnpipe.encoders import ConstantEncoder
from snnpipe.frameworks.compat import start_afresh
from snnpipe.simulators.event_driven import compiled
from snnpipe.simulators.event_driven.arrays import _by_position, _channels
from snnpipe.simulators.event_driven.kernel import run_images
from snnpipe.simulators.event_driven.rows import Rows
from snnpipe.simulators.event_driven.scatter import inputs, scatter
from snnpipe.simulators.event_driven.spiking import collect
from snnpipe.simulators.event_driven.vectors import LANES
from snnpipe.values.simulation import Stimulus

RNG = np.random.default_rng(0)


def table(lengths_of_classes, n_sources, room, apart):
    """Return a connection whose sources have classes of rows, as the arrays that `scatter` takes.

    The rows of a class are at drawn places, where they may overlap, or one behind the other.
    """
    rows = np.cumsum([0, *map(len, lengths_of_classes)])
    lengths = np.concatenate(lengths_of_classes).astype(np.int32)
    per_source = int(lengths.sum())
    classes = RNG.integers(0, len(lengths_of_classes), n_sources).astype(np.int32)
    return {
        "start": RNG.choice([-1, 0, 3, 40], n_sources).astype(np.int32),
        "weight_at": (np.arange(n_sources) * per_source).astype(np.int32),
        "classes": classes if len(lengths_of_classes) > 1 else np.zeros(n_sources, np.int32),
        "one_class": -1 if len(lengths_of_classes) > 1 else 0,
        "channels": 0,
        "rows": rows,
        "row_at": (np.arange(len(lengths)) * room if apart else RNG.integers(0, 60, len(lengths))).astype(np.int32),
        "row_weight": (np.cumsum(lengths) - lengths).astype(np.int32),
        "row_length": lengths,
        "weights": np.concatenate([RNG.normal(size=n_sources * per_source), np.zeros(LANES)]),
    }


CLASSES = {
    "three rows": [[n] * 3 for n in [50]],
    "three long rows": [[7 * LANES + 5] * 3],
    "three short rows": [[3] * 3],
    "a dense layer": [[21 * LANES]],
    "a shortcut": [[1]],
    "rows of all lengths": [[1, 2, LANES - 1, LANES, LANES + 1, 3 * LANES, 6 * LANES, 13 * LANES + 7]],
    "several classes": [[5], [2 * LANES, 4], [LANES] * 3, []],
}


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("name", CLASSES)
def test_each_event_adds_its_rows_and_nothing_else(name, apart, precision):
    n_sources, longest = 30, max((n for of_class in CLASSES[name] for n in of_class), default=1)
    made = table(CLASSES[name], n_sources, longest + LANES, apart)
    neuron = np.sort(RNG.choice(n_sources, 25)).astype(np.int32)
    count = RNG.integers(-2, 4, len(neuron)).astype(precision)
    currents = RNG.normal(size=int(made["row_at"].max()) + 40 + longest + LANES).astype(precision)
    made["weights"] = made["weights"].astype(precision)
    expected = currents.astype(np.float64)
    for i, k in zip(neuron, count, strict=True):
        own = made["classes"][i]
        for r in range(made["rows"][own], made["rows"][own + 1]) if made["start"][i] >= 0 else ():
            at, weight = made["start"][i] + made["row_at"][r], made["weight_at"][i] + made["row_weight"][r]
            expected[at : at + made["row_length"][r]] += k * made["weights"][weight : weight + made["row_length"][r]]
    scatter(neuron, count, **made, currents=currents, row=np.empty(n_sources, np.int32))
    tolerance = 1e-5 if precision == "float32" else 1e-13
    np.testing.assert_allclose(currents, expected, rtol=tolerance, atol=tolerance * 10)


CONVOLUTIONS = {
    "a tap and a register wide": ((3, 3), (6, 7, 4), LANES, {"padding": "same"}),
    "with a rest": ((3, 3), (5, 4, 2), 3 * LANES, {}),
    "of two lines": ((2, 3), (4, 6, 3), 4 * LANES, {"padding": "same"}),
    "of six lines": ((6, 3), (7, 5, 2), 2 * LANES, {"padding": "same"}),
    "of a series": ((3,), (12, 3), 2 * LANES, {"padding": "causal"}),
    "of a volume": ((3, 3, 3), (4, 3, 5, 2), LANES, {"padding": "same"}),
}
"""Kernel, input shape, filters and settings of convolutions whose currents stay in registers."""


def connection_of(kernel, shape, filters, settings):
    """Return the compiled program of a model with one such convolution between two layers of neurons."""
    layer = getattr(layers, f"Conv{len(kernel)}D")
    start_afresh(0)
    inputs_ = layers.Input(shape)
    spikes = layers.ReLU(name="source")(layers.Dense(shape[-1])(inputs_))
    made = layer(filters, kernel, activation="relu", name="target", **settings)(spikes)
    return keras.Model(inputs_, layers.Dense(3)(layers.Flatten()(made)))


@pytest.mark.parametrize("scale", [100.0, 1000.0, 5000.0])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_width_three_equal_a_dense_pass_at_any_density(name, scale):
    """From single spikes, whose positions are far apart, to positions that all have some."""
    model = connection_of(*CONVOLUTIONS[name])
    samples = RNG.normal(size=(4, *model.input_shape[1:])).astype(np.float32)
    net = NengoDLConverter(scale_firing_rates=scale).convert(model, 0)
    counts, outputs = [], []
    for kind in (EventDrivenSimulator, ClockDrivenSimulator):
        with kind(n_steps=12, precision="float64").open(net) as opened:
            if kind is EventDrivenSimulator:
                positions = opened._program(True).program.channels
            (chunk,) = opened.run(Stimulus(samples, range(4), ConstantEncoder()))
        counts.append(chunk.layers["target"].counts_bn)
        outputs.append(chunk.outputs_btc)
    assert CONVOLUTIONS[name][2] in positions.tolist(), "the case goes where it should"
    assert counts[0].any() and np.array_equal(*counts)
    np.testing.assert_allclose(*outputs, atol=1e-12)


@pytest.mark.parametrize("n_events", [0, 3, 60])
def test_spikes_are_added_up_at_their_inputs(n_events):
    """With few spikes, an input is listed once for each of them; with many, once, with their sum."""
    input_of = np.append(np.repeat(np.arange(21), 4), [-1, -1]).astype(np.int32)
    neuron = np.sort(RNG.choice(len(input_of), n_events, replace=False)).astype(np.int32)
    count = RNG.integers(1, 4, n_events).astype(np.float32)
    sums, words = np.zeros(21, np.float32), np.zeros(3, np.uint64)
    arrived, of_arrived = np.empty(100, np.int32), np.empty(100, np.float32)
    n = inputs(neuron, count, input_of, 21, sums, words.view(np.uint8), words, arrived, of_arrived)
    expected = np.bincount(input_of[neuron] + 1, count, 22)[1:]
    assert np.array_equal(np.bincount(arrived[:n], of_arrived[:n], 21), expected)
    assert (len(set(arrived[:n])) == n and np.all(np.diff(arrived[:n]) > 0)) or n_events == 3
    assert not sums.any() and not words.any(), "they are 0 for the next connection"


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("most", [np.inf, 1, 3])
def test_both_ways_list_the_same_spikes(many, most):
    voltage = RNG.uniform(0, 5, 43)
    spiked = RNG.random(43) < 0.4
    left = np.where(spiked, voltage, 0)  # what is left after the first spike
    words = np.zeros(6, np.uint64)
    words.view(np.uint8)[:43] = spiked
    neuron, count = np.full(60, -1, np.int32), np.zeros(60)
    m = collect(words, left, np.float64(most), 100, neuron, count, 5, many)
    assert neuron[5:m].tolist() == (100 + np.flatnonzero(spiked)).tolist() and np.all(neuron[:5] == -1)
    spikes = 1 + np.minimum(np.floor(voltage[spiked]), most - 1)
    assert count[5:m].tolist() == spikes.tolist()
    np.testing.assert_allclose(left[spiked], voltage[spiked] - (spikes - 1), atol=1e-12)


@pytest.mark.parametrize("channels", [LANES, 2 * LANES, 3 * LANES])
@pytest.mark.parametrize("n_rows", [1, 3, 5, 6])
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_positions_that_stay_in_registers_are_added_like_rows(precision, n_rows, channels):
    """Events without rows, in any order, at places far apart and next to one another, and nothing beside the rows."""
    c_in, width, length = 3, 7, 3 * channels
    of_row = np.arange(n_rows)
    row_at, row_weight = of_row * (width + 2) * channels, of_row * length
    rows = [((0, int(r), 0, 0), int(r) * length, length) for r in of_row]
    own = np.arange(c_in) * n_rows * length
    values = RNG.normal(size=c_in * n_rows * length)
    made = Rows(np.zeros((c_in, 4), np.int64), own, np.zeros(c_in, np.int64), [rows], values)
    strides = np.array([0, (width + 2) * channels, channels, 1])
    assert _channels(made, strides) == channels
    start = np.repeat(np.arange(width) * channels, c_in).astype(np.int32)
    start[RNG.random(len(start)) < 0.2] = -1
    weight_at = np.tile(own, width).astype(np.int32)
    for neuron in (np.arange(len(start)), RNG.permutation(len(start))[:9], np.flatnonzero(start < 0), []):
        events = np.asarray(neuron, np.int32)
        count = RNG.normal(size=len(events)).astype(precision)
        currents = np.full(int(row_at[-1]) + (width + 2) * channels + 2 * LANES, 3, precision)
        expected = currents.astype(np.float64)
        for i, k in zip(events, count, strict=True):
            for at, weight in zip(row_at, row_weight, strict=True) if start[i] >= 0 else ():
                first = weight_at[i] + weight
                expected[start[i] + at : start[i] + at + length] += k * values[first : first + length]
        scatter(
            events,
            count,
            start,
            weight_at,
            np.zeros(len(start), np.int32),
            0,
            channels,
            np.array([0, n_rows]),
            row_at.astype(np.int32),
            row_weight.astype(np.int32),
            np.full(n_rows, length, np.int32),
            _by_position(made, channels).astype(precision),
            currents,
            np.empty(len(start), np.int32),
        )
        tolerance = 1e-5 if precision == "float32" else 1e-13
        np.testing.assert_allclose(currents, expected, rtol=tolerance, atol=tolerance * 10)


def test_a_convolution_that_nothing_reaches_has_no_rows():
    """Of three positions, the strided convolution takes one, and that has no neuron with a row of its own."""
    start_afresh(0)
    inputs_ = layers.Input((1, 3))
    one, other = (layers.ReLU(name=name)(layers.Dense(4)(inputs_)) for name in ("one", "other"))
    joined = layers.Concatenate(axis=1)([one, layers.UpSampling1D(2)(other)])
    made = layers.Conv1D(16, 1, strides=3, activation="relu", name="target")(joined)
    model = keras.Model(inputs_, layers.Dense(3)(layers.Flatten()(made)))
    net = NengoDLConverter(scale_firing_rates=1000.0).convert(model, 0)
    outputs = []
    for kind in (EventDrivenSimulator, ClockDrivenSimulator):
        with kind(n_steps=10, precision="float64").open(net) as opened:
            (chunk,) = opened.run(Stimulus(np.ones((2, 1, 3), np.float32), range(2), ConstantEncoder()))
        outputs.append(chunk.outputs_btc)
    np.testing.assert_allclose(*outputs, atol=1e-12)


def test_pooled_spikes_reach_a_dense_layer_that_is_added_to_a_convolution():
    """The dense layer's rows are cut into the lines of the sum, and the spikes of a window still share an input."""
    start_afresh(0)
    inputs_ = layers.Input((4, 4, 2))
    spikes = layers.Conv2D(3, 3, padding="same", activation="relu")(inputs_)
    dense = layers.Dense(12)(layers.Flatten()(layers.AveragePooling2D()(spikes)))
    total = layers.Add()([layers.Conv2D(3, 2, strides=2)(spikes), layers.Reshape((2, 2, 3))(dense)])
    model = keras.Model(inputs_, layers.Dense(2)(layers.Flatten()(layers.ReLU(name="sum")(total))))
    samples = RNG.normal(size=(5, 4, 4, 2)).astype(np.float32)
    net = NengoDLConverter(scale_firing_rates=1500.0).convert(model, 0)
    counts, outputs = [], []
    for kind in (EventDrivenSimulator, ClockDrivenSimulator):
        with kind(n_steps=12, precision="float64").open(net) as opened:
            (chunk,) = opened.run(Stimulus(samples, range(5), ConstantEncoder()))
        counts.append(chunk.layers["sum"].counts_bn)
        outputs.append(chunk.outputs_btc)
    assert counts[0].sum() > 50 and np.array_equal(*counts)
    np.testing.assert_allclose(*outputs, atol=1e-12)


def test_the_cache_is_valid_for_the_sources_of_all_functions():
    assert run_images._cache._cache_file._source_stamp == compiled.SOURCES


def test_the_cache_is_valid_for_the_kind_of_cpu():
    """Weights are laid out for it, and machines that share a folder may share machine code."""
    program = (
        "import llvmlite.binding\n"
        f"llvmlite.binding.get_host_cpu_features = lambda: {{'avx512f': {not compiled.WIDE}}}\n"
        "from snnpipe.simulators.event_driven import compiled\n"
        "print(compiled.SOURCES)"
    )
    settings = {"NUMBA_CPU_NAME": "generic"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ | settings
    )
    assert len(done.stdout.strip()) == len(compiled.SOURCES) and done.stdout.strip() != compiled.SOURCES
