"""Files that snnpipe reads, and ways to damage them. What is read must be what was written, or an error.

A further kind of file is an entry in `KINDS`: how it is written, and how it is read.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snnpipe.artifacts.spikes import RecordedSpikes, read_spikes, write_spikes
from snnpipe.artifacts.tables import read_plan, write_plan
from snnpipe.base.checked_files import write_json
from snnpipe.base.errors import UserError
from snnpipe.loggers.mlflow.spool import Spool
from snnpipe.sweeps import jobs
from snnpipe.values.checkpoint import Checkpoint
from snnpipe.values.network import ConversionPlan, PlannedLayer
from snnpipe.values.simulation import SpikeEvents
from snnpipe.values.training_state import TrainingState


@dataclass(frozen=True)
class FileKind:
    """A kind of file.

    Attributes
    ----------
    write
        Makes it in a folder, and returns its paths.
    read
        Gives what it holds, as text.
    format
        The constant that says which format it has.
    lines
        Whether it may lack its last lines: a process that is killed has not written them.
    """

    write: Callable[[Path], Sequence[Path]]
    read: Callable[[Path], str]
    format: str
    lines: bool = False


def _write_checkpoint(folder: Path) -> list[Path]:
    weights = {"dense/kernel:0": np.arange(12, dtype=np.float32).reshape(4, 3), "dense/bias:0": np.zeros(3, np.float32)}
    return sorted(Checkpoint(weights, 17, {"fit/loss": 0.25, "fit/accuracy": 0.875}).save(folder).iterdir())


def _read_checkpoint(folder: Path) -> str:
    read = Checkpoint.load(folder)
    return repr((_plain(read.weights), read.epochs, dict(read.metrics)))


def _write_plan(folder: Path) -> list[Path]:
    layers = (
        PlannedLayer("image", "InputLayer", "passthrough", "input node", shape=(8, 8, 1)),
        PlannedLayer("dense", "Dense", "native", "SpikingReLU", "", (16,), 16, 100.0, 0.01),
    )
    return write_plan(folder, ConversionPlan(layers))[:1]


def _read_plan(folder: Path) -> str:
    return repr([asdict(layer) for layer in read_plan(folder / "plan.json").layers])


def _write_spikes(folder: Path) -> list[Path]:
    events = SpikeEvents(*(np.arange(n, n + 9, dtype=np.int32) for n in (0, 3, 5, 1)))
    return [write_spikes(folder / "dense.npz", RecordedSpikes("dense", (4, 4, 1), 20, 0.001, events))]


def _read_spikes(folder: Path) -> str:
    read = read_spikes(folder / "dense.npz")
    events = [values.tolist() for values in vars(read.events).values()]
    return repr((read.layer, read.shape, read.n_steps, read.dt, events))


def _write_answers(folder: Path) -> list[Path]:
    answer = {"overrides": ["seed=1"], "metrics": {"snn/test_accuracy": 0.5}}
    return [write_json(folder / "0" / "result.json", {"answers": [answer]}, jobs._RESULT_FORMAT)]


def _read_answers(folder: Path) -> str:
    return repr([vars(job) for job in jobs.kept_jobs(folder)])


def _write_state(folder: Path) -> list[Path]:
    arrays = {"weight": np.arange(6, dtype=np.float32), "generator": np.arange(4, dtype=np.int64)}
    kept = {"EarlyStopping": {"best": 0.5}}
    TrainingState("abc", 3, 7, [{"fit/loss": 0.5}], False, arrays, kept).save(folder / "a.state")
    return [folder / "a.state"]


def _read_state(folder: Path) -> str:
    read = vars(TrainingState.load(folder / "a.state"))
    return repr({name: value for name, value in read.items() if name != "arrays"} | _plain(read["arrays"]))


def _plain(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: (array.dtype, array.tolist()) for name, array in arrays.items()}


def _write_calls(folder: Path) -> list[Path]:
    spool = Spool(folder / "unsent" / "a", {"run_id": "a", "store": "http://127.0.0.1:9"})
    for step in range(3):
        spool.add({"kind": "metrics", "stream": "rows", "points": [["fit/loss", 0.5, step]], "at": 1000 + step})
    spool.close()
    return [folder / "unsent" / "a" / "calls.jsonl"]


def _read_calls(folder: Path) -> str:
    spool = Spool(folder / "unsent" / "a")
    try:
        return repr((spool.owner, list(spool._calls)))
    finally:
        spool.close()


KINDS = {
    "checkpoint": FileKind(_write_checkpoint, _read_checkpoint, "snnpipe.values.checkpoint.FORMAT"),
    "plan": FileKind(_write_plan, _read_plan, "snnpipe.artifacts.tables.PLAN_FORMAT"),
    "spikes": FileKind(_write_spikes, _read_spikes, "snnpipe.artifacts.spikes.FORMAT"),
    "answers of a job": FileKind(_write_answers, _read_answers, "snnpipe.sweeps.jobs._RESULT_FORMAT"),
    "training state": FileKind(_write_state, _read_state, "snnpipe.values.training_state._FORMAT"),
    "calls to a store": FileKind(_write_calls, _read_calls, "snnpipe.loggers.mlflow.spool._FORMAT", lines=True),
}


def flipped(data: bytes, bit: int) -> bytes:
    """Return data with one bit flipped."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def damaged(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """Return a way to damage data, and the data damaged so."""
    at, other = rng.randrange(len(data)), rng.randrange(len(data))
    first, last = min(at, other), max(at, other) + 1
    ways: dict[str, Callable[[], bytes]] = {
        "bit flipped": lambda: flipped(data, rng.randrange(8 * len(data))),
        "cut off": lambda: data[:at],
        "beginning lost": lambda: data[at:],
        "bytes lost": lambda: data[:first] + data[last:],
        "bytes twice": lambda: data[:last] + data[first:],
        "bytes zero": lambda: data[:first] + bytes(last - first) + data[last:],
        "bytes random": lambda: data[:first] + rng.randbytes(last - first) + data[last:],
        "byte replaced": lambda: data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
        "digit replaced": lambda: _with_another_digit(data, rng),
        "lines swapped": lambda: b"\n".join(rng.sample(lines := data.split(b"\n"), len(lines))),
        "more at the end": lambda: data + rng.randbytes(rng.randrange(1, 100)),
        "all random": lambda: rng.randbytes(len(data)),
    }
    way = rng.choice(list(ways))
    return way, ways[way]()


def _with_another_digit(data: bytes, rng: random.Random) -> bytes:
    at = rng.choice([i for i, byte in enumerate(data) if chr(byte).isdecimal()] or [0])
    return data[:at] + str(rng.randrange(10)).encode() + data[at + 1 :]


def read_damaged(kind: FileKind, folder: Path, path: Path, content: bytes, intact: str) -> str:
    """Return how reading ends with one file's content replaced: ``refused`` or, with nothing changed, ``the same``.

    Raises
    ------
    AssertionError
        If something else was read, or the error is not of one line.
    """
    original, told, read = path.read_bytes(), "", ""
    path.write_bytes(content)
    try:
        read = kind.read(folder)
    except UserError as error:
        told = str(error)
    finally:
        path.write_bytes(original)
    if told:
        assert "\n" not in told and str(folder) in told, f"not one line that names the file: {told}"
        return "refused"
    fits = intact.startswith(read.rstrip(")]")) if kind.lines else read == intact
    assert fits, f"something else was read from {path.name}: {read} and not {intact}"
    return "the same"


def trials(folder: Path, count: int, seed: int = 0) -> Iterator[Counter[Any]]:
    """Damage and read ``count`` files, the kinds in turn; yields counts of (kind, way, how it ended) so far."""
    rng, counts = random.Random(seed), Counter[Any]()
    written = {name: (kind, kind.write(folder / name)) for name, kind in KINDS.items()}
    intact = {name: kind.read(folder / name) for name, (kind, _) in written.items()}
    for n in range(count):
        name = list(KINDS)[n % len(KINDS)]
        kind, paths = written[name]
        path = rng.choice(paths)
        way, content = damaged(path.read_bytes(), rng)
        counts[name, way, read_damaged(kind, folder / name, path, content, intact[name])] += 1
        yield counts
