"""Small networks drawn by Hypothesis, of every kind of layer, neuron and synapse that conversion knows.

A `Drawn` is plain data, whose repr is the code that makes it again; `Drawn.network` builds and converts it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import exp, log, prod, sqrt
from typing import Any

import nengo
import numpy as np
import tf_keras as keras
from hypothesis import strategies as st

from snnpipe import ConstantEncoder, IntegrateAndFire, NengoDLConverter, PoissonEncoder
from snnpipe.values.network import SpikingNetwork
from snnpipe.values.simulation import Stimulus

MAX_SIZE = 600
"""Values of a tensor, about."""
FIRST_IMAGE = 7
WEIGHTED = ("Dense", "Conv1D", "Conv2D", "Conv3D")
RELUS = ("ReLU", "Activation")
SIGMOIDS = ("sigmoid", "tanh")
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Node:
    """One layer: its inputs are numbers of tensors, 0 the image, i what the i-th node gives."""

    kind: str
    inputs: tuple[int, ...]
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def activation(self) -> str | None:
        return "relu" if self.kind in RELUS else self.config.get("activation")


@dataclass(frozen=True)
class Neurons:
    """How a layer of neurons is converted, and how strong its input current is.

    ``drive`` is the standard deviation of the current: in spikes per step, for LIF neurons in units of the threshold.
    """

    type: Any
    scale: float = 1.0
    synapse: Any = None
    drive: float = 0.1

    @property
    def leaky(self) -> bool:
        return "LIF" in repr(self.type)

    def current(self, dt: float) -> float:
        """The physical current before the scale."""
        return self.drive / self.scale / (1.0 if self.leaky else dt)

    def strength(self, dt: float, n_steps: int) -> float:
        """The physical output, about: its root mean square over time."""
        per_step = 0.5 * self.drive
        if self.leaky:
            per_step = 0.7 * dt / (0.002 + 0.02 * log(1 + 1 / max(self.drive - 1, 0.1)))
        if self.synapse is None:
            per_step = max(per_step, sqrt(per_step))  # single spikes stand out
        else:
            tau = getattr(self.synapse, "tau", self.synapse)
            per_step *= 1 - exp(-n_steps * dt / 2 / tau)
        return per_step / self.scale / dt


@dataclass(frozen=True)
class Drawn:
    """A network, its conversion, its simulation and its images."""

    shape: Shape
    nodes: tuple[Node, ...]
    neurons: dict[int, Neurons]
    n_steps: int
    batch_size: int = 1
    images: int = 1
    dt: float = 0.001
    poisson_hz: float | None = None
    seed: int = 0
    max_pooling: str = "sums"

    def __post_init__(self) -> None:
        assert set(self.neurons) == {i for i, node in enumerate(self.nodes, 1) if node.activation == "relu"}

    def name(self, tensor: int) -> str:
        return f"{self.nodes[tensor - 1].kind.lower()}_{tensor}"

    @property
    def layers(self) -> tuple[Any, ...]:
        """What makes two networks different ones: the layers and how they hang together."""
        return len(self.shape), tuple((node.kind, node.inputs) for node in self.nodes)

    @property
    def kinds(self) -> set[str]:
        """What is in it, for the table of coverage."""
        return {*_kinds(self)}

    @property
    def unknown_to_event_driven(self) -> bool:
        """Whether it has what `EventDrivenSimulator` refuses: rate neurons, Alpha, a sigmoid of what changes."""
        changes = [self.poisson_hz is not None]
        for i, node in enumerate(self.nodes, 1):
            sends = i in self.neurons or (self.max_pooling != "average" and "MaxPooling" in node.kind)
            if any(changes[j] for j in node.inputs) and node.activation in SIGMOIDS:
                return True
            changes.append(sends or any(changes[j] for j in node.inputs))
        return any(not own.type.spiking or isinstance(own.synapse, nengo.Alpha) for own in self.neurons.values())

    def model(self) -> "keras.Model":
        """The Keras model, weights drawn so that each layer of neurons gets its drive."""
        keras.backend.clear_session()
        rng = np.random.default_rng(self.seed)
        tensors, strength = [keras.Input(self.shape, name="image")], [0.6]
        for i, node in enumerate(self.nodes, 1):
            layer = getattr(keras.layers, node.kind)(name=self.name(i), **node.config)
            inputs = [tensors[j] for j in node.inputs]
            tensors.append(layer(inputs if len(inputs) > 1 else inputs[0]))
            given, taken = max(strength[j] for j in node.inputs), strength[node.inputs[0]]
            if node.kind in WEIGHTED:
                given = self._wanted(i)
                weights = layer.get_weights()
                deviation = given / taken / sqrt(prod(weights[0].shape[:-1]))
                values = [rng.normal(0, deviation, weights[0].shape)]
                layer.set_weights(values + [rng.normal(0.3 * given, 0.5 * given, b.shape) for b in weights[1:]])
            elif node.kind == "BatchNormalization":
                given, scaled = self._wanted(i), node.config.get("scale", True)
                names = [w.name.split("/")[-1].split(":")[0] for w in layer.weights]
                draws = {
                    "gamma": lambda n, to=given: rng.uniform(0.5, 1.5, n) * to,
                    "beta": lambda n, to=given: rng.normal(0.3, 0.5, n) * to,
                    "moving_mean": lambda n, of=taken: rng.normal(0, 0.3, n) * of,
                    "moving_variance": lambda n, of=taken / (1 if scaled else given): rng.uniform(0.5, 2, n) * of**2,
                }
                layer.set_weights([draws[w](v.shape) for w, v in zip(names, layer.get_weights(), strict=True)])
            if i in self.neurons:
                given = self.neurons[i].strength(self.dt, self.n_steps)
            elif node.activation in SIGMOIDS:
                given = 0.6
            strength.append(given)
        return keras.Model(tensors[0], tensors[-1])

    def _wanted(self, tensor: int) -> float:
        """How large a tensor shall be: the current of the neurons that it ends in, else 1."""
        while tensor not in self.neurons:
            then = [i for i, node in enumerate(self.nodes, 1) if tensor in node.inputs]
            if not then or self.nodes[then[0] - 1].kind in WEIGHTED:
                return 1.0
            tensor = then[0]
        return self.neurons[tensor].current(self.dt)

    def converter(self) -> NengoDLConverter:
        def per_layer(key: str) -> dict[str, Any]:
            return {self.name(i): getattr(own, key) for i, own in self.neurons.items()}

        return NengoDLConverter(
            neuron=per_layer("type"),
            scale_firing_rates=per_layer("scale"),
            synapse=per_layer("synapse"),
            max_pooling=self.max_pooling,
        )

    def network(self) -> SpikingNetwork:
        return self.converter().convert(self.model(), self.seed)

    def stimulus(self) -> Stimulus:
        images = np.random.default_rng(self.seed + 1).uniform(-1, 1, (self.images, *self.shape)).astype(np.float32)
        encoder: Any = ConstantEncoder()
        if self.poisson_hz is not None:
            encoder = PoissonEncoder(max_rate_hz=self.poisson_hz, dt=self.dt).seeded(self.seed)
        ids = range(FIRST_IMAGE, FIRST_IMAGE + self.images)
        return Stimulus(images, ids, encoder, record=tuple(range(self.images)))


def _kinds(drawn: Drawn) -> Iterator[str]:
    yield f"input of rank {len(drawn.shape)}"
    yield f"{len(drawn.neurons)} layers of neurons"
    yield f"dt {drawn.dt}"
    yield "Poisson input" if drawn.poisson_hz else "constant input"
    yield f"batch size {drawn.batch_size}"
    if drawn.images < drawn.batch_size:
        yield "short batch"
    shapes = [drawn.shape]
    for i, node in enumerate(drawn.nodes, 1):
        shape = shapes[node.inputs[0]]
        yield node.kind
        if node.config.get("groups", 1) > 1:
            yield f"{node.kind}, groups"
        if node.kind.startswith("Conv"):
            yield f"{node.kind}, {node.config['padding']}"
            if max(node.config["strides"]) > 1:
                yield f"{node.kind}, strides"
        if "Pooling" in node.kind:
            yield from _of_pooling(node, shape)
        if "MaxPooling" in node.kind:
            yield f"max pooling: {drawn.max_pooling}"
        if node.kind == "BatchNormalization":
            before = node.inputs[0] and drawn.nodes[node.inputs[0] - 1]
            folds = before and before.kind in WEIGHTED and before.activation is None and node.config["axis"] == -1
            yield f"BatchNormalization, {'folded' if folds else 'not folded'}"
        if node.activation in SIGMOIDS:
            yield "sigmoid or tanh"
        if sum(i in other.inputs for other in drawn.nodes) > 1:
            yield "one output to several layers"
        shapes.append(shape_of(node, [shapes[j] for j in node.inputs]))
    for own in drawn.neurons.values():
        yield repr(own.type)
        kind = "low-pass" if isinstance(own.synapse, float) else "none" if own.synapse is None else "Alpha"
        yield f"synapse {kind}"
    yield "spiking output" if len(drawn.nodes) in drawn.neurons else "linear output"


def _of_pooling(node: Node, shape: Shape) -> Iterator[str]:
    if node.kind.startswith("Global"):
        return
    pool, strides = node.config["pool_size"], node.config["strides"]
    if node.config.get("padding") == "same":
        yield f"{node.kind}, same"
    elif any((n - k) % s for n, k, s in zip(shape, pool, strides, strict=False)):
        yield "pooling that cuts off"
    if any(s < k for k, s in zip(pool, strides, strict=True)):
        yield "pooling that overlaps"


# ---------------------------------------------------------------------- shapes


def shape_of(node: Node, inputs: list[Shape]) -> Shape:
    """Shape of a layer's output, without the batch."""
    shape, config, kind = inputs[0], node.config, node.kind.rstrip("123D")
    *space, channels = shape
    if node.kind == "Dense":
        return (config["units"],)
    if kind == "Conv":
        spans = zip(space, config["kernel_size"], config["strides"], strict=True)
        valid = config["padding"] == "valid"
        return (*((n - k) // s + 1 if valid else -(-n // s) for n, k, s in spans), config["filters"])
    if kind in ("AveragePooling", "MaxPooling"):
        spans = zip(space, config["pool_size"], config["strides"], strict=True)
        valid = config.get("padding", "valid") == "valid"
        return (*((n - k) // s + 1 if valid else -(-n // s) for n, k, s in spans), channels)
    if kind in ("GlobalAveragePooling", "GlobalMaxPooling"):
        return (channels,)
    if kind == "ZeroPadding":
        return (*(n + sum(p) for n, p in zip(space, _pairs(config["padding"]), strict=True)), channels)
    if kind == "UpSampling":
        return (*(n * k for n, k in zip(space, np.atleast_1d(config["size"]), strict=True)), channels)
    if kind == "Flatten":
        return (prod(shape),)
    if kind == "Reshape":
        return config["target_shape"]
    if kind == "Concatenate":
        axis = config["axis"] - 1 if config["axis"] > 0 else len(shape) - 1
        return (*shape[:axis], sum(other[axis] for other in inputs), *shape[axis + 1 :])
    return shape


def _pairs(padding: Any) -> list[tuple[int, int]]:
    return [padding] if isinstance(padding[0], int) else list(padding)


# ---------------------------------------------------------------------- the strategy


def logarithmic(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers of three digits, every order of magnitude as often."""
    return st.floats(log(low), log(high)).map(lambda x: float(f"{exp(x):.3g}"))


def often(draw: Any, one_in: int) -> bool:
    """False once in so many times; what is simple is True."""
    return draw(st.integers(0, one_in - 1)) != one_in - 1


class _Drawing:
    """A network under construction: nodes so far and their shapes."""

    def __init__(self, draw: Any, shape: Shape, rare: str):
        self.draw, self.rare = draw, rare
        self.nodes: list[Node] = []
        self.shapes = [shape]

    def add(self, kind: str, inputs: int | tuple[int, ...], **config: Any) -> int:
        node = Node(kind, inputs if isinstance(inputs, tuple) else (inputs,), config)
        self.shapes.append(shape_of(node, [self.shapes[i] for i in node.inputs]))
        self.nodes.append(node)
        return len(self.nodes)

    def one_of(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, max(low, high)))

    def integers(self, low: int, highs: list[int]) -> Shape:
        return tuple(self.integer(low, high) for high in highs)

    def rank(self, x: int) -> int:
        """Dimensions in space."""
        return len(self.shapes[x]) - 1

    # ------------------------------------------------------------------ layers

    def weighted(self, x: int, activation: str | None, grouped: bool = True) -> int:
        config = {} if activation is None else {"activation": activation}
        if not self.one_of(True, True, False):
            config["use_bias"] = False
        if not self.rank(x):
            return self.add("Dense", x, units=self.integer(2, 32), **config)
        *space, channels = self.shapes[x]
        padding = "valid" if self.padded_in_3d(x) else self.one_of("valid", "same")
        limit = 3 if len(space) < 3 else 2
        kernel = self.integers(1, [min(n, limit) if padding == "valid" else limit for n in space])
        # NengoDL fails for groups in 3-D on a CPU, and where it merges the convolutions of one tensor
        grouped = grouped and len(space) < 3
        groups = self.one_of(1, *(g for g in (2, 3) if grouped and channels % g == 0))
        filters = groups * self.integer(1, 8 // groups)
        strides = self.integers(1, [2] * len(space)) if self.one_of(False, True) else (1,) * len(space)
        if groups > 1:
            config["groups"] = groups
        return self.add(
            f"Conv{len(space)}D", x, filters=filters, kernel_size=kernel, strides=strides, padding=padding, **config
        )

    def padded_in_3d(self, x: int) -> bool:
        """Whether TensorFlow would merge zeros into a padded convolution of x, with an output of another shape."""
        return x > 0 and self.nodes[x - 1].kind == "ZeroPadding3D"

    def alike(self, x: int, like: int, activation: str | None) -> int:
        """Another linear layer of x, with the same shape of output."""
        node = self.nodes[like - 1]
        config = {key: value for key, value in node.config.items() if key != "activation"}
        return self.add(node.kind, x, **config, **({} if activation is None else {"activation": activation}))

    def relu(self, x: int) -> int:
        return self.add("ReLU", x) if self.one_of(True, False) else self.add("Activation", x, activation="relu")

    def batch_normalization(self, x: int) -> int:
        config = {"axis": self.one_of(-1, -1, 1)}
        for key in ("center", "scale"):
            if not often(self.draw, 5):
                config[key] = False
        return self.add("BatchNormalization", x, **config)

    def between(self, x: int) -> int:
        """A layer without neurons, or none."""
        rank = self.rank(x)
        options = [lambda _: x, lambda _: x, self.batch_normalization, self.reshape]
        if rank:
            options += [self.pooling, self.pooling, self.pooling, self.zero_padding, self.up_sampling]
            options += [lambda y: self.add("Flatten", y), self.global_pooling]
        return self.one_of(*options)(x)

    def pooling(self, x: int) -> int:
        space = self.shapes[x][:-1]
        pool = self.integers(1, [min(n, 3) for n in space])
        strides = pool if self.one_of(True, False) else self.integers(1, [3] * len(space))
        kind = self.one_of("Average", "Max")
        config = {"padding": "same"} if kind == "Max" and self.one_of(False, True) else {}
        return self.add(f"{kind}Pooling{len(space)}D", x, pool_size=pool, strides=strides, **config)

    def global_pooling(self, x: int) -> int:
        return self.add(f"Global{self.one_of('Average', 'Max')}Pooling{self.rank(x)}D", x)

    def zero_padding(self, x: int) -> int:
        *space, channels = self.shapes[x]
        sides = tuple((self.integer(0, 2), self.integer(0, 1)) for _ in space)
        if prod(n + sum(s) for n, s in zip(space, sides, strict=True)) * channels > MAX_SIZE:
            return x
        return self.add(f"ZeroPadding{len(space)}D", x, padding=sides if len(space) > 1 else sides[0])

    def up_sampling(self, x: int) -> int:
        rank = self.rank(x)
        size = self.integers(1, [2] * rank)
        if prod(self.shapes[x]) * prod(size) > MAX_SIZE:
            return x
        return self.add(f"UpSampling{rank}D", x, size=size if rank > 1 else size[0])

    def reshape(self, x: int) -> int:
        left, shape = prod(self.shapes[x]), []
        for _ in range(self.integer(0, 2)):
            shape.append(self.one_of(*(n for n in range(1, left + 1) if left % n == 0)))
            left //= shape[-1]
        return self.add("Reshape", x, target_shape=(*shape, left))

    # ------------------------------------------------------------------ layers of neurons

    def neurons(self, x: int) -> int:
        """A layer of neurons, or several side by side, with the linear layers that they belong to."""
        for _ in range(self.integer(0, 2)):
            x = self.between(x)
        if self.rare == "sigmoid":
            self.rare = ""
            x = self.weighted(x, self.one_of(*SIGMOIDS))
        form = self.one_of("relu", "relu", "linear", "linear", "branches", "branches", "shortcut", "bare")
        if form == "relu":
            return self.weighted(x, "relu")
        if form == "bare":
            return self.relu(x)
        if form == "linear":
            y = self.weighted(x, None)
            for _ in range(self.integer(0, 2)):
                y = self.batch_normalization(y) if self.one_of(True, True, False) else self.between(y)
            return self.relu(y)
        return self.merged(x, shortcut=form == "shortcut")

    def merged(self, x: int, shortcut: bool) -> int:
        """Linear layers or layers of neurons side by side, then merged."""
        activation = self.one_of(None, "relu")
        if shortcut and not self.padded_in_3d(x):
            parts = [x, self.same_shape(x, activation)]
        else:
            parts = [self.weighted(x, activation, grouped=False)]
            for _ in range(self.integer(1, 2)):
                parts.append(self.alike(x, parts[0], activation))
            if self.shapes[parts[0]] == self.shapes[x] and self.one_of(False, False, True):
                parts.append(x)
        kind = self.one_of("Add", "Average", "Concatenate")
        y = self.add(kind, tuple(parts), **({"axis": self.one_of(-1, -1, 1)} if kind == "Concatenate" else {}))
        if activation is not None:
            return y
        return self.relu(self.batch_normalization(y) if self.one_of(False, False, True) else y)

    def same_shape(self, x: int, activation: str | None) -> int:
        """A linear layer whose output has its input's shape."""
        config = {} if activation is None else {"activation": activation}
        *space, channels = self.shapes[x]
        if not space:
            return self.add("Dense", x, units=channels, **config)
        kernel = self.integers(1, [3 if len(space) < 3 else 2] * len(space))
        strides = (1,) * len(space)
        return self.add(
            f"Conv{len(space)}D", x, filters=channels, kernel_size=kernel, strides=strides, padding="same", **config
        )

    def end(self, x: int) -> None:
        """The output: logits, or neurons."""
        for _ in range(self.integer(0, 1)):
            x = self.between(x)
        if self.rank(x):
            pool = not often(self.draw, 3)
            x = self.add(f"GlobalAveragePooling{self.rank(x)}D" if pool else "Flatten", x)
        spiking = not often(self.draw, 6)
        self.add("Dense", x, units=self.integer(3, 5), **({"activation": "relu"} if spiking else {}))


@st.composite
def shapes(draw: Any) -> Shape:
    low, high, channels = draw(st.sampled_from([(0, 0, 20), (4, 19, 3), (3, 9, 3), (2, 5, 2)]))
    rank = {0: 0, 19: 1, 9: 2, 5: 3}[high]
    return (*(draw(st.integers(low, high)) for _ in range(rank)), draw(st.integers(1 if rank else 3, channels)))


@st.composite
def settings_of_neurons(draw: Any, dt: float, rare: str) -> Neurons:
    kind = draw(
        st.sampled_from(
            [
                nengo.SpikingRectifiedLinear(),
                nengo.SpikingRectifiedLinear(),
                IntegrateAndFire(),
                IntegrateAndFire(max_spikes=1, min_voltage=-0.5, initial_voltage=None),
                nengo.LIF(),
                nengo.RegularSpiking(nengo.RectifiedLinear()),
                nengo.RegularSpiking(nengo.LIFRate()),
            ]
        )
    )
    synapse: Any = draw(st.none() | logarithmic(0.001, 0.1))
    if rare == "rate" and draw(st.booleans()):
        kind = nengo.RectifiedLinear()
    if rare == "alpha" and draw(st.booleans()):
        synapse = nengo.Alpha(draw(logarithmic(0.001, 0.1)))
    drive = draw(logarithmic(1.5, 6) if "LIF" in repr(kind) else logarithmic(0.03, 4))
    return Neurons(kind, draw(logarithmic(5, 500)), synapse, drive)


@st.composite
def networks(draw: Any) -> Drawn:
    """Networks of one to four layers of neurons (more where branches have their own)."""
    rare = draw(st.sampled_from([*[""] * 10, "alpha", "alpha", "rate", "sigmoid"]))
    drawing = _Drawing(draw, draw(shapes()), rare)
    x = 0
    for _ in range(draw(st.integers(1, 4))):
        x = drawing.neurons(x)
    drawing.end(x)
    dt = draw(st.sampled_from([0.001, 0.0005, 0.002]))
    batch_size = draw(st.integers(1, 4))
    return Drawn(
        shape=drawing.shapes[0],
        nodes=tuple(drawing.nodes),
        neurons={
            i: draw(settings_of_neurons(dt, rare))
            for i, node in enumerate(drawing.nodes, 1)
            if node.activation == "relu"
        },
        n_steps=draw(st.integers(5, 26) | st.integers(40, 45)),  # from 40 on, spike times are computed directly
        batch_size=batch_size,
        images=batch_size if often(draw, 4) else draw(st.integers(1, batch_size)),
        dt=dt,
        poisson_hz=None if often(draw, 4) else draw(logarithmic(50, 1000)),
        seed=draw(st.integers(0, 999)),
        max_pooling=draw(st.sampled_from(["sums", "sums", "gated", "average"])),
    )
