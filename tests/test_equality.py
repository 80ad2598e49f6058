"""The fast simulators against NengoDL's, on drawn networks; runs in pieces against whole ones."""

import hashlib
import itertools
import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import nengo
import numpy as np
import pytest
from hypothesis import HealthCheck, given, note, seed, settings
from networks import Drawn, Neurons, Node, networks

from snnpipe import IntegrateAndFire, NengoDLSimulator
from snnpipe.base.errors import SimulationError
from snnpipe.simulators.clock_driven.simulator import ClockDrivenSimulator
from snnpipe.simulators.event_driven.simulator import EventDrivenSimulator
from snnpipe.values.simulation import Stimulus

SIMULATORS = (ClockDrivenSimulator, EventDrivenSimulator)
SETTLE = 2
"""Steps after the judged ones, in which a spike that moved may still arrive."""
WANTED = {
    *(f"Conv{n}D{more}" for n in (1, 2, 3) for more in (", same", ", valid", ", strides")),
    *(f"Conv{n}D, groups" for n in (1, 2)),
    *(f"{kind}{n}D" for kind in ("AveragePooling", "GlobalAveragePooling") for n in (1, 2, 3)),
    *(f"{kind}{n}D" for kind in ("MaxPooling", "GlobalMaxPooling") for n in (1, 2, 3)),
    *(f"MaxPooling{n}D, same" for n in (1, 2, 3)),
    *(f"max pooling: {how}" for how in ("sums", "gated", "average")),
    *(f"{kind}{n}D" for kind in ("ZeroPadding", "UpSampling") for n in (1, 2, 3)),
    *("Dense", "Flatten", "Reshape", "Add", "Average", "Concatenate", "pooling that cuts off", "pooling that overlaps"),
    *("BatchNormalization, folded", "BatchNormalization, not folded", "one output to several layers"),
    *("SpikingRectifiedLinear()", "LIF()", "RegularSpiking(base_type=RectifiedLinear())", "RectifiedLinear()"),
    *("IntegrateAndFire()", "IntegrateAndFire(max_spikes=1, min_voltage=-0.5, initial_voltage=None)"),
    *("RegularSpiking(base_type=LIFRate())", "synapse none", "synapse low-pass", "synapse Alpha"),
    *("linear output", "spiking output", "constant input", "Poisson input", "short batch"),
    *(f"input of rank {n}" for n in (1, 2, 3, 4)),
    *(f"dt {dt}" for dt in (0.0005, 0.001, 0.002)),
    *(f"batch size {n}" for n in (1, 2, 3, 4)),
}
"""What several hundred networks must have had, each at least once."""


@dataclass
class Run:
    """What a simulator gave, chunks joined: spikes per image, step and neuron of each spiking layer."""

    outputs_btc: np.ndarray
    spikes_btn: dict[str, np.ndarray]
    counts_bn: dict[str, np.ndarray]
    output_spikes_btc: np.ndarray | None

    def arrays(self):
        yield "outputs", self.outputs_btc
        yield from self.spikes_btn.items()
        yield from ((f"counts of {name}", counts) for name, counts in self.counts_bn.items())
        if self.output_spikes_btc is not None:
            yield "output spikes", self.output_spikes_btc


def run(simulator, network, stimulus, n_steps, **more):
    with simulator(n_steps=n_steps, **more).open(network) as opened:
        return collect(network, stimulus, n_steps, opened)


def collect(network, stimulus, n_steps, opened):
    chunks = list(opened.run(stimulus))
    spikes = {}
    for layer in network.layers:
        if layer.spiking:
            spikes[layer.name] = np.zeros((len(stimulus), n_steps, layer.size), np.int64)
            for events in (chunk.layers[layer.name].events for chunk in chunks):
                row = events.image - stimulus.image_ids[0]
                np.add.at(spikes[layer.name], (row, events.step, events.neuron), events.count)
    found = Run(
        np.concatenate([chunk.outputs_btc for chunk in chunks], axis=1),
        spikes,
        {layer.name: sum(chunk.layers[layer.name].counts_bn for chunk in chunks) for layer in network.layers},
        None if network.output_layer is None else np.concatenate([c.output_spikes_btc for c in chunks], axis=1),
    )
    if len(stimulus.record) == len(stimulus):
        for name, spikes_btn in spikes.items():
            assert np.array_equal(spikes_btn.sum(axis=1), found.counts_bn[name]), f"counts of {name}"
            if name == network.output_layer:
                assert np.array_equal(spikes_btn, found.output_spikes_btc)
    return found


# ---------------------------------------------------------------------- equality with NengoDL


