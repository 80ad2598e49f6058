"""Many runs, many steps, many images: what grows with them, and what does not."""

import subprocess
import sys
from pathlib import Path

import pytest

from snnpipe import MLflowLogger
from snnpipe.testing import SPEC

pytestmark = pytest.mark.long

N_RUNS = 200


def test_a_run_asks_no_more_of_a_store_with_two_hundred_runs_than_of_one_with_few(tmp_path):  # a minute and a half
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    statements = []

    def count(connection, cursor, statement, parameters, context, many):
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", count)
    asked = []
    try:
        for n in range(N_RUNS):
            statements.clear()
            logger = MLflowLogger(folder=str(tmp_path / "mlruns"))
            logger.start(f"run {n}", {f"key {i}": n for i in range(130)}, {"run.fingerprint": str(n)})
            logger.log_dataset(SPEC)
            with logger.shared_fit(f"training {n}") as earlier:
                assert earlier is None
                for epoch in range(1, 4):
                    logger.log_metrics({f"fit/metric {i}": n + i / 8 for i in range(8)}, step=epoch)
            logger.log_series("snn/accuracy_at_step", [i / 1000 for i in range(1000)])
            logger.finalize("FINISHED")
            asked.append(len(statements))
    finally:
        event.remove(Engine, "before_cursor_execute", count)
    assert asked[-1] == asked[N_RUNS // 10], asked[:: N_RUNS // 10]


SIMULATED = """
import resource, sys
import nengo
from snnpipe import *
from snnpipe.callbacks.report import Report
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe import DataSpec

tf = import_tensorflow()

class Noise:
    batch_size = 100

    def __init__(self, n_test):
        self.spec = DataSpec("noise", "1", (28, 28, 1), 10, tuple("0123456789"), 200, 0, n_test, "none")

    def prepare_data(self): ...

    def setup(self): ...

    def train_dataset(self, epoch=0):
        return self._images(200, 100)

    def validation_dataset(self):
        return None

    def test_dataset(self, batch_size=None):
        return self._images(self.spec.n_test, batch_size or 100)

    def _images(self, n, size):
        def image(i):
            draw = lambda shape, **limits: tf.random.stateless_uniform(shape, (i, 1), **limits)
            return draw((28, 28, 1)), draw((), maxval=10, dtype=tf.int64)
        return tf.data.Dataset.range(n).map(image).batch(size)

kind, images, steps, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
result = Trainer(
    data=Noise(images),
    architecture=Cnn2d(filters=[4], dense=32),
    training=KerasTraining(epochs=1),
    converter=NengoDLConverter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=50.0, synapse=0.005),
    simulator={"event": EventDrivenSimulator, "clock": ClockDrivenSimulator}[kind](n_steps=steps),
    encoder=ConstantEncoder(),
    callbacks=[SpikeArtifacts(), Report()],
    loggers=[MLflowLogger(folder=f"{folder}/mlruns"), CsvLogger(folder=f"{folder}/run")],
    output_dir=f"{folder}/run",
).run()
assert result.metrics["snn/test_images"] == images and len(result.accuracy_at_step) == steps
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20))
"""


def peak_mb(folder: Path, kind: str, images: int, steps: int) -> float:
    """Return the largest resident size of a whole run in a process of its own, MiB."""
    command = [sys.executable, "-c", SIMULATED, kind, str(images), str(steps), str(folder / f"{images}-{steps}")]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", ["event", "clock"])
def test_memory_does_not_grow_with_the_steps(tmp_path, kind):  # a minute each
    few, many = peak_mb(tmp_path, kind, 200, 50), peak_mb(tmp_path, kind, 200, 2000)
    print(f"{kind}: {few:.0f} MiB at 50 steps, {many:.0f} MiB at 2,000")
    # the outputs of a batch are 8 MB in float32, and there are some arrays of their shape; spikes would be 2 GB
    assert many < few + 250


def test_memory_does_not_grow_with_the_images(tmp_path):  # a minute
    few, many = peak_mb(tmp_path, "event", 1000, 100), peak_mb(tmp_path, "event", 10_000, 100)
    print(f"{few:.0f} MiB with 1,000 images, {many:.0f} MiB with 10,000")
    assert many < few + 100
