"""NengoDL's converter with further layers: permutations, croppings, dilated convolutions, padded and max pooling.

Only the converters that this module returns have the further layers. NengoDL's own register is not changed.
"""

from functools import cache
from typing import Any

import numpy as np
from scipy import sparse

from snnpipe.frameworks.compat import import_nengo_dl, import_tensorflow, import_tf_keras
from snnpipe.frameworks.pooling import pooling_matrix, pooling_windows
from snnpipe.settings.domains import PoolingOverTime


@cache
def layer_converters() -> dict[Any, Any]:
    """Return NengoDL's layer converters by Keras class, with further ones."""
    import_nengo_dl()
    import nengo
    from nengo_dl import converter

    from snnpipe.conversion.max_pooling import PooledOverTime

    keras = import_tf_keras()

    class ConvertMoved(converter.LayerConverter):
        """Converter of layers that move values: each output is one of the inputs."""

        def convert(self, node_id: int) -> Any:
            output = self.add_nengo_obj(node_id)
            shape = self.input_shape(node_id)
            numbered = np.arange(np.prod(shape), dtype=np.float64).reshape(1, *shape)
            moved = np.asarray(self.layer(import_tensorflow().constant(numbered, self.layer.compute_dtype)))
            source = self.get_input_obj(node_id)[moved.ravel().astype(np.int64)]
            connection = nengo.Connection(source, output, synapse=None)
            self.set_trainable(connection, False)
            return output

    def padded(known: Any) -> Any:
        class ConvertPadded(known):
            """Converter of average pooling. Padded pooling, whose border windows have fewer cells, becomes a matrix."""

            unsupported_args = ()

            def convert(self, node_id: int) -> Any:
                if self.layer.padding != "same":
                    return super().convert(node_id)
                output = self.add_nengo_obj(node_id)
                matrix = sparse.coo_matrix(pooling_matrix(self.layer, self.input_shape(node_id)))
                self.add_connection(node_id, output, transform=nengo.Sparse(matrix.shape, init=matrix))
                return output

        return ConvertPadded

    def dilated(known: Any) -> Any:
        class ConvertDilated(known):
            """Converter of convolutions, which replaces a dilated kernel by one with zeros in it."""

            unsupported_args = ()
            layer: Any

            def convert(self, node_id: int) -> Any:
                if max(self.layer.dilation_rate) > 1:
                    self.layer = _Undilated(self.layer)
                return super().convert(node_id)

        return ConvertDilated

    class ConvertMaxPooling(converter.LayerConverter):
        """Converter of max pooling to a node with a process."""

        @classmethod
        def convertible(cls, layer: Any, converter: Any) -> tuple[bool, str | None]:
            if not converter.inference_only:
                return False, "NengoDL has no max pooling"
            known: tuple[bool, str | None] = super().convertible(layer, converter)
            return known

        def convert(self, node_id: int) -> Any:
            windows = pooling_windows(self.layer, self.input_shape(node_id))
            process = PooledOverTime(windows, gated=self.converter.max_pooling == "gated")
            output = nengo.Node(process, label=f"{self.layer.name}.{node_id}")
            self.add_connection(node_id, output)
            return output

    class ConvertClipped(converter.ConvertReLU):
        """Converter of ReLUs with or without a highest value to rectified linear neurons; their type is set later."""

        unsupported_args = (("threshold", 0),)

    names = (*(f"Cropping{n}D" for n in (1, 2, 3)), "Permute")
    more: dict[Any, Any] = {getattr(keras.layers, name): ConvertMoved for name in names} | {
        keras.layers.ReLU: ConvertClipped
    }
    for n in (1, 2, 3):
        pooling = getattr(keras.layers, f"AveragePooling{n}D")
        for scope in ("", "Global"):
            more[getattr(keras.layers, f"{scope}MaxPooling{n}D")] = ConvertMaxPooling
        more[pooling] = padded(converter.Converter.converters[pooling])
        convolution = getattr(keras.layers, f"Conv{n}D")
        more[convolution] = dilated(converter.Converter.converters[convolution])
    return {**converter.Converter.converters, **more}


def make_converter(model: Any, max_pooling: PoolingOverTime, **settings: Any) -> Any:
    """Return NengoDL's conversion of a Keras model, with the further layers, and max pooling over time."""
    nengo_dl: Any = import_nengo_dl()
    base: Any = nengo_dl.Converter

    class Converter(base):
        converters = layer_converters()

    Converter.max_pooling = max_pooling
    return Converter(model, **settings)


class _Undilated:
    """A dilated convolution in the form of one without dilation, whose kernel has zeros in it."""

    def __init__(self, layer: Any):
        self._layer = layer
        kernel = np.asarray(layer.kernel)
        sizes = [(size - 1) * rate + 1 for size, rate in zip(layer.kernel_size, layer.dilation_rate, strict=True)]
        wide = np.zeros((*sizes, *kernel.shape[-2:]), kernel.dtype)
        wide[tuple(slice(None, None, rate) for rate in layer.dilation_rate)] = kernel
        self.kernel, self.kernel_size = import_tensorflow().constant(wide), tuple(sizes)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)

    def __hash__(self) -> int:
        return hash(self._layer)

    def __eq__(self, other: object) -> bool:
        return other is self._layer or other is self
