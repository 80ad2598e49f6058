"""Keras models drawn by Hypothesis, whose linear layers form chains, branches, overlaps and borders."""

from dataclasses import dataclass, field
from math import prod
from typing import Any

import brute_force
import numpy as np
import tf_keras as keras
from hypothesis import strategies as st

MAX_SIZE = 120
"""Values of a tensor, at most."""


@dataclass
class Graph:
    """A drawn model, and the code that makes it again."""

    lines: list[str] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    model: Any = None

    def __repr__(self) -> str:
        return "\n".join(self.lines)


class _Drawing:
    def __init__(self, draw: Any):
        self.draw, self.graph = draw, Graph()
        rank = self.one_of(0, 1, 2, 2, 3)
        shape = (*(self.integer(2, {0: 1, 1: 10, 2: 5, 3: 3}[rank]) for _ in range(rank)), self.integer(1, 3))
        self.image = keras.Input(shape, dtype="float64")
        self.graph.lines.append(f"x0 = Input({shape})")
        self.tensors = [self.image]

    def one_of(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, max(low, high)))

    def integers(self, low: int, highs: Any) -> tuple[int, ...]:
        return tuple(self.integer(low, high) for high in highs)

    def add(self, kind: str, inputs: Any, **config: Any) -> Any:
        config.setdefault("dtype", "float32" if kind == "AveragePooling3D" else "float64")
        if "Conv" in kind or kind == "Dense":  # Keras's own weights are drawn, which strategies must not do
            config["depthwise_initializer" if "Depthwise" in kind else "kernel_initializer"] = "zeros"
        given = inputs if isinstance(inputs, list) else [inputs]
        names = [f"x{next(i for i, t in enumerate(self.tensors) if t is one)}" for one in given]
        result = getattr(keras.layers, kind)(**config)(inputs)
        if prod(result.shape[1:]) > MAX_SIZE:
            return given[0]
        hidden = ("dtype", "kernel_initializer", "depthwise_initializer")
        settings = ", ".join(f"{key}={value!r}" for key, value in config.items() if key not in hidden)
        self.graph.lines.append(f"x{len(self.tensors)} = {kind}({settings})({', '.join(names)})  # {result.shape[1:]}")
        activation = config.get("activation")
        self.graph.kinds |= {kind} | ({f"{kind} {activation}"} if activation else set())
        for key in ("padding", "groups"):
            if isinstance(config.get(key), str) or config.get(key, 1) != 1:
                self.graph.kinds.add(f"{kind} {key} {config[key] if key == 'padding' else ''}".strip())
        self.tensors.append(result)
        return result

    # ------------------------------------------------------------------ layers

    def layer(self, x: Any) -> Any:
        """Add one layer after x; it may have units."""
        rank = len(x.shape) - 2
        options = [self.dense, self.units, self.units, self.scaling, self.reshape, self.merge, self.merge]
        if rank:
            options += [self.convolution, self.convolution, self.convolution, self.pooling, self.pooling, self.resize]
            options += [self.resize, self.transposed, lambda y: self.add("Flatten", y), self.permute]
            options += [lambda y: self.add(f"GlobalAveragePooling{rank}D", y)]
        if rank in (1, 2):
            options += [self.depthwise]
        return self.one_of(*options)(x)

    def activation(self) -> dict[str, Any]:
        name = self.one_of(None, None, None, "relu", "relu", "tanh")
        return {} if name is None else {"activation": name}

    def dense(self, x: Any) -> Any:
        return self.add("Dense", x, units=self.integer(1, 6), **self.activation())

    def convolution(self, x: Any, **more: Any) -> Any:
        _, *space, channels = x.shape
        rank = len(space)
        padding = self.one_of("valid", "same", *(["causal"] if rank == 1 else []))
        size = self.integers(1, [min(n, 3) for n in space])
        config: dict[str, Any] = {"kernel_size": size, "padding": padding}
        if padding != "valid" or all(n > 2 * (k - 1) for n, k in zip(space, size, strict=True)):
            dilated = rank < 3 and self.one_of(False, False, True)
            config["dilation_rate" if dilated else "strides"] = self.integers(1, [2] * rank)
        groups = self.one_of(1, 1, channels) if rank < 3 else 1
        return self.add(
            f"Conv{rank}D", x, filters=groups * self.integer(1, 2), groups=groups, **config, **self.activation()
        )

    def depthwise(self, x: Any) -> Any:
        _, *space, _ = x.shape
        config = {"depth_multiplier": self.integer(1, 2), "strides": self.integer(1, 2), **self.activation()}
        kernel = self.integers(1, [min(n, 3) for n in space])
        padding = self.one_of("valid", "same")
        if len(space) == 1:
            kernel = kernel[0]
        return self.add(f"DepthwiseConv{len(space)}D", x, kernel_size=kernel, padding=padding, **config)

    def transposed(self, x: Any) -> Any:
        rank = len(x.shape) - 2
        config = {"kernel_size": self.integers(1, [3] * rank), "strides": self.integers(1, [2] * rank)}
        padding = self.one_of("valid", "same")
        return self.add(
            f"Conv{rank}DTranspose", x, filters=self.integer(1, 2), padding=padding, **config, **self.activation()
        )

    def pooling(self, x: Any) -> Any:
        _, *space, _ = x.shape
        pool = self.integers(1, [min(n, 3) for n in space])
        strides = self.one_of(pool, self.integers(1, pool), (1,) * len(space))
        padding = self.one_of("valid", "same")
        return self.add(f"AveragePooling{len(space)}D", x, pool_size=pool, strides=strides, padding=padding)

    def resize(self, x: Any) -> Any:
        _, *space, _ = x.shape
        rank, kind = len(space), self.one_of("ZeroPadding", "ZeroPadding", "Cropping", "UpSampling")
        if kind == "UpSampling":
            size = self.integers(1, [2] * rank)
            return self.add(f"UpSampling{rank}D", x, size=size if rank > 1 else size[0])
        most = [min(1, (n - 1) // 2) if kind == "Cropping" else 2 for n in space]
        sides = tuple((self.integer(0, n), self.integer(0, n)) for n in most)
        return self.add(f"{kind}{rank}D", x, **{kind.replace("Zero", "").lower(): sides if rank > 1 else sides[0]})

    def permute(self, x: Any) -> Any:
        return self.add("Permute", x, dims=tuple(self.draw(st.permutations(range(1, len(x.shape))))))

    def reshape(self, x: Any) -> Any:
        left, shape = prod(x.shape[1:]), []
        for _ in range(self.integer(0, 2)):
            shape.append(self.one_of(*(n for n in range(1, left + 1) if left % n == 0)))
            left //= shape[-1]
        return self.add("Reshape", x, target_shape=(*shape, left))

    def scaling(self, x: Any) -> Any:
        if self.one_of(False, True):
            return self.add("Rescaling", x, scale=self.one_of(0.5, 2.0), offset=self.one_of(0.0, 1.0))
        return self.add("BatchNormalization", x, axis=self.one_of(-1, 1), scale=self.one_of(True, True, False))

    def units(self, x: Any) -> Any:
        kind, config = self.one_of(
            *(("ReLU", {}), ("ReLU", {}), ("ReLU", {"max_value": 6.0}), ("LeakyReLU", {"alpha": 0.2})),
            *(("Activation", {"activation": "relu"}), ("Activation", {"activation": "sigmoid"})),
        )
        return self.add(kind, x, **config)

    def merge(self, x: Any) -> Any:
        """Add two or three tensors, or stack them: x, layers of it that have its shape, and what else has it."""
        parts, rank = [x], len(x.shape) - 2
        for _ in range(self.integer(1, 2)):
            before = [t for t in self.tensors if t.shape == x.shape]
            if self.one_of(True, False):
                parts.append(self.one_of(*before))
            elif rank:
                size = (self.integer(1, 3),) * rank
                parts.append(self.add(f"Conv{rank}D", x, filters=x.shape[-1], kernel_size=size, padding="same"))
            else:
                parts.append(self.add("Dense", x, units=x.shape[-1]))
        if self.one_of(False, True):
            return self.add("Concatenate", parts, axis=self.one_of(-1, 1))
        return self.add(self.one_of("Add", "Average"), parts)


@st.composite
def graphs(draw: Any) -> Graph:
    """Models of up to a dozen layers, with weights of one or both signs, of which some are 0."""
    drawing = _Drawing(draw)
    x = drawing.image
    for _ in range(drawing.integer(3, 10)):
        if drawing.integer(0, 5) == 5:
            x = drawing.one_of(*drawing.tensors)
        x = drawing.layer(x)
    graph = drawing.graph
    graph.model = keras.Model(drawing.image, x)
    signed, zeros, seed = drawing.one_of(False, True), drawing.one_of(0.0, 0.0, 0.3), drawing.integer(0, 999)
    graph.lines.append(f"weights: signed={signed}, zeros={zeros}, seed={seed}")
    graph.kinds.add(f"signed {signed}, zeros {zeros}")
    brute_force.weights(graph.model, np.random.default_rng(seed), signed, zeros)
    return graph
