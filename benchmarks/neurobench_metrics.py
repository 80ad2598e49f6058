"""NeuroBench's metrics of an exported network beside snnpipe's own.

    python benchmarks/neurobench_metrics.py     # trains, converts, measures, and puts the table into docs/nir.md

It wants what nir_readers.py wants, and NeuroBench (``pip install neurobench``). The network is the one of
nir_readers.py with a spike a step at most. snnTorch runs its file, in which average pooling is ``AvgPool2d`` or, with
``portable=True``, a convolution.
"""

import argparse
import importlib.metadata
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from nir_readers import PAGE, networks, neurons_of, trained, with_snntorch

BEGIN, END = "<!-- neurobench_metrics.py writes the table -->", "<!-- end of NeuroBench's table -->"
IMAGES, BATCH = 200, 50


def by_neurobench(path, x, y, n_steps):
    """Return NeuroBench's metrics of a network in a file of NIR, by name."""
    import nir
    import torch
    from neurobench.benchmarks import Benchmark
    from neurobench.metrics.static import ConnectionSparsity, Footprint, ParameterCount
    from neurobench.metrics.workload import (
        ActivationSparsity,
        ClassificationAccuracy,
        MembraneUpdates,
        SynapticOperations,
    )
    from neurobench.models import SNNTorchModel
    from torch.utils.data import DataLoader, TensorDataset

    network, _, _ = with_snntorch(nir.read(path), {"leaky": False}, 1.0, said=True)
    images = torch.from_numpy(np.moveaxis(x, -1, 1).copy())
    loader = DataLoader(TensorDataset(images, torch.from_numpy(y)), batch_size=BATCH)
    static = [ParameterCount, Footprint, ConnectionSparsity]
    workload = [ClassificationAccuracy, ActivationSparsity, SynapticOperations, MembraneUpdates]

    def shown(data):
        pixels, labels = data
        return pixels[:, None].expand(-1, n_steps, *pixels.shape[1:]), labels

    def mean_class(outputs):
        return outputs.mean(1).argmax(-1)

    model = SNNTorchModel(network)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        measured = Benchmark(model, loader, [shown], [mean_class], [static, workload]).run(quiet=True)
    operations = measured.pop("SynapticOperations")
    bytes_of_parameters = sum(own.numel() * own.element_size() for own in network.parameters())
    neurons = sum(own.mem[0].numel() for own in neurons_of(network, "Leaky"))
    return {**measured, **operations, "of parameters": bytes_of_parameters, "neurons": neurons}


def pooled_synops(converted, x):
    """Return SynOps for an image if the spikes of a pooling window of 2 x 2 in the same step count as one."""
    spikes, total = converted.run(x, converted.layers).spikes, 0
    for layer in converted.network.layers:
        sent, fan_out = spikes[layer.name] > 0, layer.fan_out_n.reshape(layer.shape)
        if len(layer.shape) == 3:
            height, width, channels = layer.shape
            cells = height // 2, 2, width // 2, 2, channels
            sent = sent.reshape(*sent.shape[:2], *cells).any((3, 5))
            fan_out = fan_out.reshape(cells).max((1, 3))
        total += np.sum(sent * fan_out)
    return total / len(x)


def table(ours, model, neurons, n_steps, pooled, plain, portable):
    """Return rows of a name, NeuroBench's figures of both files, and snnpipe's."""
    spikes, first = ours["snn/spikes_per_image"], ours["snn/first_layer_macs_every_step"]
    zeros = sum(int((own == 0).sum()) for own in model.get_weights() if own.ndim > 1)
    weights = sum(own.size for own in model.get_weights() if own.ndim > 1)
    both = (plain, portable)
    yield ["parameters", *(f"{own['ParameterCount']:,}" for own in both), f"{model.count_params():,}"]
    yield ["footprint", *(f"{own['Footprint']:,} bytes" for own in both), f"{4 * model.count_params():,} bytes"]
    yield ["of which parameters", *(f"{own['of parameters']:,} bytes" for own in both), "all"]
    yield ["connection sparsity", *(f"{own['ConnectionSparsity']:.4f}" for own in both), f"{zeros / weights:.4f}"]
    yield ["accuracy", *(f"{own['ClassificationAccuracy']:.3f}" for own in both), f"{ours['snn/test_accuracy']:.3f}"]
    silent = 1 - spikes / (neurons * n_steps)
    yield ["activation sparsity", *(f"{own['ActivationSparsity']:.4f}" for own in both), f"{silent:.4f}"]
    yield ["effective ACs", *(f"{own['Effective_ACs']:,.0f}" for own in both), f"{ours['snn/synops_per_image']:,.0f}"]
    yield ["effective MACs", *(f"{own['Effective_MACs']:,.0f}" for own in both), f"{first:,.0f}"]
    behind = [own["Effective_ACs"] + own["Effective_MACs"] - first for own in both]
    yield ["both, without the first layer", *(f"{own:,.0f}" for own in behind), f"{ours['snn/synops_per_image']:,.0f}"]
    yield ["the same, a window's spikes in a step as one", *(f"{own:,.0f}" for own in behind), f"{pooled:,.0f}"]
    dense = n_steps * ours["ann/dense_macs"]
    yield ["dense operations", *(f"{own['Dense']:,.0f}" for own in both), f"{dense:,.0f}"]
    yield ["membrane updates", *(f"{own['MembraneUpdates']:,.0f}" for own in both), f"{neurons * n_steps:,}"]


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    import snnpipe

    other = ProcessPoolExecutor(1, get_context("spawn"))
    with tempfile.TemporaryDirectory() as folder, other as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, calibration, x, y = trained(folder)
        converter, n_steps, dt, _ = next(iter(networks().values()))
        converted = snnpipe.convert(model, calibration, converter=converter, n_steps=n_steps, readout="mean")
        x, y = x[:IMAGES], np.asarray(y[:IMAGES], np.int64)
        files = [Path(folder) / f"{portable}.nir" for portable in (False, True)]
        for portable, path in enumerate(files):
            converted.to_nir(path, dt=dt, portable=bool(portable))
        ours, pooled = converted.evaluate(x, y).metrics, pooled_synops(converted, x)
        theirs = [pool.submit(by_neurobench, path, x, y, n_steps).result() for path in files]
    head = ["for an image", "NeuroBench, `AvgPool2d`", "NeuroBench, portable", "snnpipe"]
    rows = [head, ["---", *["---:"] * 3], *table(ours, model, theirs[0]["neurons"], n_steps, pooled, *theirs)]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("neurobench", "snntorch", "torch"))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    text = "\n".join([f"{IMAGES} test images of MNIST, {n_steps} steps. Versions: {versions}.", "", *lines])
    print(text)
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