@dataclass
class Tally:
    """What happened over all networks; spikes and moved ones in float32, by simulator."""

    networks: int = 0
    kinds: Counter = field(default_factory=Counter)
    compared: Counter = field(default_factory=Counter)
    spikes: Counter = field(default_factory=Counter)
    moved: Counter = field(default_factory=Counter)
    failed: bool = False

    def add(self, simulator, spikes, moved):
        self.compared[simulator] += 1
        self.spikes[simulator] += spikes
        self.moved[simulator] += moved

    def table(self):
        found = [f"{count:4d} of {self.networks} networks: {kind}" for kind, count in sorted(self.kinds.items())]
        for name, compared in self.compared.items():
            found.append(
                f"{name}: {compared} networks, {self.spikes[name]} spikes, {self.moved[name]} moved in float32"
            )
        return "\n".join(found)


def check_float64(found, reference):
    for name, spikes_btn in reference.spikes_btn.items():
        assert np.array_equal(found.spikes_btn[name], spikes_btn), f"spikes of {name} differ in float64"
    for name, counts_bn in reference.counts_bn.items():  # a rate neuron's too
        np.testing.assert_allclose(found.counts_bn[name], counts_bn, rtol=1e-5, atol=1e-5, err_msg=f"counts of {name}")
    size = np.abs(reference.outputs_btc).max()
    np.testing.assert_allclose(found.outputs_btc, reference.outputs_btc, rtol=0, atol=1e-6 * size, err_msg="outputs")


def check_float32(found, reference):
    """Check one network, and return how many spikes it had and over how many steps some were moved."""
    spikes = moved = 0
    for name, spikes_btn in reference.spikes_btn.items():
        ahead_btn = np.cumsum(found.spikes_btn[name] - spikes_btn, axis=1)
        moved += np.abs(ahead_btn[:, :-SETTLE]).sum()
        spikes += spikes_btn[:, :-SETTLE].sum()
        back_bn = np.any(ahead_btn[:, -SETTLE - 1 :] == 0, axis=1)
        assert back_bn.all(), f"{name}: {(~back_bn).sum()} neurons have lost spikes or made some"
    assert moved <= max(2, 1e-2 * spikes), f"{moved} of {spikes} spikes moved"
    two_btc = np.sort(reference.outputs_btc, axis=2)[:, :, -2:]
    clear_bt = two_btc[:, :, 1] - two_btc[:, :, 0] > 1e-3 * np.abs(reference.outputs_btc).max()
    same_bt = found.outputs_btc.argmax(axis=2) == reference.outputs_btc.argmax(axis=2)
    assert np.all(same_bt | ~clear_bt), "predictions differ"
    return spikes, moved


