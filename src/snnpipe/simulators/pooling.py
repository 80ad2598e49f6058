"""Pooling in TensorFlow: max pooling over time, and layers that TensorFlow has no float64 kernel for."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.frameworks.pooling import EQUAL_SUMS, Windows, padded_windows, pooling_windows


def average_pooling_3d(layer: Any) -> Callable[[Any], Any]:
    """Return a 3-D average pooling as a convolution, because TensorFlow has no float64 kernel for it on a CPU."""
    tf = import_tensorflow()

    def pool(x: Any) -> Any:
        channels, cells = x.shape[-1], int(np.prod(layer.pool_size))
        kernel = np.broadcast_to(np.eye(channels) / cells, (*layer.pool_size, channels, channels))

        def means(values: Any) -> Any:
            return tf.nn.conv3d(values, tf.constant(kernel, x.dtype), (1, *layer.strides, 1), layer.padding.upper())

        if layer.padding == "valid":
            return means(x)
        return means(x) / means(tf.ones_like(x[:1]))  # a window at the border averages only the cells inside

    return pool


def max_pooling(layer: Any, shape: Sequence[int]) -> Callable[[Any], Any]:
    """Return a max pooling of inputs of a shape, without the batch: the layer itself, or its windows in 3-D.

    TensorFlow has no float64 kernel for the latter on a CPU.
    """
    if type(layer).__name__ != "MaxPooling3D":
        return layer  # type: ignore[no-any-return]
    tf = import_tensorflow()
    windows, pooled_shape = pooling_windows(layer, shape), layer.compute_output_shape((1, *shape))[1:]
    return lambda x: tf.reshape(tf.reduce_max(_of_windows(x, windows, -np.inf), axis=2), [-1, *pooled_shape])


def grown(maximum: Callable[[Any], Any], x: Any, sums: Any) -> tuple[Any, Any]:
    """Return the growth of the largest sum of each window in a step, and the new sums.

    Parameters
    ----------
    maximum
        Function that returns the maximum of each window.
    x, sums
        Input of the step, and the sum of the inputs before it, shape ``(b, ...)``.
    """
    new = sums + x
    return maximum(new) - maximum(sums), new


def passed(windows: Windows, shape: Sequence[int], x: Any, sums: Any) -> tuple[Any, Any]:
    """Return the input of a step with the largest sum of each window, the first of equal ones, and the new sums.

    Parameters
    ----------
    windows
        The windows.
    shape
        Shape of the output, without the batch.
    x, sums
        Input of the step, and the sum of the inputs before it, shape ``(b, ...)``.
    """
    tf = import_tensorflow()
    new = sums + x
    of_windows = _of_windows(new, windows, -np.inf)
    largest = tf.reduce_max(of_windows, axis=2, keepdims=True)
    least = largest - np.asarray(EQUAL_SUMS, x.dtype.as_numpy_dtype) * tf.abs(largest)
    first = tf.argmax(tf.cast(of_windows >= least, tf.int32), axis=2)
    return tf.reshape(tf.gather(_of_windows(x, windows, 0.0), first, batch_dims=2), [-1, *shape]), new


def _of_windows(x: Any, windows: Windows, outside: float) -> Any:
    """Return the values of each window, shape ``(b, windows, cells)``."""
    tf = import_tensorflow()
    flat = tf.pad(tf.reshape(x, [-1, windows.shape[1]]), [[0, 0], [0, 1]], constant_values=outside)
    return tf.gather(flat, padded_windows(windows), axis=1)
