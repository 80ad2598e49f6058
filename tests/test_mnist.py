"""The main job on real MNIST, where it is prepared."""

import os
from pathlib import Path

import pytest

from snnpipe import AutoSimulator, Cnn2d, ConstantEncoder, NengoDLConverter, NengoDLTraining, TfdsDataModule, Trainer

FOLDER = os.environ.get("TFDS_DATA_DIR", "")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (Path(FOLDER) / "mnist").is_dir(), reason="no prepared MNIST in $TFDS_DATA_DIR"),
]


def test_training_in_nengo_dl_and_converting_keeps_the_accuracy(tmp_path):
    import nengo

    trainer = Trainer(
        data=TfdsDataModule("mnist", data_dir=FOLDER, batch_size=100, max_train_images=20_000),
        architecture=Cnn2d(),
        training=NengoDLTraining(epochs=1, scale_firing_rates=25.0),
        converter=NengoDLConverter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=50.0, synapse=0.005),
        simulator=AutoSimulator(n_steps=60, batch_size=100, max_images=200),
        encoder=ConstantEncoder(),
        output_dir=tmp_path,
    )
    metrics = trainer.run().metrics
    assert metrics["ann/test_accuracy"] > 0.95
    assert metrics["snn/test_accuracy"] > 0.9
    assert metrics["snn/test_images"] == 200
