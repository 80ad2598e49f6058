"""Nothing is lost when the machine fails: memory, disk, files, clock and tracking store, each really at fault."""

import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import nengo
import numpy as np
import pytest
from multiruns import FAST, runs_of

from snnpipe import (
    ClockDrivenSimulator,
    ConstantEncoder,
    EventDrivenSimulator,
    KerasTraining,
    Mlp,
    NengoDLConverter,
    NengoDLSimulator,
    TfdsDataModule,
    Trainer,
    passes,
)
from snnpipe.compat import import_tensorflow
from snnpipe.errors import DataError, SimulationError
from snnpipe.metrics.evaluation import Evaluation
from snnpipe.simulators.nengo_dl import OpenNengoDL
from snnpipe.types import SpikeEvents

# ---------------------------------------------------------------------- memory


class LittleMemory:
    """What a simulator opens, with memory for a few images only: a larger batch fails midway."""

    def __init__(self, opened, most):
        self.opened, self.most = opened, most
        self.used = opened.used

    def __enter__(self):
        self.opened.__enter__()
        return self

    def __exit__(self, *error):
        self.opened.__exit__(*error)

    def run(self, stimulus):
        for number, chunk in enumerate(self.opened.run(stimulus)):
            if number and len(stimulus) > self.most:
                raise MemoryError
            yield chunk


class LittleMemoryNengoDL(OpenNengoDL):
    """NengoDL's simulator, where TensorFlow has memory for one that is built for few images only."""

    most = 5

    def _chunk(self, stimulus, first, n_steps):
        if first and self._batch_size > self.most:
            raise import_tensorflow().errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return super()._chunk(stimulus, first, n_steps)


@pytest.fixture(scope="module")
def network(fitted):
    model, _ = fitted
    return NengoDLConverter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=100.0, synapse=0.005).convert(
        model, seed=0
    )


def simulated(network, model, data, simulator, opened):
    """Return the metrics, the sampled spikes and the sizes of the batches of a simulation."""
    images = passes.TestPass(data, simulator, ConstantEncoder(), 0, network)
    evaluation = Evaluation(network, [simulator.n_steps], simulator.dt, "last", 1, data.spec.n_classes)
    with opened:
        batches = [
            batch
            for batch, _ in images.simulate(opened, passes.AnnPass.of(model, data).classes, evaluation, sampled=10)
        ]
    spikes = {}
    for name in batches[0].events:
        columns = [np.concatenate([getattr(b.events[name], f.name) for b in batches]) for f in fields(SpikeEvents)]
        spikes[name] = np.stack(columns)[:, np.lexsort(columns[::-1])]
    scores = np.concatenate([batch.scores_btc for batch in batches])
    confusions = evaluation.outcome().between_cc
    return evaluation.metrics(), spikes, scores, confusions, [len(batch.labels) for batch in batches]


@pytest.mark.parametrize("kind", [EventDrivenSimulator, ClockDrivenSimulator, NengoDLSimulator])
def test_a_batch_that_is_too_large_for_the_memory_is_halved_and_gives_the_same_to_the_bit(
    kind, fitted, network, digits
):
    model, data = fitted[0], digits(max_test_images=50)
    simulator = kind(n_steps=12, chunk_steps=4, batch_size=16)
    whole = simulated(network, model, data, simulator, simulator.open(network))
    if kind is NengoDLSimulator:
        little = LittleMemoryNengoDL(network, simulator)
    else:
        little = LittleMemory(simulator.open(network), most=5)
    with pytest.warns(UserWarning, match=r"not suffice.*(16|8) images.*from here on (8|4) at once") as told:
        halved = simulated(network, model, data, simulator, little)
    assert len(told) == 2
    assert whole[-1] == [16, 16, 16, 2] and halved[-1] == [4] * 12 + [2]
    assert whole[0] == halved[0]
    assert np.array_equal(whole[2], halved[2]) and np.array_equal(whole[3], halved[3])
    assert all(np.array_equal(spikes, halved[1][name]) for name, spikes in whole[1].items())
    assert sum(spikes.shape[1] for spikes in whole[1].values()) > 1000


def test_memory_that_does_not_suffice_for_one_image_is_told_in_a_line(fitted, network, digits):
    simulator = EventDrivenSimulator(n_steps=4, chunk_steps=2, batch_size=2)
    with (
        pytest.warns(UserWarning, match="1 at once"),
        pytest.raises(SimulationError, match=r"one image needs more memory.*simulator\.chunk_steps"),
    ):
        simulated(network, fitted[0], digits(), simulator, LittleMemory(simulator.open(network), most=0))


