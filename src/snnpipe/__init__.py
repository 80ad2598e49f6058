"""Train neural networks, convert them to spiking ones, and see what the conversion costs.

In one call, from a trained Keras model and some of its training samples ``x``::

    spiking = snnpipe.convert(model, calibration=x)
    print(spiking.evaluate(x_test, y_test))
    spiking.save("net.snn")  # snnpipe.load("net.snn")

A complete run, with training and diagnosis, on the handwritten digits of scikit-learn::

    from snnpipe import AutoSimulator, Cnn2d, ConstantEncoder, KerasTraining, NengoDLConverter, TfdsDataModule, Trainer

    result = Trainer(
        data=TfdsDataModule("digits"),
        architecture=Cnn2d(filters=[16, 32], dense=64),
        training=KerasTraining(epochs=20),
        converter=NengoDLConverter(),
        simulator=AutoSimulator(n_steps=8),
        encoder=ConstantEncoder(),
    ).run()
    print(result.metrics["ann/test_accuracy"], result.metrics["snn/test_accuracy"])

On a command line, ``python -m snnpipe --help`` shows the settings.

Importing snnpipe loads nothing heavy: each public name is loaded when it is first used. It changes one thing in the
process: a later import of TensorFlow or NengoDL gets them in the form that snnpipe needs
(`snnpipe.frameworks.import_hook`).
"""

from importlib import import_module
from typing import Any

from snnpipe.base.public import PUBLIC
from snnpipe.frameworks import import_hook

__version__ = "0.1.0"
__all__ = ["__version__", *PUBLIC]


import_hook.install()


def __getattr__(name: str) -> Any:
    if name in PUBLIC:
        return getattr(import_module(PUBLIC[name]), name)
    raise AttributeError(f"module 'snnpipe' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
