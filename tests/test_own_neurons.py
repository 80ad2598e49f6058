"""Neuron types that a user registers: the example of docs/simulators.md, and what is refused."""

import importlib
import re
import sys
from pathlib import Path

import nengo
import numpy as np
import pytest

from snnpipe import (
    AutoSimulator,
    ClockDrivenSimulator,
    ConstantEncoder,
    Equation,
    EventDrivenSimulator,
    Mlp,
    NengoDLConverter,
    NengoDLSimulator,
    NeuronModel,
    register_neuron,
)
from snnpipe.base.errors import ConfigError, SimulationError
from snnpipe.base.identity import digest_of
from snnpipe.diagnosis.measures import rate_limit
from snnpipe.frameworks.compat import import_tensorflow, start_afresh
from snnpipe.neurons.model import TABLE, EventRule
from snnpipe.neurons.table import neuron_model
from snnpipe.run.content import _neurons_within
from snnpipe.testing import SPEC
from snnpipe.values.simulation import Stimulus

DOCS = (Path(__file__).parent.parent / "docs" / "simulators.md").read_text()
IMAGES = np.random.default_rng(0).uniform(0, 1, (4, *SPEC.input_shape)).astype(np.float32)


@pytest.fixture
def example(tmp_path, monkeypatch):
    """The documentation's module, imported, with the config beside it; registered as long as a test runs."""
    module, config = (re.search(rf"```{kind}\n(.*?)```", DOCS, re.DOTALL).group(1) for kind in ("python", "yaml"))
    (tmp_path / "my_neurons.py").write_text(module)
    (tmp_path / "conf" / "neuron").mkdir(parents=True)
    (tmp_path / "conf" / "neuron" / "adapting.yaml").write_text(config)
    monkeypatch.syspath_prepend(str(tmp_path))
    neuron_model(nengo.LIF())  # the built-in types are in the table that stays
    before = dict(TABLE)
    yield importlib.import_module("my_neurons")
    TABLE.clear()
    TABLE.update(before)
    del sys.modules["my_neurons"]


def network(neuron, **settings):
    start_afresh(0)
    settings = {"scale_firing_rates": 40.0, "synapse": 0.005} | settings
    return NengoDLConverter(neuron=neuron, **settings).convert(Mlp(units=[12, 8]).build(SPEC), seed=1)


def simulate(net, simulator):
    """Outputs of all steps, and each layer's spikes as a sorted table."""
    with simulator.open(net) as opened:
        chunks = list(opened.run(Stimulus(IMAGES, range(4), ConstantEncoder(), record=(0, 1, 2, 3))))
        used = opened.used
    spikes = {}
    for layer in net.layers:
        events = [chunk.layers[layer.name].events for chunk in chunks]
        rows = np.concatenate([np.stack([e.image, e.step, e.neuron, e.count], axis=1) for e in events])
        spikes[layer.name] = rows[np.lexsort(rows.T[::-1])]
    return np.concatenate([chunk.outputs_btc for chunk in chunks], axis=1), spikes, used


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_example_spikes_as_it_does_in_nengo_dl(example, precision):
    net = network(example.AdaptingLIF(rise=0.3))
    settings = {"n_steps": 40, "batch_size": 4, "precision": precision}
    expected, theirs, _ = simulate(net, NengoDLSimulator(**settings))
    outputs, ours, used = simulate(net, AutoSimulator(**settings))
    assert used == (
        "clock_driven (auto: event_driven: layer 'dense' has neurons of type AdaptingLIF, which it does not know)"
    )
    for name, spikes in ours.items():
        assert len(spikes) > 100 and len(spikes) == pytest.approx(len(theirs[name]), rel=0.01)
        if precision == "float64":
            np.testing.assert_array_equal(spikes, theirs[name])
    if precision == "float64":
        np.testing.assert_allclose(outputs, expected, rtol=1e-9, atol=1e-12)


def test_the_threshold_rises(example):
    counts = [
        len(simulate(network(example.AdaptingLIF(rise=rise)), ClockDrivenSimulator(n_steps=40))[1]["dense"])
        for rise in (0.0, 0.3)
    ]
    assert counts[1] < 0.8 * counts[0]


