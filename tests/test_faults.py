"""Nothing is lost when the machine fails: memory, disk, files, clock and tracking store, each really at fault."""

import contextlib
import csv
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path

import nengo
import numpy as np
import pytest
from metric_plugins import Counting
from multiruns import FAST, client_of, runs_of, table_of, wait_for
from team_store import free_port, server_process

import snnpipe.commands.send
from snnpipe import (
    ClockDrivenSimulator,
    ConstantEncoder,
    CsvLogger,
    EventDrivenSimulator,
    KerasTraining,
    MLflowLogger,
    Mlp,
    NengoDLConverter,
    NengoDLSimulator,
    TfdsDataModule,
    Trainer,
)
from snnpipe.base.errors import DataError, LoggingError, SimulationError, StorageError, UserError
from snnpipe.callbacks.base import Callback
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.loggers.mlflow import writes as mlflow_writes
from snnpipe.loggers.mlflow.spool import RefusedError, Spool
from snnpipe.metrics import passes
from snnpipe.metrics.evaluation import Evaluation
from snnpipe.metrics.measurements import Measurements
from snnpipe.simulators.nengo_dl import OpenNengoDL
from snnpipe.testing import SPEC
from snnpipe.values.checkpoint import Checkpoint
from snnpipe.values.simulation import SpikeEvents

tf = import_tensorflow()


def small_run(data_dir, output_dir, **parts):
    """Return a trainer of a small network on the digits, with plain files for its log."""
    settings = {
        "data": TfdsDataModule(
            "digits", data_dir=str(data_dir), batch_size=32, max_train_images=64, max_test_images=20
        ),
        "architecture": Mlp(units=[8]),
        "training": KerasTraining(epochs=2),
        "converter": NengoDLConverter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=50.0, synapse=None),
        "simulator": EventDrivenSimulator(n_steps=5, batch_size=8),
        "encoder": ConstantEncoder(),
        "diagnosed_images": 0,
        "loggers": [CsvLogger(folder=str(output_dir))],
        "output_dir": output_dir,
    }
    return Trainer(**(settings | parts))


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
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return super()._chunk(stimulus, first, n_steps)


@pytest.fixture(scope="module")
def network(fitted):
    model, _ = fitted
    return NengoDLConverter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=100.0, synapse=0.005).convert(
        model, seed=0
    )


