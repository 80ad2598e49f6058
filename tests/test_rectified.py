"""The rectified mean of a layer's current: against the currents that Nengo itself records, and what follows from it."""

import nengo
import numpy as np
import pytest
from test_suggestions import situation

from snnpipe import AutoSimulator, ConstantEncoder, IntegrateAndFire, Mlp, NengoDLConverter, Stimulus
from snnpipe.diagnosis.rectified import RectifiedMeter, measurable
from snnpipe.diagnosis.suggestions import candidates
from snnpipe.diagnosis.wording import measured
from snnpipe.testing import SPEC

STEPS, DT = 12, 0.001


@pytest.mark.parametrize("synapse", [None, 0.003])
def test_the_excess_is_that_of_the_currents_which_nengo_records(synapse):
    converter = NengoDLConverter(
        neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=200.0, synapse=synapse, initial_voltage=0.5
    )
    network = converter.convert(Mlp(units=[20, 15]).build(SPEC), seed=0)
    image = np.random.default_rng(1).uniform(0, 2, (1, *SPEC.input_shape)).astype(np.float32)
    assert measurable(network)
    meter = RectifiedMeter(network, STEPS, DT)
    stimulus = Stimulus(image, [0], ConstantEncoder())
    meter.begin(stimulus)
    with AutoSimulator(n_steps=STEPS, dt=DT, chunk_steps=1).open(network) as opened:
        for chunk in opened.run(stimulus):
            meter.add(chunk)
    excess = meter.excess()

    with network.network:
        currents = [nengo.Probe(layer.neurons, "input") for layer in network.layers]
        outputs = [nengo.Probe(layer.neurons, synapse=None) for layer in network.layers]
    network.input.output = image.ravel()
    with nengo.Simulator(network.network, dt=DT, progress_bar=False) as recorded:
        recorded.run_steps(STEPS)
    for layer, current, output in zip(network.layers, currents, outputs, strict=True):
        rectified = np.maximum(recorded.data[current].mean(axis=0), 0).sum() / layer.scale_firing_rates
        assert excess[layer.name] == pytest.approx(recorded.data[output].mean(axis=0).sum() / rectified - 1, abs=1e-4)
    assert synapse or excess[network.layers[1].name] > 0.1, "currents of both signs are there"


def test_where_the_rectified_current_is_the_fault_other_neurons_are_tried_and_it_is_said():
    s = situation(scale=100.0, rectified_excess=0.34)
    assert "its rectified current exceeds the rectified mean by 34 %" in measured(s)
    overrides = [candidate.override for candidate in candidates(s)]
    assert overrides[:2] == [
        "neuron=integrate_and_fire",
        "neuron=integrate_and_fire conversion.synapse=null simulator.readout=mean simulator.readout_steps=null",
    ]
    for without in (
        situation(scale=100.0, rectified_excess=0.05),
        situation(neuron=IntegrateAndFire(), rectified_excess=0.34),
    ):
        assert not any("neuron=" in candidate.override for candidate in candidates(without))
        assert "34 %" not in measured(without)
