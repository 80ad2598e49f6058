"""What each way of max pooling costs on a network that was trained with it; docs/conversion.md quotes its table.

    python benchmarks/max_pooling.py            # CIFAR-10, six epochs: about half an hour on two cores
    python benchmarks/max_pooling.py model.h5   # with the weights of an earlier run, which it keeps under this name

It wants CIFAR-10 prepared (TFDS_DATA_DIR). ``currents`` is the same network with the pooling in front of the neurons:
each step's maximum of their currents, or, as ``sums of currents``, the growth of the largest sum of currents.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from snnpipe import AutoSimulator, ConstantEncoder, KerasTraining, NengoDLConverter, TfdsDataModule
from snnpipe.frameworks.compat import import_tf_keras, start_afresh
from snnpipe.testing import Silent
from snnpipe.values.simulation import Stimulus

STEPS = (4, 8, 16, 30)
IMAGES = 1000
BATCH = 100
SPIKES_PER_STEP = (1.0, 2.0, 4.0)
FILTERS = (24, 48, 96)
DT = 0.001
WAYS = {
    "sums": ({}, {"max_pooling": "sums"}),
    "gated": ({}, {"max_pooling": "gated"}),
    "average": ({}, {"max_pooling": "average"}),
    "currents": ({"pooling_first": True}, {"max_pooling": None}),
    "sums of currents": ({"pooling_first": True}, {"max_pooling": "sums"}),
}


def build(pooling_first=False):
    """Return three convolutions with batch normalisation, ReLU and max pooling, and a dense layer."""
    keras = import_tf_keras()
    layers = keras.layers
    image = x = keras.Input((32, 32, 3))
    for i, filters in enumerate(FILTERS):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"conv_{i}")(x)
        x = layers.BatchNormalization(name=f"norm_{i}")(x)
        pair = [layers.ReLU(name=f"relu_{i}"), layers.MaxPooling2D(name=f"pool_{i}")]
        for layer in reversed(pair) if pooling_first else pair:
            x = layer(x)
    x = layers.BatchNormalization(name="norm")(layers.Dense(128, use_bias=False, name="dense")(layers.Flatten()(x)))
    return keras.Model(image, layers.Dense(10, name="logits")(layers.ReLU(name="relu")(x)))


def samples(dataset, n):
    """Return the first images and classes of a dataset."""
    images, classes = zip(*dataset.unbatch().take(n).batch(n).as_numpy_iterator(), strict=True)
    return images[0], classes[0]


def measured(network, images, classes):
    """Return accuracy in per cent, of the mean of the logits so far, and spikes per image after each of `STEPS`."""
    right, spikes = np.zeros(len(STEPS)), np.zeros(len(STEPS))
    settings = AutoSimulator(n_steps=STEPS[-1], dt=DT, batch_size=BATCH, chunk_steps=2)
    with settings.open(network) as opened:
        for first in range(0, len(images), BATCH):
            here = slice(first, first + BATCH)
            total, counted, done = 0.0, 0.0, 0
            for chunk in opened.run(Stimulus(images[here], range(first, first + BATCH), ConstantEncoder())):
                total = total + chunk.outputs_btc.sum(axis=1)
                counted += sum(float(own.counts_bn.sum()) for own in chunk.layers.values())
                done += chunk.outputs_btc.shape[1]
                if done in STEPS:
                    right[STEPS.index(done)] += (total.argmax(axis=1) == classes[here]).sum()
                    spikes[STEPS.index(done)] += counted
    return 100 * right / len(images), spikes / len(images)


def main():
    start_afresh(0)
    data = TfdsDataModule("cifar10", batch_size=128, validation_share=0.0)
    data.prepare_data()
    data.setup()
    model = build()
    weights = Path(sys.argv[1] if sys.argv[1:] else "max_pooling.h5")
    if weights.exists():
        model.load_weights(weights)
    else:
        KerasTraining(epochs=6, schedule="cosine").fit(model, data, Silent())
        model.save_weights(weights)
    images, classes = samples(data.test_dataset(BATCH), IMAGES)
    shown, _ = samples(data.train_dataset(0), 1000)
    ann = 100 * np.mean(model.predict(images, verbose=0).argmax(axis=1) == classes)
    print(f"ANN: {ann:.1f} % of {IMAGES:,} test images\n")
    print("| pooling | spikes a step | " + " | ".join(f"{n} steps" for n in STEPS) + " |")
    print("| --- " * (2 + len(STEPS)) + "|")
    for per_step in SPIKES_PER_STEP:
        for name, (made, over_time) in WAYS.items():
            own = build(**made)
            own.set_weights(model.get_weights())
            average = over_time["max_pooling"] == "average"
            converter = NengoDLConverter(max_pooling=over_time["max_pooling"] or "sums")
            levels = converter.levels(own, shown)
            network = converter.calibrated(own, levels, DT, spikes_per_step=per_step).convert(own, 0)
            if not average:
                network = replace(network, **over_time)
            accuracy, spikes = measured(network, images, classes)
            cells = [f"{a:.1f}, {s / 1000:.1f} k" for a, s in zip(accuracy, spikes, strict=True)]
            print(f"| {name} | {per_step:g} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