def simulated(network, model, data, simulator, opened):
    """Return the metrics, the sampled spikes and the sizes of the batches of a simulation."""
    images = passes.SpikingPass(data, simulator, ConstantEncoder(), 0, network)
    evaluation = Evaluation(network, [simulator.n_steps], simulator.dt, "last", 1, data.spec.n_classes)
    measured = Measurements([Counting()], network, simulator, [simulator.n_steps])
    ann_classes = passes.AnnPass.of(model, data).classes
    with opened:
        batches = [batch for batch, _ in images.simulate(opened, ann_classes, evaluation, 10, measured)]
    spikes = {}
    for name in batches[0].events:
        columns = [np.concatenate([getattr(b.events[name], f.name) for b in batches]) for f in fields(SpikeEvents)]
        spikes[name] = np.stack(columns)[:, np.lexsort(columns[::-1])]
    scores = np.concatenate([batch.scores_btc for batch in batches])
    confusions = evaluation.outcome().between_cc
    return (
        evaluation.metrics() | measured.values(),
        spikes,
        scores,
        confusions,
        [len(batch.labels) for batch in batches],
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [EventDrivenSimulator, ClockDrivenSimulator, pytest.param(NengoDLSimulator, marks=pytest.mark.long)],
)
def test_a_batch_that_is_too_large_for_the_memory_is_halved_and_gives_the_same_to_the_bit(
    kind, fitted, network, digits
):
    model, data = fitted[0], digits(max_test_images=20)
    simulator = kind(n_steps=6, chunk_steps=3, batch_size=16)
    whole = simulated(network, model, data, simulator, simulator.open(network))
    if kind is NengoDLSimulator:
        little = LittleMemoryNengoDL(network, simulator)
    else:
        little = LittleMemory(simulator.open(network), most=5)
    with pytest.warns(UserWarning, match=r"not suffice.*(16|8) images.*from here on (8|4) at once") as told:
        halved = simulated(network, model, data, simulator, little)
    assert len(told) == 2
    assert whole[-1] == [16, 4] and halved[-1] == [4] * 5
    assert whole[0] == halved[0]
    assert np.array_equal(whole[2], halved[2]) and np.array_equal(whole[3], halved[3])
    assert all(np.array_equal(spikes, halved[1][name]) for name, spikes in whole[1].items())
    assert sum(spikes.shape[1] for spikes in whole[1].values()) > 100


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
trainer.log.callbacks = ()
enough = trainer.evaluate()
same = [{k: v for k, v in r.metrics.items() if not k.startswith("simulate/")} for r in (little, enough)]
print(max(limit.sizes), sum(limit.sizes), same[0] == same[1], little.accuracy_at_step == enough.accuracy_at_step)
"""


@pytest.mark.long  # 10 s
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
def test_a_damaged_file_is_named_with_its_cure(how, prepared):
    data = TfdsDataModule("digits", data_dir=str(prepared), batch_size=32)
    file = damage(prepared, "train", how)
    data.setup()
    with pytest.raises(tf.errors.OpError) as raised:
        list(data.train_dataset())
    problem = data.explain(raised.value)
    assert isinstance(problem, DataError)
    assert re.search(
        rf"{file} is damaged \(.*{DAMAGES[how][1]}.*\): delete {file.parent}; the next run prepares", str(problem)
    )
    assert data.explain(ValueError()) is None


def test_a_training_on_a_damaged_file_is_a_mistake(prepared, tmp_path):
    file = damage(prepared, "train", "cut off")
    trainer = small_run(prepared, tmp_path / "run")
    trainer.data.max_train_images = None
    with pytest.raises(DataError, match=f"{file} is damaged"):
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


@pytest.mark.slow
def test_a_run_on_damaged_test_images_is_a_mistake_in_one_line_and_keeps_its_training(command, data_dir, prepared):
    file = damage(prepared, "test", "a byte")
    result = command(*FAST, f"data.data_dir={prepared}", "data.max_test_images=null")
    assert result.code == 2
    (line,) = result.error_lines
    assert f"{file} is damaged (corrupted record" in line
    assert "Traceback" not in result.err
    (run,) = runs_of(Path.cwd())[0]
    assert run.info.status == "FAILED" and run.data.tags["error.mistake"] == "true"
    assert "fit/loss" in run.data.metrics
    weights = list(Path("mlruns/artifacts").glob("*/artifacts/checkpoint/weights.npz"))
    assert len(weights) == 1


# ---------------------------------------------------------------------- a disk that is full or cannot be written to


@pytest.fixture
def disk(tmp_path):
    """Mount a file system of a few megabytes, for the test alone; returns where."""
    mounted = []

    def mount(name, megabytes, *options):
        folder = tmp_path / name
        folder.mkdir()
        size = ",".join([f"size={megabytes}m", *options])
        command = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False) if shutil.which("mount") else None
        if done is None or done.returncode:
            pytest.skip("needs to mount a tmpfs, which root may")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Fill a disk to the last byte; returns what is in the way."""
    ballast = folder / "ballast"
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    return ballast


@dataclass
class Filler(Callback):
    """Fills a disk at one point of a run, and makes room again at another."""

    folder: str
    at: str
    until: str = ""

    def __getattribute__(self, name):
        found = super().__getattribute__(name)
        if not name.startswith("on_"):
            return found
        ballast = Path(self.folder) / "ballast"
        if name == self.at:
            fill(Path(self.folder))
        elif name == self.until:
            ballast.unlink()
        return found