LIMITED = """
import resource, sys, warnings
from pathlib import Path
import nengo
from snnpipe import *
from snnpipe.callbacks.base import Callback

class Limit(Callback):
    def __init__(self):
        self.sizes = []

    def on_simulation_start(self, state, images):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        self.before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (used + 400 * 2**20, self.before[1]))

    def on_simulation_batch_end(self, state, batch):
        self.sizes.append(len(batch.labels))

    def on_evaluate_end(self, state):
        resource.setrlimit(resource.RLIMIT_AS, self.before)

limit = Limit()
trainer = Trainer(
    data=TfdsDataModule("digits", data_dir=sys.argv[1], batch_size=32, max_train_images=100),
    architecture=Mlp(units=[8]),
    training=KerasTraining(epochs=1),
    converter=NengoDLConverter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=50.0),
    simulator=EventDrivenSimulator(n_steps=12_000, batch_size=359),
    encoder=ConstantEncoder(),
    callbacks=[limit],
    diagnosed_images=0,
)
trainer.fit()
trainer.convert()
little = trainer.evaluate()
trainer.callbacks = ()
enough = trainer.evaluate()
same = [{k: v for k, v in r.metrics.items() if not k.startswith("simulate/")} for r in (little, enough)]
print(max(limit.sizes), sum(limit.sizes), same[0] == same[1], little.accuracy_at_step == enough.accuracy_at_step)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's address space")
def test_a_process_with_little_memory_simulates_smaller_batches(data_dir, tmp_path):
    command = [sys.executable, "-c", LIMITED, str(data_dir)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    largest, images, *same = done.stdout.split()
    assert int(largest) < 359 == int(images)
    assert same == ["True", "True"]
    assert "the memory does not suffice to simulate 359 images at once" in done.stderr


# ---------------------------------------------------------------------- prepared files


def records(data: bytes, n: int) -> bytes:
    """Return the first records of a TFRecord file: eight bytes of length, four of checksum, data, four of checksum."""
    at = 0
    for _ in range(n):
        at += 16 + int.from_bytes(data[at : at + 8], "little")
    return data[:at]


DAMAGES = {
    "cut off": (lambda data: data[: len(data) // 2], "truncated record"),
    "a byte": (lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], "corrupted record"),
    "cut off between records": (lambda data: records(data, 100), "it has 100 of"),
    "gone": (lambda data: None, "it is not there"),
}


@pytest.fixture
def prepared(data_dir, tmp_path):
    """A copy of the prepared digits."""
    folder = tmp_path / "prepared"
    shutil.copytree(data_dir, folder)
    return folder


def damage(folder, split, how):
    (file,) = folder.glob(f"digits/*/digits-{split}*")
    data = DAMAGES[how][0](file.read_bytes())
    if data is None:
        file.unlink()
    else:
        file.write_bytes(data)
    return file


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_file_of_training_images_is_named_with_its_cure(how, prepared, tmp_path):
    data = TfdsDataModule("digits", data_dir=str(prepared), batch_size=32)
    file = damage(prepared, "train", how)
    trainer = Trainer(
        data=data,
        architecture=Mlp(units=[4]),
        training=KerasTraining(epochs=1),
        converter=NengoDLConverter(neuron=nengo.SpikingRectifiedLinear()),
        simulator=EventDrivenSimulator(n_steps=2),
        encoder=ConstantEncoder(),
        output_dir=tmp_path / "run",
    )
    with pytest.raises(DataError, match=rf"{file}.*{DAMAGES[how][1]}.*: delete {file.parent}; the next run prepares"):
        trainer.run()


def test_a_damaged_file_is_told_while_pixels_are_measured_and_a_damaged_description_too(prepared):
    data = TfdsDataModule("digits", data_dir=str(prepared), batch_size=32, scaling="standardised")
    file = damage(prepared, "train", "a byte")
    with pytest.raises(Exception, match="corrupted record") as raised:
        data.setup()
    assert str(file) in str(data.explain(raised.value))
    description = file.parent / "dataset_info.json"
    description.write_text(description.read_text()[:200])
    with pytest.raises(DataError, match=r"dataset_info\.json in .*digits is damaged.*: delete .*digits;"):
        data.prepare_data()


def test_a_run_on_damaged_test_images_is_a_mistake_in_one_line_and_keeps_its_training(command, data_dir, prepared):
    file = damage(prepared, "test", "a byte")
    result = command(*FAST, f"data.data_dir={prepared}", "data.max_test_images=null")
    assert result.code == 2
    (line,) = result.error_lines
    assert f"{file} is damaged (corrupted record" in line
    assert "Traceback" not in result.err
    (run,) = runs_of(Path())[0]
    assert run.info.status == "FAILED" and run.data.tags["error.mistake"] == "true"
    assert "fit/loss" in run.data.metrics
    weights = list(Path("mlruns/artifacts").glob("*/artifacts/checkpoint/weights.npz"))
    assert len(weights) == 1
