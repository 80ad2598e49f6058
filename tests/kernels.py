"""Compile the event-driven simulator into Numba's cache: otherwise each worker of the tests would do it by itself."""

import numpy as np

import snnpipe
from snnpipe.frameworks.compat import import_tf_keras

keras = import_tf_keras()
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2, activation="relu"), keras.layers.Dense(2)])
samples = np.eye(2, dtype=np.float32)
for precision in ("float32", "float64"):
    snnpipe.convert(model, samples, simulator=snnpipe.EventDrivenSimulator(precision=precision)).predict(samples)
