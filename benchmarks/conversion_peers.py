"""The same trained networks converted by snnpipe and by SpikingJelly: accuracy against spikes and against steps.

    python benchmarks/conversion_peers.py MODELS             # what was not measured yet, then the table and the picture
    python benchmarks/conversion_peers.py MODELS --report    # only the table and the picture

MODELS is a folder with cifar10_plain.keras, cifar10_bn.keras and cifar10_resnet20.keras. It wants CIFAR-10 prepared
(TFDS_DATA_DIR) and the extra ``bench``. Both tools get the same weights, the same 1,000 training images to calibrate
with, and the same test images, as a constant input. Each network is simulated by the tool that converted it.

SpikingJelly's recipes are those that are best on these networks: rate coding with a percentile of each channel and half
a threshold as first voltage, and local threshold balancing (Bu et al. 2025, arXiv:2409.03368), whose thresholds move a
little with each batch. It gets `_BALANCING` batches, after which the thresholds stand.
"""

import argparse
import contextlib
import json
from pathlib import Path

import numpy as np
from torch_networks import in_torch

FIGURES = Path(__file__).parent.parent / "mlruns" / "benchmarks" / "conversion_peers.json"
PICTURE = Path(__file__).parent.parent / "docs" / "images" / "conversion_peers.png"
STEPS = (4, 8, 16, 32)
IMAGES = {"plain": 1000, "bn": 1000, "resnet20": 500}
OURS = {"plain": (0.7, 1.0, 1.4, 2.0, 2.8), "bn": (0.7, 1.0, 1.4, 2.0, 2.8), "resnet20": (0.7, 1.0, 1.4, 2.0, 2.8, 4.0)}
"""Spikes per step that snnpipe is given."""
READOUTS = ("mean", "later_half")
"""Read-outs that SpikingJelly's outputs get; snnpipe chooses its own from the calibration images."""
RECIPES = ("99.9 % of a channel", "99 % of a channel", "local threshold balancing")
_BALANCING = 400
_BATCH = 50


# ---------------------------------------------------------------------- snnpipe


def with_snnpipe(models, network, spikes, calibration, test, labels):
    """Return accuracy and spikes per image at each of `STEPS`, for a number of spikes per step."""
    import snnpipe

    images, points = IMAGES[network], []
    converter = snnpipe.NengoDLConverter(
        neuron=snnpipe.IntegrateAndFire(),
        scale_firing_rates="auto",
        synapse=None,
        calibration=snnpipe.Calibration(spikes_per_step=spikes),
    )
    last = [np.ascontiguousarray(np.moveaxis(x, 1, -1)) for x in (calibration, test[:images])]
    for n in STEPS:
        model = str(models / f"cifar10_{network}.keras")
        spiking = snnpipe.convert(model, calibration=last[0], n_steps=n, converter=converter)
        found = spiking.evaluate(last[1], labels[:images])
        points.append([spiking.calibration.readout, n, found.accuracy, found.spikes])
    return {"points": points}


# ---------------------------------------------------------------------- SpikingJelly


def with_spikingjelly(models, network, recipe, calibration, test, labels):
    """Return accuracy of both read-outs and spikes per image at each of `STEPS`, and the ANN's accuracy."""
    import torch
    from spikingjelly.activation_based import ann2snn, functional, neuron

    from snnpipe import ModelFile

    model, images = ModelFile(str(models / f"cifar10_{network}.keras")).build(None), IMAGES[network]
    expected = model.predict_on_batch(np.moveaxis(test[:_BATCH], 1, -1))
    ann = in_torch(model)
    with torch.no_grad():
        off = float(np.abs(ann(torch.tensor(test[:_BATCH])).numpy() - expected).max())
    if off > 1e-3 * np.abs(expected).max():
        raise SystemExit(f"the PyTorch network differs from Keras's by {off}")
    if recipe == "local threshold balancing":
        some = np.random.default_rng(0).integers(0, len(calibration), (_BALANCING, _BATCH))
        made = ann2snn.LocalThresholdBalancingRecipe(dataloader=[torch.tensor(calibration[i]) for i in some])
    else:
        # torch.quantile takes at most 16 million values, so that one batch cannot have all images.
        batches = [torch.tensor(calibration[i : i + 250]) for i in range(0, len(calibration), 250)]
        percentile = recipe.partition(" ")[0] + "%"
        made = ann2snn.RateCodingRecipe(dataloader=batches, mode=percentile, channel_wise=True, half_threshold=True)
    snn = ann2snn.Converter(recipe=made).convert(ann).eval()
    spikes = [0.0]
    for module in snn.modules():
        if isinstance(module, neuron.BaseNode):
            module.register_forward_hook(lambda _m, _i, out: spikes.__setitem__(0, spikes[0] + float(out.sum())))
    right = {(n, readout): 0 for n in STEPS for readout in READOUTS}
    sent, ann_right = dict.fromkeys(STEPS, 0.0), 0
    with torch.no_grad():
        for first in range(0, images, _BATCH):
            x, y = torch.tensor(test[first : first + _BATCH]), labels[first : first + _BATCH]
            ann_right += int((ann(x).argmax(1).numpy() == y).sum())
            functional.reset_net(snn)
            spikes[0], outputs = 0.0, []
            for step in range(1, max(STEPS) + 1):
                outputs.append(snn(x).numpy())
                if step in STEPS:
                    sent[step] += spikes[0]
                    for readout in READOUTS:
                        since = 0 if readout == "mean" else step // 2
                        mean = np.mean(outputs[since:], axis=0)
                        right[step, readout] += int((mean.argmax(1) == y).sum())
    points = [[readout, n, right[n, readout] / images, sent[n] / images] for readout in READOUTS for n in STEPS]
    return {"ann": ann_right / images, "points": points}


