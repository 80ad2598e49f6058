"""The main job and the published recipes on real MNIST, where it is prepared."""

import os
from pathlib import Path

import pytest
from configs import composed

from snnpipe.config.build import build
from snnpipe.config.check import check
from snnpipe.values.result import RunResult

FOLDER = os.environ.get("TFDS_DATA_DIR", "")
SHORT = ("logger=csv", "simulator.max_images=300")
FLOORS = {
    "mnist_nengo_dl": (["training.epochs=1"], 0.96, 0.85),
    "mnist_lif_native": (["training.epochs=1", "data.max_train_images=20000"], 0.90, 0.80),
    "mnist_poisson_lif": (["training.epochs=3"], 0.95, 0.93),
    "mnist_keras_to_snn": (["training.epochs=1"], 0.94, 0.90),
}
"""A shorter schedule for each recipe on MNIST, and the least accuracy, in training and spiking, that it must reach."""

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not (Path(FOLDER) / "mnist").is_dir(), reason="no prepared MNIST in $TFDS_DATA_DIR"),
]


def run(tmp_path: Path, *overrides: str) -> RunResult:
    config = composed(*overrides, *SHORT, f"paths.output_dir={tmp_path}")
    check(config)
    return build(config).run()


@pytest.mark.parametrize("recipe", FLOORS)
def test_a_recipe_reaches_its_floor(tmp_path, recipe):
    shorter, ann, snn = FLOORS[recipe]
    metrics = run(tmp_path, f"experiment={recipe}", *shorter).metrics
    assert metrics["snn/test_images"] == 300
    assert metrics["ann/test_accuracy"] > ann
    assert metrics["snn/test_accuracy"] > snn


def test_neurons_with_gains_of_nengos_own_choosing_do_worse(tmp_path):
    given, own = (
        run(tmp_path / gains, "experiment=mnist_poisson_lif", "training.epochs=1", f"conversion.gains={gains}")
        for gains in ("given", "nengo")
    )
    assert given.metrics["ann/test_accuracy"] == own.metrics["ann/test_accuracy"]
    assert given.metrics["snn/test_accuracy"] > own.metrics["snn/test_accuracy"] + 0.02
