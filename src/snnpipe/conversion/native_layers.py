"""Reads a native Nengo network as a Keras model, in which ReLUs stand for neurons.

A network can be read if it is made of neurons (gain and bias included), of connections that begin and end at neurons or
nodes, of pass-through nodes and of Keras layers without a ReLU in TensorNodes. Synapses may stand behind neurons only,
and all that leaves one layer of neurons must have the same synapse.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConfigError
from snnpipe.frameworks.compat import import_nengo_dl, import_tf_keras
from snnpipe.frameworks.keras_graph import activation_name
from snnpipe.synapses import Synapse

if TYPE_CHECKING:
    import nengo
    import tf_keras

_WEIGHTED = ("Dense", "Conv1D", "Conv2D", "Conv3D")


class UnreadableError(Exception):
    """Raised if a network cannot be read as layers. The message gives the reason."""


@dataclass(frozen=True, eq=False)
class ReadNetwork:
    """A network's layers.

    Attributes
    ----------
    model
        Keras model in float64. Its ReLUs stand for neurons, and have the names of the layers of neurons.
    shapes
        Shape of each layer of neurons, without the batch.
    synapses
        Synapse on each layer's output.
    """

    model: "tf_keras.Model"
    shapes: dict[str, tuple[int, ...]]
    synapses: dict[str, Synapse]


def neuron_names(network: "nengo.Network") -> "dict[nengo.ensemble.Neurons, str]":
    """Return a unique name for the neurons of each ensemble: its label, with a number if the label is taken."""
    names = _Names()
    return {ensemble.neurons: names.new(ensemble.label or "neurons") for ensemble in network.all_ensembles}


def read_layers(
    network: "nengo.Network", input: "nengo.Node", output: "nengo.Probe", built: "nengo.builder.Model"
) -> ReadNetwork:
    """Return a network's layers.

    Parameters
    ----------
    network, input, output
        Parameters of `snnpipe.frameworks.native.NativeNetwork`.
    built
        Network built by Nengo.

    Raises
    ------
    UnreadableError
        If the network has anything in it that cannot be read as layers.
    """
    return _Reader(network, input, output, built).read()


class _Names:
    """Gives names, each of them once."""

    def __init__(self, taken: Iterable[str] = ()):
        self._taken = set(taken)

    def new(self, wanted: str) -> str:
        """Return the wanted name in characters that Keras accepts, with a number if it is taken."""
        clean = "".join(c if c.isalnum() or c in "_.-" else "_" for c in wanted).lstrip("_.-") or "layer"
        name, n = clean, 0
        while name in self._taken:
            n += 1
            name = f"{clean}_{n}"
        self._taken.add(name)
        return name


class _Reader:
    def __init__(
        self, network: "nengo.Network", input: "nengo.Node", output: "nengo.Probe", built: "nengo.builder.Model"
    ):
        self._keras = import_tf_keras()
        self._tensor_node = import_nengo_dl().TensorNode
        self._network = network
        self._built = built
        self._input_node = input
        self._output = output
        self._neurons = neuron_names(network)
        self._names = _Names(self._neurons.values())
        self._tensors: dict[Any, Any] = {}
        self._under_way: list[Any] = []
        self._owned: dict[int, Any] = {}  # copied layer with weights by its output, if this drives neurons alone

    def read(self) -> ReadNetwork:
        output = self._output
        if output.slice not in (None, slice(None)) or output.attr not in ("output", "decoded_output", "spikes"):
            raise UnreadableError(f"the output probe reads {output.attr!r} of {_name(output.obj)}, or a slice of it")
        logits = self._value(output.target)
        if len(logits.shape) != 2:
            logits = self._keras.layers.Flatten(name=self._names.new("flatten"))(logits)
        model = self._keras.Model(self._tensors[self._input_node], logits, name=self._names.new("native"))
        if unused := [name for neurons, name in self._neurons.items() if neurons not in self._tensors]:
            raise UnreadableError(f"ensemble {unused[0]!r} does not lead to the output")
        synapses = {name: self._synapse(neurons) for neurons, name in self._neurons.items()}
        shapes = {name: tuple(self._tensors[neurons].shape[1:]) for neurons, name in self._neurons.items()}
        if output.target not in self._neurons:
            _readable_synapse(output.synapse, "the output probe")
        return ReadNetwork(model, shapes, synapses)

    # ------------------------------------------------------------------ objects

    def _value(self, obj: Any) -> Any:
        """Return the output of an object as a Keras tensor."""
        if obj in self._tensors:
            return self._tensors[obj]
        if obj in self._under_way:
            raise UnreadableError(f"{_name(obj)} takes its own output, by way of others or directly")
        self._under_way.append(obj)
        if obj in self._neurons:
            tensor = self._of_neurons(obj)
        elif isinstance(obj, self._tensor_node):
            tensor = self._of_tensor_node(obj)
        elif obj is self._input_node:
            name = self._names.new(obj.label or "input")
            tensor = self._keras.Input((obj.size_out,), name=name, dtype="float64")
        else:
            tensor = self._of_node(obj)
        self._under_way.pop()
        self._tensors[obj] = tensor
        return tensor

    def _of_neurons(self, neurons: Any) -> Any:
        parameters = self._built.params[neurons.ensemble]
        name = self._neurons[neurons]
        gain, bias = (np.asarray(v, np.float64) for v in (parameters.gain, parameters.bias))
        if not (np.all(np.isfinite(gain)) and np.all(np.isfinite(bias))):
            raise UnreadableError(f"ensemble {name!r} has gains or biases that are not finite")
        if any(c.post_obj is neurons.ensemble for c in self._network.all_connections):
            raise UnreadableError(f"a connection ends at ensemble {name!r} and not at its neurons")
        if any(c.pre_obj is neurons.ensemble for c in self._network.all_connections):
            raise UnreadableError(f"a connection begins at ensemble {name!r} and not at its neurons")
        current = self._affine(self._input(neurons), gain, bias, f"{name}_gain")
        return self._keras.layers.ReLU(name=name, dtype="float64")(current)

    def _of_tensor_node(self, node: Any) -> Any:
        layer = node.tensor_func
        if not isinstance(layer, self._keras.layers.Layer):
            raise UnreadableError(f"{_name(node)} is a function of TensorFlow's and no Keras layer")
        if node.pass_time:
            raise UnreadableError(f"{_name(node)} takes the time")
        if activation_name(layer) == "relu":
            raise UnreadableError(f"Keras layer {layer.name!r} applies a ReLU of its own, which is no neurons")
        return self._layer(layer, self._shaped(self._input(node), tuple(int(n) for n in node.shape_in)), node)

    def _of_node(self, node: Any) -> Any:
        if type(node).__name__ != "Node" or node.output is not None or not node.size_in:
            raise UnreadableError(f"{_name(node)} is no neurons, no Keras layer and no pass-through node")
        return self._input(node)

    def _input(self, obj: Any) -> Any:
        """Return the sum of the inputs of an object."""
        connections = [c for c in self._network.all_connections if c.post_obj == obj]
        if not connections:
            raise UnreadableError(f"nothing is connected to {_name(obj)}")
        summands = [self._through(connection) for connection in connections]
        if len(summands) == 1:
            return summands[0]
        flat = [self._shaped(tensor, (int(obj.size_in),)) for tensor in summands]
        return self._keras.layers.Add(name=self._names.new("add"), dtype="float64")(flat)

    # ------------------------------------------------------------------ connections

    def _through(self, connection: Any) -> Any:
        """Return what a connection passes on to its target."""
        import nengo

        what = f"the connection from {_name(connection.pre_obj)} to {_name(connection.post_obj)}"
        if connection.pre_slice != slice(None) or connection.post_slice != slice(None):
            raise UnreadableError(f"{what} takes or reaches a part of it only")
        if connection.function is not None or connection.learning_rule_type is not None:
            raise UnreadableError(f"{what} has a function or a learning rule")
        if connection.synapse is not None and connection.pre_obj not in self._neurons:
            raise UnreadableError(f"{what} has a synapse, but does not begin at neurons (give it synapse=None)")
        x, transform = self._value(connection.pre_obj), connection.transform
        if isinstance(transform, nengo.transforms.NoTransform):
            return x
        weights = self._built.params[connection].weights
        if isinstance(transform, nengo.Convolution):
            return self._convolution(x, transform, np.asarray(weights), connection)
        if not isinstance(transform, nengo.Dense):
            raise UnreadableError(f"{what} has a transform of type {type(transform).__name__}")
        weights = np.asarray(weights, np.float64)
        if weights.ndim < 2:
            size = int(connection.size_in)
            return self._affine(x, np.broadcast_to(weights, size), np.zeros(size), "scaled")
        layer = self._keras.layers.Dense(
            len(weights), use_bias=False, dtype="float64", name=connection.label or "dense"
        )
        layer.build((None, weights.shape[1]))
        layer.set_weights([weights.T])
        return self._layer(layer, self._shaped(x, (weights.shape[1],)), connection)

    def _convolution(self, x: Any, transform: Any, weights: NDArray[Any], connection: Any) -> Any:
        if not transform.channels_last:
            raise UnreadableError(f"a convolution into {_name(connection.post_obj)} has its channels first")
        n = transform.dimensions
        if n not in (1, 2, 3):
            raise UnreadableError(f"a convolution into {_name(connection.post_obj)} has {n} dimensions")
        layer = getattr(self._keras.layers, f"Conv{n}D")(
            transform.n_filters,
            transform.kernel_size,
            strides=transform.strides,
            padding=transform.padding,
            groups=transform.groups,
            use_bias=False,
            dtype="float64",
            name=connection.label or f"conv{n}d",
        )
        shape = tuple(int(v) for v in transform.input_shape.shape)
        layer.build((None, *shape))
        layer.set_weights([weights])
        return self._layer(layer, self._shaped(x, shape), connection)

    def _leaving(self, obj: Any) -> list[Any]:
        """Return the connections that begin at an object, and the output probe if it reads the object."""
        probe = [self._output] if self._output.target == obj else []
        return [c for c in self._network.all_connections if c.pre_obj == obj] + probe

    def _synapse(self, neurons: Any) -> Synapse:
        """Return the synapse that is on everything that leaves a layer of neurons."""
        name = self._neurons[neurons]
        synapses = [_readable_synapse(leaving.synapse, f"ensemble {name!r}") for leaving in self._leaving(neurons)]
        if any(synapse != synapses[0] for synapse in synapses):
            raise UnreadableError(
                f"what leaves ensemble {name!r} has several synapses: {', '.join(map(str, synapses))}"
            )
        return synapses[0]

    # ------------------------------------------------------------------ Keras layers

    def _shaped(self, x: Any, shape: tuple[int, ...]) -> Any:
        if tuple(x.shape[1:]) == shape:
            return x
        if len(shape) == 1:
            return self._keras.layers.Flatten(name=self._names.new("flatten"), dtype="float64")(x)
        return self._keras.layers.Reshape(shape, name=self._names.new("reshape"), dtype="float64")(x)

    def _layer(self, layer: Any, x: Any, source: Any) -> Any:
        """Return the output of a layer's float64 copy. Linear layers with weights get a bias to take in gains."""
        config = layer.get_config() | {"name": self._names.new(layer.name), "dtype": "float64"}
        weights = layer.get_weights()
        owned = type(layer).__name__ in _WEIGHTED and activation_name(layer) == "linear"
        if owned and not config["use_bias"]:
            config["use_bias"] = True
            weights = [*weights, np.zeros(weights[0].shape[-1])]
        copied = type(layer).from_config(config)
        tensor = copied(x)
        copied.set_weights(weights)
        if owned and self._only_drives_neurons(source):
            self._owned[id(tensor)] = copied
        return tensor

    def _only_drives_neurons(self, source: Any) -> bool:
        """Whether a connection, or a node's only outgoing connection, ends at a layer of neurons."""
        ends = [source] if source in self._network.all_connections else self._leaving(source)
        return len(ends) == 1 and getattr(ends[0], "post_obj", None) in self._neurons

    def _affine(self, x: Any, scale: NDArray[np.float64], shift: NDArray[np.float64], name: str) -> Any:
        """Return ``scale * x + shift`` for each value; numbers that are the same in a channel go into the weights."""
        if np.all(scale == 1) and np.all(shift == 0):
            return x
        shape = tuple(x.shape[1:])
        scale, shift = (np.asarray(v, np.float64).reshape(shape) for v in (scale, shift))
        layer = self._owned.pop(id(x), None)
        by_channel = [v.reshape(-1, shape[-1]) for v in (scale, shift)]
        if layer is not None and all(np.all(v == v[0]) for v in by_channel):
            (gain, *_), (constant, *_) = by_channel
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel * gain, bias * gain + constant])
            return x
        axes = list(range(1, len(shape) + 1))
        normalization = self._keras.layers.BatchNormalization(
            axis=axes, epsilon=0.0, name=self._names.new(name), dtype="float64"
        )
        tensor = normalization(x)
        parameters = [v.reshape(normalization.gamma.shape) for v in (scale, shift, np.zeros(shape), np.ones(shape))]
        normalization.set_weights(parameters)
        return tensor


def _readable_synapse(synapse: Any, what: str) -> Synapse:
    try:
        return Synapse.of(synapse).linear("synapse")
    except ConfigError:
        raise UnreadableError(f"{what} has the synapse {synapse!r}, which is no linear filter") from None


def _name(obj: Any) -> str:
    kind = type(obj).__name__
    if kind == "Neurons":
        return f"ensemble {obj.ensemble.label or 'without a label'!r}"
    return f"{kind} {getattr(getattr(obj, 'tensor_func', None), 'name', None) or obj.label or 'without a label'!r}"