def samples():
    """Return calibration images, test images (channels first) and their labels."""
    from snnpipe import TfdsDataModule

    data = TfdsDataModule("cifar10", batch_size=500, scaling="standardised")
    data.setup()
    batches = data.train_dataset().take(2).as_numpy_iterator()
    calibration = np.concatenate([batch[0] for batch in batches])
    tests = [(x, y) for x, y, *_ in data.test_dataset(500).take(2).as_numpy_iterator()]
    test = np.concatenate([x for x, _ in tests])
    first = [np.ascontiguousarray(np.moveaxis(x, -1, 1)) for x in (calibration, test)]
    return *first, np.concatenate([y for _, y in tests])


# ---------------------------------------------------------------------- all of it


def measure(models):
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    FIGURES.parent.mkdir(parents=True, exist_ok=True)
    taken = samples()

    def keep(network, name, make, *arguments):
        own = figures.setdefault(network, {})
        if name not in own:
            own[name] = make(models, network, *arguments)
            FIGURES.write_text(json.dumps(figures, indent=1))
            print(network, name, own[name], flush=True)

    for network in IMAGES:
        for recipe in RECIPES:
            keep(network, f"SpikingJelly, {recipe}", with_spikingjelly, recipe, *taken)
        for spikes in OURS[network]:
            keep(network, f"snnpipe, {spikes:g} spikes per step", with_snnpipe, spikes, *taken)


def points_of(own, tool, step):
    """Return accuracy (%), spikes per image, settings and read-out of all trials of a tool, after some steps."""
    return [
        (100 * accuracy, spikes, name.partition(", ")[2].partition(", ")[0], readout)
        for name, values in own.items()
        if name.startswith(tool)
        for readout, n, accuracy, spikes in values["points"]
        if n == step
    ]


def report():
    figures = json.loads(FIGURES.read_text())
    print("| network | steps | SpikingJelly, % | spikes | recipe, read-out | snnpipe, % | spikes | settings |")
    print("| --- " * 8 + "|")
    for network, own in figures.items():
        for step in STEPS:
            theirs = max(points_of(own, "SpikingJelly", step))
            ours = max((each for each in points_of(own, "snnpipe", step) if each[1] <= theirs[1]), default=None)
            cells = [
                f"{each[0]:.1f} | {each[1] / 1000:.0f} k | {each[2]}, {each[3]}" if each else "- | - | -"
                for each in (theirs, ours)
            ]
            print(f"| {network} | {step} | {' | '.join(cells)} |")
    draw(figures)


def draw(figures):
    """Draw accuracy against spikes for all settings, and the best accuracy against steps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    grid = figure.subplots(2, len(figures), squeeze=False)
    for (top, bottom), (network, own) in zip(grid.T, figures.items(), strict=True):
        for tool, colour in (("SpikingJelly", "tab:orange"), ("snnpipe", "tab:blue")):
            points = {n: points_of(own, tool, n) for n in STEPS}
            every = [each for of_step in points.values() for each in of_step]
            top.scatter([each[1] / 1000 for each in every], [each[0] for each in every], s=12, color=colour, label=tool)
            bottom.plot(STEPS, [max(points[n])[0] for n in STEPS], "o-", color=colour, label=tool)
        ann = 100 * next(values["ann"] for values in own.values() if "ann" in values)
        for axes in (top, bottom):
            axes.axhline(ann, color="black", linestyle="--", linewidth=1, label="ANN")
            axes.set(xscale="log", ylim=(ann - 25, ann + 2))
        top.set(title=f"cifar10_{network}", xlabel="spikes per image (thousands)")
        bottom.set(xlabel="steps", xticks=STEPS, xticklabels=STEPS)
        bottom.minorticks_off()
    grid[0, 0].set_ylabel("accuracy (%)")
    grid[1, 0].set_ylabel("best accuracy (%)")
    grid[0, 0].legend(frameon=False)
    PICTURE.parent.mkdir(exist_ok=True)
    FigureCanvasAgg(figure).print_figure(PICTURE, dpi=120)


def main():
    with contextlib.suppress(ImportError):
        import triton  # noqa: F401  before TensorFlow: the other way round, its own LLVM ends the process
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("--report", action="store_true")
    chosen = parser.parse_args()
    if not chosen.report:
        measure(chosen.models.resolve())
    report()


if __name__ == "__main__":
    main()