def files_of(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {".lock"}


def csv_rows(folder):
    header, *rows = csv.reader((folder / "metrics.csv").read_text().splitlines())
    return {(name, step): float(value) for name, step, value in rows}


@pytest.mark.slow
def test_weights_for_which_there_is_no_room_are_saved_at_the_end_if_there_is_by_then(data_dir, disk):
    small = disk("small", 2)
    filler = Filler(str(small), at="on_fit_start", until="on_simulation_start")
    with pytest.warns(UserWarning, match=rf"weights.npz to {small}/run/checkpoint \(No space left.*: make room there"):
        result = small_run(data_dir, small / "run", callbacks=[filler]).run()
    Checkpoint.load(small / "run" / "checkpoint")
    rows = csv_rows(small / "run")
    assert {("fit/loss", "1"), ("fit/loss", "2")} < rows.keys()
    assert rows["snn/test_accuracy", ""] == result.metrics["snn/test_accuracy"]


@pytest.mark.slow
def test_a_run_whose_weights_cannot_be_saved_has_its_results_and_fails(data_dir, disk):
    small = disk("small", 2)
    filler = Filler(str(small), at="on_fit_start")
    simulator = EventDrivenSimulator(n_steps=300, batch_size=20)
    trainer = small_run(data_dir, small / "run", callbacks=[filler], simulator=simulator)
    with (
        pytest.warns(UserWarning, match=rf"cannot write metrics.csv to {small}/run \(No space left"),
        pytest.raises(
            StorageError, match=rf"weights are nowhere: .*weights.npz to {small}/run/checkpoint \(No space"
        ) as e,
    ):
        trainer.run()
    assert "\n" not in str(e.value)
    assert e.value.result.metrics["snn/test_images"] == 20
    assert files_of(small / "run") == {
        "content.json",
        "params.json",
        "metrics.csv",
        "environment.json",
        "config.yaml",
        "conversion/plan.json",
        "conversion/plan.md",
    }
    assert 0 < len(csv_rows(small / "run")) < 300, "as many lines as there is room for, and each whole"


@pytest.mark.slow
def test_a_run_without_room_for_its_pictures_ends_with_its_table(command, disk):
    small = disk("small", 3)
    filler = [
        "+callbacks.filler._target_=test_faults.Filler",
        f"+callbacks.filler.folder={small}",
        "+callbacks.filler.at=on_fit_end",
    ]
    words = ("debug=fast", "model=mlp", "model.units=[8]", "conversion.scale_firing_rates=100")
    result = command(*words, f"paths.output_dir={small}/run", *filler)
    assert result.code == 0, result.err
    assert "SNN accuracy" in result.out
    told = [line for line in result.err.splitlines() if line.startswith("snnpipe: warning: cannot write")]
    assert any(f"to {small}/run/plots (No space left on device): make room there" in line for line in told)
    assert "Traceback" not in result.err
    (run,) = runs_of(Path.cwd())[0]
    assert run.info.status == "FINISHED" and "No space left" in run.data.tags["files.missing"]
    assert run.data.metrics["snn/test_images"] == 20
    assert "checkpoint/weights.npz" in files_of(small / "run")
    assert not [name for name in files_of(small / "run") if name.endswith((".png", ".html", ".part"))]


@pytest.mark.slow
def test_a_folder_that_cannot_be_written_to_is_told_before_a_run(command, disk, data_dir):
    read_only = disk("read_only", 1, "ro")
    for key in ("paths.output_dir", "paths.mlruns"):
        result = command(*FAST, "paths.output_dir=here", f"{key}={read_only}/run")
        assert result.code == 2
        (line,) = result.error_lines
        assert f"{key}: cannot write to {read_only}/run (Read-only file system): set {key} to" in line


# ---------------------------------------------------------------------- a tracking store that is away


@pytest.fixture
def hurried(monkeypatch):
    """Give up soon on a store that does not answer."""
    monkeypatch.setattr(mlflow_writes, "_LAST_S", 1.0)
    monkeypatch.setattr(mlflow_writes, "_FIRST_PAUSE_S", 0.1)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


def log_epochs(logger, folder, epochs):
    """Log what a run does, each epoch's metrics after the one before, and a file that changes; returns the times."""
    times = []
    for epoch in epochs:
        times.append(time.time_ns() // 1_000_000)
        logger.log_metrics({"fit/loss": 1 / epoch, "fit/accuracy": float("nan")}, step=epoch)
        logger.set_tag("stage_reached", f"epoch {epoch}")
        path = folder / "last.txt"
        path.unlink(missing_ok=True)
        path.write_text(str(epoch))
        logger.log_artifact(path, "files")
    return times


def check_epochs(client, run_id, times, folder):
    """Check that each epoch's metrics have arrived once, in order and with their times, and the last of the rest."""
    for name in ("fit/loss", "fit/accuracy"):
        history = client.get_metric_history(run_id, name)
        assert [point.step for point in history] == list(range(1, len(times) + 1))
        for point, began in zip(history, times, strict=True):
            assert began <= point.timestamp <= began + 1000
            assert name != "fit/loss" or point.value == 1 / point.step
    assert [p.timestamp for p in history] == sorted(p.timestamp for p in history)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["stage_reached"] == f"epoch {len(times)}"
    kept = Path(client.download_artifacts(run_id, "files/last.txt", str(folder)))
    assert kept.read_text() == str(len(times))


@pytest.mark.slow
def test_what_a_killed_server_does_not_take_arrives_when_it_is_back(tmp_path, hurried, monkeypatch, capsys):
    from mlflow import MlflowClient

    def send(folder):
        monkeypatch.setattr(sys, "argv", ["snnpipe.send", str(folder)])
        return snnpipe.commands.send.main()

    port = free_port()
    address = f"http://127.0.0.1:{port}"
    run = tmp_path / "run"
    run.mkdir()
    logger = MLflowLogger(tracking_uri=address, spool=str(run))
    with server_process(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "server", port) as server:
        logger.start("run", {"n": 1}, {})
        times = log_epochs(logger, tmp_path, [1, 2])
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        began = time.monotonic()
        with pytest.warns(UserWarning, match=rf"does not take what the run logs .*refused.*kept in {run}/unsent/"):
            times += log_epochs(logger, tmp_path, [3, 4])
        with logger.shared_fit("a") as earlier:
            assert earlier is None, "it cannot be asked, and the run trains by itself"
        assert time.monotonic() - began < 30
        logger.log_dataset(SPEC)
        with pytest.warns(UserWarning, match=rf"`python -m snnpipe.send {run}` sends them"):
            logger.finalize("FINISHED")
    (calls,) = run.glob("unsent/*/calls.jsonl")
    with calls.open("ab") as file:  # of a process that was killed while it wrote
        file.write(b'{"n": 99, "kind": "tag", "na')

    with pytest.raises(LoggingError, match="cannot open .*refused.*calls that log run"):
        send(run)
    assert calls.exists()
    with server_process(f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "server", port):
        copy = shutil.copytree(run, tmp_path / "copy")
        for folder in (run, copy):  # what arrives twice is there once
            assert send(folder) == 0
        assert capsys.readouterr().out.count(f"calls are sent to {address}") == 2
        client = MlflowClient(address)
        check_epochs(client, logger._run_id, times, tmp_path / "kept")
        found = client.get_run(logger._run_id)
        assert found.inputs.dataset_inputs[0].dataset.name == SPEC.name
        assert found.data.tags["mlflow.snnpipe.fit.state"] == "done"
        assert found.info.end_time <= time.time_ns() // 1_000_000
    assert not list(run.iterdir())


def test_what_a_full_disk_keeps_out_of_the_store_arrives_when_there_is_room(tmp_path, disk, hurried):
    from mlflow import MlflowClient

    small, run = disk("mlruns", 4), tmp_path / "run"
    run.mkdir()
    logger = MLflowLogger(folder=str(small), spool=str(run))
    logger.start("run", {"n": 1}, {})
    times = log_epochs(logger, tmp_path, [1, 2])
    ballast = fill(small)
    with pytest.warns(UserWarning, match="does not take what the run logs .*full"):
        times += log_epochs(logger, tmp_path, [3, 4, 5])
    ballast.unlink()
    time.sleep(0.5)
    with pytest.warns(UserWarning, match="the tracking store has taken .* calls that were kept"):
        times += log_epochs(logger, tmp_path, [6])
    logger.finalize("FINISHED")
    (tmp_path / "kept").mkdir()
    check_epochs(MlflowClient(f"sqlite:///{small}/mlflow.db"), logger._run_id, times, tmp_path / "kept")
    assert not list(run.iterdir())


def test_what_a_killed_run_has_left_unsent_comes_before_it_goes_on(tmp_path):
    first = MLflowLogger(folder=str(tmp_path / "mlruns"), spool=str(tmp_path / "run"))
    first.start("run", {"paths.output_dir": str(tmp_path / "run")}, {"run.fingerprint": "f"})
    run_id = first._run_id
    left = Spool(tmp_path / "run" / "unsent" / run_id, {"run_id": run_id})
    left.add({"kind": "metrics", "stream": "rows", "points": [["fit/loss", 0.5, 1]], "at": 1_000})
    left.add({"kind": "end", "stream": "rows", "status": "FINISHED", "at": 2_000})
    with pytest.raises(UserError, match="under way"):
        first.earlier_run(run_id, "f")
    left.close()
    found = first.earlier_run(None, "f")
    assert found.finished and found.metrics == {"fit/loss": 0.5}
    assert not list((tmp_path / "run").iterdir())

    left = Spool(tmp_path / "run" / "unsent" / run_id, {"run_id": run_id})
    left.add({"kind": "metrics", "stream": "rows", "points": [["fit/loss", 0.4, 2]], "at": 3_000})
    left.close()
    with (left.folder / "calls.jsonl").open("ab") as file:  # it was killed while it wrote
        file.write(b'{"n": 99, "kind": "tag", "na')
    left = Spool(left.folder)
    left.add({"kind": "tag", "stream": "rows", "name": "fit.resumed", "value": "true", "at": 3_000})
    left.close()
    second = MLflowLogger(folder=str(tmp_path / "mlruns"), spool=str(tmp_path / "run"))
    second.start("run", {}, {}, resumed=run_id)
    for step, loss in ((2, 0.4), (3, 0.3)):
        second.log_metrics({"fit/loss": loss}, step=step)
    assert second._client.get_run(run_id).data.tags["fit.resumed"] == "true"
    history = second._client.get_metric_history(run_id, "fit/loss")
    assert [(point.step, point.value, point.timestamp < 3_001) for point in history] == [
        (1, 0.5, True),
        (2, 0.4, True),
        (3, 0.3, False),
    ]


def test_a_call_that_the_store_refuses_does_not_keep_back_the_others(tmp_path, hurried):
    spool = Spool(tmp_path / "unsent" / "a", {"run_id": "a"})
    for n in (1, 2, 3):
        spool.add({"kind": "tag", "stream": "rows", "name": f"n{n}"})
    spool.add({"kind": "artifact", "stream": "files"})
    taken = []

    def take(call, file):
        if call.get("name") == "n2":
            raise RefusedError("no")
        if call["stream"] == "files":
            raise OSError("full")
        taken.append(call["name"])

    outcome = spool.hand_on(take, ["rows", "files"])
    assert taken == ["n1", "n3"] and outcome.refused == ["no"] and list(outcome.failed) == ["files"]
    with pytest.raises(UserError, match="belongs to a run that is under way"):
        Spool(tmp_path / "unsent" / "a")
    spool.close()
    again = Spool(tmp_path / "unsent" / "a")
    assert len(again) == 2 and again.owner["run_id"] == "a"
    assert not again.hand_on(lambda call, file: None, ["rows", "files"]).failed
    assert not list(tmp_path.iterdir())


def test_calls_on_a_disk_that_is_full_when_some_are_sent_stay_readable(disk, hurried):
    folder = disk("small", 1) / "unsent" / "a"
    spool = Spool(folder, {"run_id": "a"})
    for n in (1, 2):
        spool.add({"kind": "tag", "stream": "rows", "name": f"n{n}"})

    def take(call, file):
        if call["name"] == "n2":
            raise OSError("away")

    fill(folder.parents[1])  # so that the file cannot be written anew, and a line at its end still has room
    assert spool.hand_on(take, ["rows"]).taken == 1
    spool.add({"kind": "tag", "stream": "rows", "name": "n3"})
    spool.close()
    left = []
    Spool(folder).hand_on(lambda call, file: left.append(call["name"]), ["rows"])
    assert left[-2:] == ["n2", "n3"]


# ---------------------------------------------------------------------- a clock that is set back, a loss that is none


@pytest.mark.slow
def test_a_clock_that_runs_backwards_changes_no_order_and_no_duration(command, monkeypatch):
    began = time.time_ns()

    def backwards():
        return began - 60 * (real() - began)

    real = time.time_ns
    with monkeypatch.context() as patched:
        patched.setattr(time, "time_ns", backwards)
        patched.setattr(time, "time", lambda: backwards() / 1e9)
        result = command(*FAST, "training.epochs=3", "diagnosis.images=10")
    assert result.code == 0, result.err
    (run,) = runs_of(Path.cwd())[0]
    assert run.info.status == "FINISHED"
    assert run.info.end_time >= run.info.start_time
    client = client_of(Path.cwd())
    for name in ("fit/loss", "snn/accuracy_at_step"):
        history = sorted(client.get_metric_history(run.info.run_id, name), key=lambda point: point.step)
        assert [point.step for point in history] == list(range(1, len(history) + 1))
        assert [point.timestamp for point in history] == sorted(point.timestamp for point in history)
        assert run.data.metrics[name] == history[-1].value
    assert run.data.metrics["diagnosis/seconds"] >= 0 and run.data.metrics["fit/images_per_s"] > 0
    assert run.data.metrics["simulate/images_per_s"] > 0


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_run_in_one_line_and_leaves_nothing_half_written(command):
    result = command(*FAST, "training.epochs=3", "training.learning_rate=1e30", "paths.output_dir=here")
    assert result.code == 2
    (line,) = result.error_lines
    assert re.search(r"the loss became (nan|inf) in epoch \d, batch \d+: lower training\.learning_rate", line)
    assert "Traceback" not in result.err
    (run,) = runs_of(Path.cwd())[0]
    assert run.info.status == "FAILED" and run.data.tags["stage_reached"] == "fit"
    assert run.data.tags["error"].startswith("TrainingError: the loss became")
    assert not Path("here/checkpoint").exists()
    assert not [name for name in files_of(Path("here")) if ".part" in name or name.startswith("unsent")]
    assert {"params.json", "tags.json", "metrics.csv", "config.yaml"} < files_of(Path("here"))


# ---------------------------------------------------------------------- whole runs on a store that is away


GATES = """
import time
from pathlib import Path
from snnpipe.callbacks.base import Callback

class Gates(Callback):
    def on_epoch_end(self, state, progress):
        self.wait(f"epoch {progress.epoch}")

    def on_simulation_start(self, state, images):
        self.wait("simulation")

    def wait(self, name):
        gate = Path(f"{name}.gate")
        if gate.exists():
            Path(f"{name}.there").touch()
            while gate.exists():
                time.sleep(0.05)
"""
EPOCHS, STEPS = 12, 300
OUT = "paths.output_dir=out"
STEADY = (
    *("debug=fast", "model=mlp", "model.units=[8]", f"training.epochs={EPOCHS}", f"simulator.n_steps={STEPS}"),
    *("diagnosis.images=20", "+callbacks.gates._target_=gates.Gates"),
)


class Gated:
    """A run as a process of its own that waits at some points until it is let go on."""

    def __init__(self, folder, start, *overrides, gates):
        self.folder = folder
        (folder / "gates.py").write_text(GATES)
        for name in gates:
            self.shut(name)
        self.process = start(*overrides, *STEADY)

    def shut(self, name):
        (self.folder / f"{name}.gate").touch()

    def wait(self, name):
        def there():
            assert self.process.poll() is None, self.process.communicate()
            return (self.folder / f"{name}.there").exists()

        wait_for(there)

    def let_go_on(self, name):
        (self.folder / f"{name}.gate").unlink()

    def end(self):
        try:
            out, err = self.process.communicate(timeout=300)
        finally:
            self.process.kill()
        assert self.process.returncode == 0, err
        assert re.search(r"SNN accuracy|, SNN \d", out) and "Traceback" not in err, err
        self.out = out
        return err


def check_whole(client):
    """Check that the only run has all of its metrics, each step once and no later than the one after it."""
    (run,) = client.search_runs([client.get_experiment_by_name("snnpipe").experiment_id])
    run_id = run.info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.tags["stage_reached"] == "done" and "snn/test_accuracy" in run.data.metrics
    assert run.data.params["training.epochs"] == str(EPOCHS)
    for name, n in (("fit/loss", EPOCHS), ("fit/val_accuracy", EPOCHS), ("snn/accuracy_at_step", STEPS)):
        history = sorted(client.get_metric_history(run_id, name), key=lambda point: point.step)
        assert [point.step for point in history] == list(range(1, n + 1))
        times = [point.timestamp for point in history]
        assert times == sorted(times) and run.info.start_time <= times[0] and times[-1] <= run.info.end_time
        assert n == STEPS or len(set(times)) == n, "each epoch has its own time, and not that of its arrival"
    top = {item.path for item in client.list_artifacts(run_id)}
    assert {"config.yaml", "environment.json", "report.html", "plots", "tables"} <= top
    assert [item.path for item in client.list_artifacts(run_id, "checkpoint")] == [
        "checkpoint/checkpoint.json",
        "checkpoint/weights.npz",
    ]


@pytest.fixture
def short_answers(monkeypatch):
    """Let processes that are started wait no more than some seconds for an answer."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")


@pytest.fixture
def own_server(tmp_path):
    """How to start a server on one store, at one address; and that."""
    port = free_port()
    return lambda: server_process(
        f"sqlite:///{tmp_path}/mlflow.db", tmp_path / "server", port
    ), f"http://127.0.0.1:{port}"


@pytest.mark.long  # 60 s
def test_a_run_whose_server_hangs_and_is_killed_later_loses_nothing(tmp_path, short_answers, process, own_server):
    from mlflow import MlflowClient

    start, address = own_server
    gates = ("epoch 3", "epoch 6", "epoch 9", "simulation")
    with start() as server:
        run = Gated(tmp_path / "process", process, f"logger.tracking_uri={address}", OUT, gates=gates)
        run.wait("epoch 3")
        os.killpg(server.pid, signal.SIGSTOP)
        run.let_go_on("epoch 3")
        run.wait("epoch 6")
        os.killpg(server.pid, signal.SIGCONT)
        run.let_go_on("epoch 6")
        run.wait("epoch 9")
        os.killpg(server.pid, signal.SIGKILL)
        run.let_go_on("epoch 9")
        run.wait("simulation")
    with start():
        run.let_go_on("simulation")
        err = run.end()
        check_whole(MlflowClient(address))
    assert "does not take what the run logs" in err and "calls that were kept for it" in err
    assert not (tmp_path / "process" / "out" / "unsent").exists()


@pytest.mark.long  # 60 s
def test_a_run_whose_server_is_gone_for_good_ends_and_is_sent_later(tmp_path, short_answers, process, own_server):
    from mlflow import MlflowClient

    start, address = own_server
    with start() as server:
        run = Gated(tmp_path / "process", process, f"logger.tracking_uri={address}", OUT, gates=["epoch 3"])
        run.wait("epoch 3")
        os.killpg(server.pid, signal.SIGKILL)
        run.let_go_on("epoch 3")
        err = run.end()
    (told,) = [line for line in err.splitlines() if "python -m snnpipe.send" in line]
    assert "snnpipe: warning: " in told and "have not reached" in told and "`python -m snnpipe.send out`" in told
    with start():
        send = [sys.executable, "-m", "snnpipe.send", "out"]
        subprocess.run(send, cwd=run.folder, check=True, capture_output=True, timeout=120)
        check_whole(MlflowClient(address))
    assert not (run.folder / "out" / "unsent").exists()


@pytest.mark.long  # 60 s
def test_a_run_whose_database_is_locked_for_a_while_loses_nothing(tmp_path, process):
    run = Gated(tmp_path / "process", process, OUT, gates=["epoch 3", "simulation"])
    run.wait("epoch 3")
    with contextlib.closing(sqlite3.connect(run.folder / "mlruns" / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        run.let_go_on("epoch 3")
        run.wait("simulation")
        other.execute("ROLLBACK")
    run.let_go_on("simulation")
    assert "does not take what the run logs (database is locked)" in run.end()
    check_whole(client_of(run.folder))
    assert not (run.folder / "out" / "unsent").exists()


@pytest.mark.long  # 120 s
def test_a_multi_run_whose_server_is_gone_at_its_end_has_its_table(tmp_path, short_answers, process, own_server):
    from mlflow import MlflowClient

    start, address = own_server
    with start() as server:
        overrides = (
            "-m",
            "conversion.scale_firing_rates=10,50",
            "training.reuse=false",
            f"logger.tracking_uri={address}",
        )
        run = Gated(tmp_path / "process", process, *overrides, gates=["simulation"])
        run.wait("simulation")
        run.shut("epoch 3")
        run.let_go_on("simulation")
        run.wait("epoch 3")
        os.killpg(server.pid, signal.SIGKILL)
        run.let_go_on("epoch 3")
        err = run.end()
    assert "the table has this process's jobs only" in err
    assert [line.split()[0] for line in table_of(run.out)] == ["10", "50"]
    with start():
        subprocess.run(
            [sys.executable, "-m", "snnpipe.send"],
            cwd=run.folder,
            check=True,
            capture_output=True,
            timeout=120,
        )
        client = MlflowClient(address)
        runs = client.search_runs([client.get_experiment_by_name("snnpipe").experiment_id])
        assert [one.info.status for one in runs] == ["FINISHED"] * 3
        assert sorted("snn/test_accuracy" in one.data.metrics for one in runs) == [False, True, True]
    assert not list((run.folder / "mlruns").rglob("unsent"))
