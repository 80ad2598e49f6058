"""The same files of NIR in snnpipe, snnTorch, Norse, sinabs and SpikingJelly, each with its own reader.

    python benchmarks/nir_readers.py            # trains, converts, runs, and puts the table into docs/nir.md

It wants MNIST prepared (TFDS_DATA_DIR), the extras ``nir`` and ``bench``, and nirtorch. sinabs asks for nir 1.0.4 and
runs with 1.0.8: install it with ``pip install --no-deps sinabs``.

A run of snnpipe trains the network, which is converted with several neurons. Each file is run as it is read. Where
neurons of another library can be made what the file's metadata say, they are, by hand, and the file is run once more:
if a difference is explained rightly, it is gone then. The other libraries run in a process of their own, because
TensorFlow crashes where Triton, which SpikingJelly loads, is imported after it.
"""

import argparse
import contextlib
import importlib.metadata
import io
import subprocess
import sys
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parent.parent / "docs" / "nir.md"
BEGIN, END = "<!-- nir_readers.py writes the table -->", "<!-- end of the table -->"
IMAGES, STEPS, LIF_STEPS, BATCH = 1000, 16, 64, 250
LIBRARIES = ("snnTorch", "Norse", "sinabs", "SpikingJelly")
EULER = ("snnTorch", "Norse", "SpikingJelly")
"""Libraries whose LIF takes Euler's step."""
PACKAGES = ("nir", "nirtorch", *(name.lower() for name in LIBRARIES), "torch")


def trained(folder):
    """Return a network trained on MNIST for three epochs, training images to calibrate with, and test images."""
    from snnpipe import Cnn2d, TfdsDataModule

    run = Path(folder) / "run"
    words = ["data=mnist", "model=cnn2d", "model.filters=[8,16]", "model.dense=64", "training.epochs=3"]
    quiet = ["callbacks=none", "diagnosis.images=0", "logger=csv", "simulator.max_images=100"]
    command = [sys.executable, "-m", "snnpipe", *words, *quiet, f"paths.output_dir={run}"]
    subprocess.run(command, check=True, capture_output=True, cwd=folder)
    data = TfdsDataModule("mnist")
    data.setup()
    model = Cnn2d(filters=[8, 16], dense=64).build(data.spec)
    with np.load(run / "checkpoint" / "weights.npz") as weights:
        model.set_weights([weights[name] for name in sorted(weights.files)])
    (calibration, _), *_ = data.train_dataset().unbatch().batch(1000).take(1).as_numpy_iterator()
    (x, y), *_ = data.test_dataset(IMAGES).take(1).as_numpy_iterator()
    return model, calibration, x, y


def networks():
    """Return converters by name, with the number of steps, the length of a step in the file, and who is set by hand."""
    import nengo

    from snnpipe import Calibration, IntegrateAndFire, NengoDLConverter

    at_0 = {"voltage": nengo.dists.Choice([0])}
    leaky = nengo.LIF(tau_rc=0.1, tau_ref=0, min_voltage=-1e30, amplitude=0.1, initial_state=at_0)
    one, bounded = (
        IntegrateAndFire(max_spikes=1, initial_voltage=0),
        IntegrateAndFire(min_voltage=-1, initial_voltage=0),
    )
    return {
        "IF, one spike a step": (NengoDLConverter(neuron=one), STEPS, 1.0, LIBRARIES),
        "IF, several spikes, voltage of -1 or more": (NengoDLConverter(neuron=bounded), STEPS, 1.0, ()),
        "IF, the default": (NengoDLConverter(), STEPS, 1.0, ("sinabs",)),
        "IF, voltages of 0.5": (
            NengoDLConverter(calibration=Calibration(drawn_voltages=False)),
            STEPS,
            1.0,
            ("sinabs",),
        ),
        "LIF": (NengoDLConverter(neuron=leaky, scale_firing_rates=4), LIF_STEPS, 1e-4, EULER),
    }


# ---------------------------------------------------------------------- the readers


class Counter:
    """Counts the spikes of each image in some modules of a network."""

    def __init__(self, network, kinds, per_image):
        self.counts, self._per_image = None, per_image
        for module in network.modules():
            if type(module).__name__ in kinds:
                module.register_forward_hook(self._count)

    def _count(self, module, inputs, output):
        spikes = output[0] if isinstance(output, tuple) else output
        spikes = spikes.detach().reshape(-1, self._per_image, spikes[0].numel()).sum((1, 2)).numpy()
        self.counts = spikes if self.counts is None else self.counts + spikes


def step_by_step(network, images, n_steps):
    """Return the mean output of a network that takes one step and its state."""
    total, state = 0, None
    for _ in range(n_steps):
        result = network(images, state)
        output, state = result if isinstance(result, tuple) else (result, None)
        total = total + output.detach()
    return (total / n_steps).numpy()


def neurons_of(network, kind):
    return [module for module in network.modules() if type(module).__name__ == kind]


def with_snntorch(graph, first, dt, said):
    import torch
    from snntorch.import_nir import import_from_nir

    network = import_from_nir(graph)
    for neuron in neurons_of(network, "Leaky"):
        if said and not first["leaky"]:
            neuron.init_hidden = True  # without it, a neuron gives a pair to the next layer
            neuron.beta.fill_(1.0)
            neuron.mem_reset = torch.zeros_like  # a voltage above the threshold after a spike stays what it is
    return network, lambda images, n: step_by_step(network, images, n), ("Leaky",)