@pytest.mark.slow
def test_a_run_of_the_command_line_registers_it(example, command, tmp_path):
    del sys.modules["my_neurons"]  # the run imports it by itself
    TABLE.pop(example.AdaptingLIF)
    result = command(
        *("--config-dir", str(tmp_path / "conf"), "neuron=adapting", "data=digits", "model=mlp", "model.units=[8]"),
        *("training.epochs=1", "data.max_train_images=128", "conversion.scale_firing_rates=40", "simulator.n_steps=20"),
        *(
            "simulator.max_images=20",
            "simulator.verify_images=10",
            "simulator.precision=float64",
            "diagnosis.images=10",
        ),
        *("callbacks=none", "logger=csv"),
    )
    assert result.code == 0, result.err
    said = " ".join(result.out.split())
    assert "simulator clock_driven: event_driven: layer 'dense' has neurons of type AdaptingLIF" in said
    assert "against nengo_dl 10 images: 0 of the spikes moved" in said and "points lost rate neurons" in said


# ---------------------------------------------------------------------- what is not registered, or wrongly


class Unknown(nengo.LIF):
    """Derived from a type that is known, and not registered."""


def test_a_type_that_is_not_registered_runs_in_nengo_dl_and_is_told_how_to_register(example):
    assert simulate(network(Unknown()), AutoSimulator(n_steps=5))[2] == (
        "nengo_dl (auto: layer 'dense' has neurons of type Unknown, whose equation only NengoDL knows "
        "(snnpipe.register_neuron gives it to clock_driven and auto, docs/simulators.md))"
    )


class OfTheUser(nengo.RectifiedLinear):
    """A rate type that a test registers."""


@pytest.mark.parametrize(
    ("cls", "model", "message"),
    [
        (nengo.LIF(), NeuronModel(), "got LIF(): give a class derived from nengo.neurons.NeuronType"),
        (int, NeuronModel(), "got <class 'int'>: give a class derived from nengo.neurons.NeuronType"),
        (nengo.LIF, NeuronModel(), "LIF is built in: derive a class of your own from it, and register that"),
        (OfTheUser, max, f"got {max!r} for OfTheUser: give a snnpipe.NeuronModel(...)"),
    ],
)
def test_what_cannot_be_registered_is_refused(cls, model, message, example):
    with pytest.raises(ConfigError, match=f"^register_neuron: {re.escape(message)}$"):
        register_neuron(cls, model)


def test_a_state_variable_that_the_class_lacks_is_refused(example):
    register_neuron(Unknown, NeuronModel(equation=lambda neuron, dt: Equation(state=("voltage", "calcium"))))
    with pytest.raises(SimulationError, match="'calcium', and its class has 'voltage', 'refractory_time': name it in"):
        ClockDrivenSimulator(n_steps=5).open(network(Unknown()))


def test_a_registered_rate_type_can_be_what_others_spike_by(example):
    built_in = neuron_model(nengo.RectifiedLinear())
    register_neuron(OfTheUser, NeuronModel(equation=built_in.equation, integrated=built_in.integrated))
    of_user, of_nengo = (nengo.RegularSpiking(kind(amplitude=0.5)) for kind in (OfTheUser, nengo.RectifiedLinear))
    for simulator in (ClockDrivenSimulator(n_steps=40), EventDrivenSimulator(n_steps=40)):
        found, expected = (simulate(network(own, scale_firing_rates=900.0), simulator) for own in (of_user, of_nengo))
        np.testing.assert_array_equal(found[0], expected[0])
        assert len(found[1]["dense"]) > 50


class AtMostTwice(nengo.SpikingRectifiedLinear):
    """Spikes at most twice a step; what is above stays for the next."""


def test_the_kernel_and_the_diagnosis_keep_to_the_most_spikes_of_a_step(example):
    tf = import_tensorflow()

    def step(spikes_per_step, state, seeds):
        voltage = state[0] + spikes_per_step
        spikes = tf.clip_by_value(tf.floor(voltage), 0, 2)
        return spikes, (voltage - spikes,)

    model = NeuronModel(
        equation=lambda neuron, dt: Equation(step=step, state=("voltage",), drive=tf.nn.relu, current_factor=dt),
        events=lambda neuron, dt: EventRule(function="integrate", direct=True),
        most_spikes=lambda neuron, dt: 2,
    )
    register_neuron(AtMostTwice, model)
    net = network(AtMostTwice(), scale_firing_rates=4000.0)
    (_, by_clock, _), (_, by_events, _) = (
        simulate(net, kind(n_steps=20, precision="float64")) for kind in (ClockDrivenSimulator, EventDrivenSimulator)
    )
    for layer in net.layers:
        assert set(by_clock[layer.name][:, 3]) == {1, 2}
        np.testing.assert_array_equal(by_events[layer.name], by_clock[layer.name])
        assert rate_limit(layer, 0.001) == (0.95 * 2 / 0.001, False)