def check_networks(count, first_seed):
    """Check so many networks, no two of the same layers: a search of Hypothesis's repeats itself, so there are many."""
    tally, seen = Tally(), set()

    @settings(
        max_examples=min(12, count),
        derandomize=True,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(networks())
    def check(drawn):
        if drawn.layers in seen and not tally.failed:  # shrinking wants to try the same layers again
            return
        try:
            check_network(drawn, tally)
        except Exception:  # whatever it is, it goes on to Hypothesis, which then shrinks the network
            tally.failed = True
            raise
        seen.add(drawn.layers)

    for number in itertools.count(first_seed):
        if len(seen) >= count:
            break
        seed(number)(check)()
    print(tally.table())
    for simulator in SIMULATORS:
        assert tally.moved[simulator.__name__] <= 1e-3 * tally.spikes[simulator.__name__]
    return tally


def check_network(drawn, tally):
    network, stimulus = drawn.network(), drawn.stimulus()
    simulators = [ClockDrivenSimulator] if drawn.unknown_to_event_driven else SIMULATORS
    if EventDrivenSimulator not in simulators:
        with pytest.raises(SimulationError):
            run(EventDrivenSimulator, network, stimulus, drawn.n_steps, dt=drawn.dt)
    for precision in ("float64", "float32"):
        more = {"dt": drawn.dt, "batch_size": drawn.batch_size, "precision": precision}
        reference = run(NengoDLSimulator, network, stimulus, drawn.n_steps + SETTLE, **more)
        for simulator in simulators:
            name = simulator.__name__
            note(f"{name}, {precision}")
            found = run(simulator, network, stimulus, drawn.n_steps + SETTLE, **more)
            if precision == "float64":
                check_float64(found, reference)
            else:
                tally.add(name, *check_float32(found, reference))
    tally.networks += 1
    tally.kinds.update(drawn.kinds)


@pytest.mark.parametrize(("count", "first_seed"), [(2, 0), pytest.param(12, 100, marks=pytest.mark.long)])
def test_drawn_networks(count, first_seed):
    check_networks(count, first_seed)


@pytest.mark.long
def test_several_hundred_drawn_networks():
    missing = WANTED - set(check_networks(200, first_seed=1000).kinds)
    assert not missing


# ---------------------------------------------------------------------- continued equals unbroken

SPIKING = nengo.SpikingRectifiedLinear()
REGULAR = nengo.RegularSpiking(nengo.RectifiedLinear())
REGULAR_LIF = nengo.RegularSpiking(nengo.LIFRate())


def conv(inputs, filters, kernel, strides=1, padding="same", **more):
    config = {"filters": filters, "kernel_size": (kernel,) * 2, "strides": (strides,) * 2, "padding": padding}
    return Node("Conv2D", inputs, config | more)


FIXED = {
    "one layer after the other": Drawn(
        shape=(9, 9, 2),
        nodes=(
            conv((0,), 8, 3, activation="relu"),
            Node("AveragePooling2D", (1,), {"pool_size": (2, 2), "strides": (2, 2)}),
            conv((2,), 12, 3, activation="relu"),
            Node("Flatten", (3,)),
            Node("Dense", (4,), {"units": 40, "activation": "relu"}),
            Node("Dense", (5,), {"units": 5}),
        ),
        neurons={
            1: Neurons(SPIKING, 40.0, 0.005, 0.3),
            3: Neurons(nengo.LIF(), 8.0, 0.003, 3.0),
            5: Neurons(REGULAR, 100.0, 0.01, 0.1),
        },
        n_steps=60,
    ),
    "branches": Drawn(
        shape=(7, 6, 3),
        nodes=(
            conv((0,), 6, 3, 2),
            Node("BatchNormalization", (1,), {"axis": -1}),
            Node("ReLU", (2,)),
            Node("BatchNormalization", (3,), {"axis": -1}),
            conv((4,), 6, 3, groups=2, activation="relu"),
            Node("Add", (3, 5)),
            Node("Concatenate", (4, 6), {"axis": -1}),
            Node("GlobalAveragePooling2D", (7,)),
            Node("Dense", (8,), {"units": 20, "activation": "relu"}),
            Node("Dense", (9,), {"units": 4, "activation": "relu"}),
        ),
        neurons={
            3: Neurons(REGULAR_LIF, 20.0, 0.002, 3.0),
            5: Neurons(SPIKING, 200.0, None, 1.5),
            9: Neurons(SPIKING, 50.0, 0.05, 0.5),
            10: Neurons(SPIKING, 50.0, 0.02, 0.2),
        },
        n_steps=60,
    ),
    # TensorFlow has kernels of their own for a single image: for one channel, and for a matrix times a vector
    "one channel": Drawn(
        shape=(13, 13, 1),
        nodes=(
            conv((0,), 32, 3, activation="relu"),
            Node("Flatten", (1,)),
            Node("Dense", (2,), {"units": 128, "activation": "relu"}),
            Node("Dense", (3,), {"units": 128, "activation": "relu"}),
            Node("Dense", (4,), {"units": 10}),
        ),
        neurons={
            1: Neurons(SPIKING, 50.0, 0.005, 0.2),
            3: Neurons(REGULAR, 50.0, 0.005, 0.5),
            4: Neurons(SPIKING, 50.0),
        },
        n_steps=60,
    ),
    "maxima": Drawn(
        shape=(9, 8, 2),
        nodes=(
            conv((0,), 6, 3),
            Node("MaxPooling2D", (1,), {"pool_size": (2, 2), "strides": (1, 1)}),
            Node("ReLU", (2,)),
            Node("MaxPooling2D", (3,), {"pool_size": (3, 3), "strides": (2, 2), "padding": "same"}),
            conv((4,), 8, 3, activation="relu"),
            Node("GlobalMaxPooling2D", (5,)),
            Node("Dense", (6,), {"units": 4}),
        ),
        neurons={3: Neurons(IntegrateAndFire(), 40.0, None, 0.5), 5: Neurons(SPIKING, 40.0, 0.005, 0.3)},
        n_steps=60,
    ),
    "an input that changes": Drawn(
        shape=(30, 2),
        nodes=(
            Node("Conv1D", (0,), {"filters": 6, "kernel_size": (3,), "strides": (2,), "padding": "valid"}),
            Node("ReLU", (1,)),
            Node("Flatten", (2,)),
            Node("Dense", (3,), {"units": 24, "activation": "relu"}),
            Node("Dense", (4,), {"units": 3}),
        ),
        neurons={2: Neurons(SPIKING, 30.0, None, 0.2), 4: Neurons(nengo.LIF(), 10.0, 0.01, 3.0)},
        n_steps=60,
        poisson_hz=200.0,
    ),
}


def loaded(name):
    drawn = replace(FIXED[name], images=64, batch_size=64)
    return drawn.network(), drawn.stimulus()


_LOADED = {}
_WHOLE = {}


def fixed(name):
    """Return a network, and a stimulus of 64 images."""
    if name not in _LOADED:
        _LOADED[name] = loaded(name)
    return _LOADED[name]


def whole(simulator, name):
    """Return what a simulator gives for all images at once."""
    if (simulator, name) not in _WHOLE:
        _WHOLE[simulator, name] = run(simulator, *fixed(name), 60, batch_size=64)
    return _WHOLE[simulator, name]


def simulators(*quick):
    """Parametrise a test by simulator and network; TensorFlow's graphs of the other networks take long to build."""
    cases = [(simulator, name) for simulator in SIMULATORS for name in FIXED]
    fast = [case for case in cases if case[0] is EventDrivenSimulator or case[1] in quick]
    slow = [pytest.param(*case, marks=pytest.mark.slow) for case in cases if case not in fast]
    return pytest.mark.parametrize(("simulator", "name"), [*fast, *slow])


def part(stimulus, first, count, record=True):
    ids = stimulus.image_ids[first : first + count]
    rows = tuple(range(len(ids))) if record else ()
    return Stimulus(stimulus.images[first : first + count], ids, stimulus.encoder, rows)


def differing(found, expected):
    """How many values differ, of each array that is not the same to the bit."""
    pairs = zip(found.arrays(), expected.arrays(), strict=True)
    return {name: int(np.sum(one != other)) for (name, one), (_, other) in pairs if not np.array_equal(one, other)}


def rows(found, count):
    """The first images of a run."""
    spiking = found.output_spikes_btc
    return Run(
        found.outputs_btc[:count],
        {name: spikes[:count] for name, spikes in found.spikes_btn.items()},
        {name: counts[:count] for name, counts in found.counts_bn.items()},
        None if spiking is None else spiking[:count],
    )


def joined(runs):
    first = runs[0]
    return Run(
        np.concatenate([r.outputs_btc for r in runs]),
        {name: np.concatenate([r.spikes_btn[name] for r in runs]) for name in first.spikes_btn},
        {name: np.concatenate([r.counts_bn[name] for r in runs]) for name in first.counts_bn},
        None if first.output_spikes_btc is None else np.concatenate([r.output_spikes_btc for r in runs]),
    )


@pytest.mark.slow
@simulators("branches", "an input that changes")
def test_chunks_equal_one_run(simulator, name):
    network, stimulus = fixed(name)
    expected = whole(simulator, name)
    assert all(spikes.any() for spikes in expected.spikes_btn.values())
    for chunk_steps in (1, 7):
        assert not differing(run(simulator, network, stimulus, 60, batch_size=64, chunk_steps=chunk_steps), expected)


@simulators("branches", "one channel")
def test_batches_equal_one_another(simulator, name):
    network, stimulus = fixed(name)
    expected = rows(whole(simulator, name), 12)
    for batch_size in (1, 3):
        parts = [part(stimulus, first, batch_size) for first in range(0, 12, batch_size)]
        with simulator(n_steps=60, batch_size=batch_size).open(network) as opened:
            found = joined([collect(network, p, 60, opened) for p in parts])
        assert not differing(found, expected), f"batches of {batch_size}"


@simulators("branches")
def test_recording_changes_nothing(simulator, name):
    network, stimulus = fixed(name)
    with_events = whole(simulator, name)
    without = run(simulator, network, part(stimulus, 0, 64, record=False), 60, batch_size=64)
    assert np.array_equal(with_events.outputs_btc, without.outputs_btc)
    for layer, counts_bn in with_events.counts_bn.items():
        assert np.array_equal(counts_bn, without.counts_bn[layer])


@pytest.mark.slow
@pytest.mark.parametrize("name", FIXED)
def test_threads_change_nothing(name):
    network, stimulus = fixed(name)
    for images in (stimulus, part(stimulus, 0, 64, record=False)):
        one, two = (
            run(EventDrivenSimulator, network, images, 60, batch_size=64, chunk_steps=chunk_steps, threads=threads)
            for threads, chunk_steps in ((1, None), (2, 7))
        )
        assert not differing(one, two)


def digests(name):
    network, stimulus = loaded(name)
    found = run(ClockDrivenSimulator, network, stimulus, 60, batch_size=64)
    return {key: hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest() for key, values in found.arrays()}


@pytest.mark.long  # 15 s
def test_tensorflow_threads_change_nothing():
    # a process has as many threads as TensorFlow was started with
    code = "\n".join(
        (
            "import json; from snnpipe.frameworks.compat import import_nengo_dl, import_tensorflow",
            "threading = import_tensorflow().config.threading",
            "threading.set_intra_op_parallelism_threads(1); threading.set_inter_op_parallelism_threads(1)",
            "import_nengo_dl()",
            "import test_equality as t; print(json.dumps({name: t.digests(name) for name in t.FIXED}))",
        )
    )
    one = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=True, stdout=subprocess.PIPE)
    assert json.loads(one.stdout.splitlines()[-1]) == {name: digests(name) for name in FIXED}
