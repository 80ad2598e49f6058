"""What `training.scale_firing_rates` does to training, measured; docs/training.md quotes its table.

    python benchmarks/scale_in_training.py

One step of training on 32 digits from the same initial weights, at scale 1 and 25.
"""

import tempfile

import numpy as np

from snnpipe import Cnn2d, NengoDLTraining, TfdsDataModule
from snnpipe.frameworks.compat import import_nengo_dl, start_afresh
from snnpipe.testing import Silent

ARCHITECTURE = Cnn2d(filters=[4, 6], dense=16)


def one_step(data, **settings):
    """Return the loss before the step, and how far each weight moves in it."""
    start_afresh(0)
    model = ARCHITECTURE.build(data.spec)
    before = {w.name: w.numpy() for w in model.weights}
    sink = Silent()
    NengoDLTraining(epochs=1, **settings).fit(model, data, sink)
    return sink.epochs[0].metrics["fit/loss"], {w.name: w.numpy() - before[w.name] for w in model.weights}


def main():
    import_nengo_dl()
    import nengo

    data = TfdsDataModule(
        "digits", batch_size=32, max_train_images=32, validation_share=0.0, data_dir=tempfile.mkdtemp()
    )
    data.prepare_data()
    data.setup()
    print("| neuron | optimizer | loss at scale 1 | at 25 | weight | step at scale 1 / step at 25 (median) |")
    print("| --- | --- | --- | --- | --- | --- |")
    for optimizer, rate in (("sgd", 0.01), ("adam", 0.001)):
        settings = {"optimizer": optimizer, "learning_rate": rate}
        loss_1, moved_1 = one_step(data, scale_firing_rates=1.0, **settings)
        loss_25, moved_25 = one_step(data, scale_firing_rates=25.0, **settings)
        for name in ("conv2d/kernel:0", "conv2d/bias:0", "dense/kernel:0", "dense/bias:0", "logits/bias:0"):
            large = np.abs(moved_1[name]) > np.abs(moved_1[name]).max() / 10
            ratio = float(np.median(moved_1[name][large] / moved_25[name][large]))
            print(f"| ReLU | {optimizer} | {loss_1:.5f} | {loss_25:.5f} | {name} | {ratio:.3g} |")
    losses = [one_step(data, neuron=nengo.LIF(), scale_firing_rates=scale)[0] for scale in (1.0, 25.0)]
    print(f"| LIF | any | {losses[0]:.5f} | {losses[1]:.5f} | all | another function |")


if __name__ == "__main__":
    main()