# ---------------------------------------------------------------------- slips in a step


def of_the_step(step, state=("voltage",), **more):
    return NeuronModel(equation=lambda neuron, dt: Equation(step=step, state=state, current_factor=dt), **more)


def kept(drive, state, seeds):
    return import_tensorflow().floor(state[0] + drive), state


SLIPS = {
    "another shape": (lambda d, s, r: (import_tensorflow().reduce_sum(d, -1), s), "returns spikes of shape"),
    "another type": (lambda d, s, r: (d > 0, s), "type bool where it gets"),
    "one thing": (lambda d, s, r: d, "must return two things"),
    "a state too few": (lambda d, s, r: (d, ()), "returns 0 states, and has 1: voltage"),
    "no number": (lambda d, s, r: (d, (s[0] * float("nan"),)), "returns voltage that are infinite or no numbers"),
    "NumPy of a sum": (lambda d, s, r: (d + None, s), "fails ("),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_in_a_step_is_one_line_before_anything_is_simulated(example, slip):
    step, words = SLIPS[slip]
    register_neuron(Unknown, of_the_step(step))
    with pytest.raises(SimulationError) as refused:
        ClockDrivenSimulator(n_steps=5).open(network(Unknown()))
    assert str(refused.value).startswith("layer 'dense': the equation registered for Unknown ") and words in str(
        refused.value
    )


def test_a_state_that_becomes_no_number_later_ends_the_run(example):
    tf = import_tensorflow()

    def step(drive, state, seeds):
        return tf.zeros_like(drive), (tf.math.sqrt(state[0] - 0.5),)

    register_neuron(Unknown, of_the_step(step, most_spikes=lambda neuron, dt: 1))
    net = network(Unknown(initial_state={"voltage": nengo.dists.Choice([0.9])}))
    with pytest.raises(SimulationError, match="the voltage of its Unknown neurons is infinite or no number"):
        simulate(net, ClockDrivenSimulator(n_steps=20))


def test_a_step_that_xla_cannot_compile_is_told(example):
    tf = import_tensorflow()

    def step(drive, state, seeds):
        return tf.zeros_like(drive) * tf.strings.to_number(tf.strings.as_string(drive), drive.dtype), state

    register_neuron(Unknown, of_the_step(step, most_spikes=lambda neuron, dt: 1))
    stimulus = Stimulus(IMAGES, range(4), ConstantEncoder())
    with (
        ClockDrivenSimulator(n_steps=5, xla=True).open(network(Unknown())) as simulator,
        pytest.raises(SimulationError, match=r"simulator\.xla=true: XLA cannot .*take simulator\.xla=false") as refused,
    ):
        list(simulator.run(stimulus))
    assert "AsString" in str(refused.value), str(refused.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Equation(step=3), "Equation.step: got 3: takes a function"),
        (lambda: Equation(state="voltage"), "Equation.state: got 'voltage': takes a tuple of names"),
        (lambda: NeuronModel(most_spikes=1), "NeuronModel.most_spikes: got 1: takes a function"),
        (lambda: NeuronModel(random="yes"), "random='yes'"),
    ],
)
def test_what_is_no_entry_is_refused(make, words):
    with pytest.raises(ConfigError) as refused:
        make()
    assert words in str(refused.value)


def test_the_source_of_a_neuron_counts_for_a_finished_run(example):
    def digests(neuron):
        parts = NengoDLConverter(neuron={"*": nengo.LIF(), "dense": neuron})
        return [digest_of(each) for each in _neurons_within(parts)]

    register_neuron(Unknown, of_the_step(kept))
    before = digests(Unknown())
    assert len(before) == 3 and digests(Unknown()) == before
    register_neuron(Unknown, of_the_step(lambda d, s, r: (d, s)))
    assert digests(Unknown()) != before
    assert digests(example.AdaptingLIF()) != before and len(digests(nengo.RegularSpiking(nengo.LIFRate()))) == 3