def with_norse(graph, first, dt, said):
    import torch
    from norse.torch import from_nir

    network = from_nir(graph, ignore_warnings=True, dt=dt)

    def subtracting(current, state, p, dt):
        voltage = state.v + current
        spikes = (voltage >= p.v_th).float()
        return spikes, type(state)(v=voltage - spikes * p.v_th)

    for neuron in neurons_of(network, "IAFCell"):
        if said:
            neuron.activation = subtracting
    with torch.no_grad():
        return network, lambda images, n: step_by_step(network, images, n), ("IAFCell", "LIFBoxCell")


def with_sinabs(graph, first, dt, said):
    import torch
    from sinabs.activation import SingleSpike
    from sinabs.nir import from_nir

    network = from_nir(graph, num_timesteps=first["n_steps"])
    voltages = list(first["voltages"])

    def run(images, n):
        for neuron in neurons_of(network, "IAFSqueeze"):
            if said:
                neuron.min_v_mem = None
                neuron.spike_fn = SingleSpike if first["max_spikes"] == 1 else neuron.spike_fn
                neuron.v_mem = torch.from_numpy(np.repeat(voltages.pop(0)[None], len(images), axis=0))
        shown = images[:, None].expand(-1, n, *images.shape[1:]).reshape(-1, *images.shape[1:])
        result = network(shown)
        output = result[0] if isinstance(result, tuple) else result
        return output.detach().reshape(len(images), n, -1).mean(1).numpy()

    return network, run, ("IAFSqueeze", "LIFSqueeze")


def with_spikingjelly(graph, first, dt, said):
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    network = import_from_nir(graph, dt=dt)
    for neuron in neurons_of(network, "IFNode"):
        if said:
            neuron.v_reset = None
    return network, lambda images, n: step_by_step(network, images, n), ("_NIRStatefulModule",)


READERS = dict(zip(LIBRARIES, (with_snntorch, with_norse, with_sinabs, with_spikingjelly), strict=True))


# ---------------------------------------------------------------------- the table


def run_by(library, path, x, dt, n_steps, said):
    """Return the class and the number of spikes of each image; or, in words, why the library cannot run the file."""
    with contextlib.suppress(ImportError):
        import triton  # noqa: F401  before TensorFlow, which Norse imports
    import nir
    import torch

    classes, spikes = [], []
    images = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    try:
        for first in range(0, len(x), BATCH):
            graph = nir.read(path)
            kept = _said(graph) | {"n_steps": n_steps}
            for node in graph.nodes.values() if said and kept["leaky"] else ():
                if isinstance(node, nir.LIF):
                    node.tau = dt / (1 - np.exp(-dt / node.tau))  # Euler's step of it is the exact step of tau
            with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                network, run, kinds = READERS[library](graph, kept, dt, said)
                counter = Counter(network, kinds, n_steps if library == "sinabs" else 1)
                outputs = run(images[first : first + BATCH], n_steps)
            classes.append(outputs.argmax(axis=1))
            spikes.append(counter.counts)
    except Exception as error:
        return f"fails: {type(error).__name__}"
    return np.concatenate(classes), np.concatenate(spikes)


def _said(graph):
    """Return what the metadata of a file say of its neurons, which are all alike, and the first voltages of layers."""
    nodes = [node for node in graph.nodes.values() if type(node).__name__ in ("IF", "LIF")]
    said = nodes[0].metadata

    def voltages(node):
        own = np.asarray(node.metadata.get("initial_voltage", 0.0), np.float32)
        return np.full(node.r.shape, own) if own.size == 1 else own.reshape(node.r.shape)

    return {
        "leaky": type(nodes[0]).__name__ == "LIF",
        "max_spikes": said.get("max_spikes"),
        "voltages": [voltages(node) for node in sorted(nodes, key=lambda node: -node.r.size)],
    }


def rows(model, calibration, x, y, folder, pool):
    import snnpipe

    for name, (converter, n_steps, dt, by_hand) in networks().items():
        path = Path(folder) / "net.nir"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converted = snnpipe.convert(model, calibration, converter=converter, n_steps=n_steps, readout="mean")
            converted.to_nir(path, dt=dt, portable=True)
        ours = converted.predict(x)
        again = snnpipe.from_nir(path).predict(x)
        yield _row(name, "snnpipe", "", ours.classes, ours.spikes, ours, y)
        yield _row("", "snnpipe, imported", "", again.classes, again.spikes, ours, y)
        for library in LIBRARIES:
            for said in (False, True) if library in by_hand else (False,):
                result = pool.submit(run_by, library, path, x, dt, n_steps, said).result()
                words = "set by hand" if said else "as read"
                if isinstance(result, str):
                    yield ["", library, words, result, "", "", ""]
                else:
                    yield _row("", library, words, *result, ours, y)


def _row(name, where, words, classes, spikes, ours, y):
    same = float(np.mean(np.abs(spikes - ours.spikes) < 0.5))
    return [
        name,
        where,
        words,
        f"{100 * np.mean(classes == y):.1f} %",
        f"{np.mean(spikes):,.0f}",
        f"{100 * np.mean(classes == ours.classes):.1f} %",
        f"{100 * same:.1f} %",
    ]


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    import snnpipe  # noqa: F401  # before TensorFlow, which it prepares

    head = ["neurons", "run by", "neurons there", "accuracy", "spikes per image", "same class", "same number of spikes"]
    other = ProcessPoolExecutor(1, get_context("spawn"))
    with tempfile.TemporaryDirectory() as folder, other as pool:
        table = [head, ["---"] * len(head), *rows(*trained(folder), folder, pool)]
    lines = ["| " + " | ".join(row) + " |" for row in table]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    text = "\n".join([f"{IMAGES:,} test images of MNIST. Versions: {versions}.", "", *lines])
    print(text)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
