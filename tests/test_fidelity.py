"""A network that is not the model that it stands for is stopped; where the reference is wrong, it is named."""

from dataclasses import dataclass

import nengo
import numpy as np
import pytest

from snnpipe import (
    ClockDrivenSimulator,
    ConstantEncoder,
    KerasTraining,
    Mlp,
    NengoDLConverter,
    NengoDLSimulator,
    Trainer,
)
from snnpipe.base.errors import ConversionError, VerificationError


@dataclass(frozen=True, kw_only=True)
class Careless(NengoDLConverter):
    """Makes Nengo objects that are not the model's: as NengoDL does of a setting that it does not know."""

    def convert(self, model, seed):
        network = super().convert(model, seed)
        dense = next(layer.neurons for layer in network.layers if layer.name == "dense_1")
        (connection,) = (c for c in network.network.all_connections if c.post_obj is dense)
        connection.transform = 1.5 * np.asarray(connection.transform.init)
        return network


def trainer(digits, tmp_path, converter, simulator):
    return Trainer(
        data=digits(max_train_images=200, max_test_images=20),
        architecture=Mlp(units=[12, 10]),
        training=KerasTraining(epochs=0),
        converter=converter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=200.0),
        simulator=simulator,
        encoder=ConstantEncoder(),
        diagnosed_images=0,
        output_dir=tmp_path / "out",
    )


def test_a_wrong_network_is_stopped_before_training(digits, tmp_path):
    made = trainer(digits, tmp_path, Careless, NengoDLSimulator(n_steps=5))
    with pytest.raises(ConversionError, match=r"'dense_1' \(Dense\) differs by .* % .* \(through NengoDL, 4 samples"):
        made.prepare()
    trainer(digits, tmp_path, NengoDLConverter, NengoDLSimulator(n_steps=5)).prepare()


@pytest.mark.slow
def test_a_reference_that_is_wrong_is_not_what_to_take(digits, tmp_path):
    made = trainer(digits, tmp_path, Careless, ClockDrivenSimulator(n_steps=20, verify_images=5))
    with pytest.raises(VerificationError, match=r"It is the reference that is wrong: .*'dense_1'") as wrong:
        made.run()
    assert "Take simulator=nengo_dl" not in str(wrong.value)
    assert "take simulator.verify_images=0" in str(wrong.value)
    cured = trainer(digits, tmp_path, Careless, ClockDrivenSimulator(n_steps=20, verify_images=0)).run()
    right = trainer(digits, tmp_path, NengoDLConverter, ClockDrivenSimulator(n_steps=20)).run()
    assert cured.metrics["snn/agreement"] == right.metrics["snn/agreement"]
