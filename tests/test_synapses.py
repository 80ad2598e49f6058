"""Synapses and multiply-accumulates: by hand as in docs/metrics.md, and by brute force on drawn networks."""

import time
from collections import Counter

import brute_force
import nengo
import numpy as np
import pytest
import tf_keras as keras
from hypothesis import HealthCheck, Phase, given, note, seed, settings
from linear_graphs import graphs

from snnpipe import NengoDLConverter
from snnpipe.conversion import synapses
from snnpipe.conversion.native import IdentityConverter, spiking_network
from snnpipe.conversion.synapses import costs, fan_out, macs
from snnpipe.frameworks.compat import import_nengo_dl
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.metrics.memory import peak_memory_mb

layers = keras.layers


def chain(shape, *middle):
    """A model whose input is the current of a layer of neurons named `n`."""
    image = keras.Input(shape)
    x = layers.ReLU(name="n")(image)
    for layer in middle:
        x = layer(x)
    return brute_force.weights(keras.Model(image, x), np.random.default_rng(0))


# ---------------------------------------------------------------------- by hand, as docs/metrics.md has it

BY_HAND = {
    "two dense layers": (
        lambda: chain((6,), layers.Dense(4, name="a"), layers.Dense(5, name="b")),
        [5] * 6,
        {"a": 6 * 4, "b": 4 * 5},
    ),
    "two convolutions": (
        lambda: chain(
            (5, 1), layers.Conv1D(2, 3, padding="same", name="a"), layers.Conv1D(1, 3, padding="same", name="b")
        ),
        [3, 4, 5, 4, 3],
        {"a": 13 * 2, "b": 13 * 2},
    ),
    "pooling with padding": (
        lambda: chain((5, 1), layers.AveragePooling1D(3, strides=1, padding="same"), layers.ReLU()),
        [2, 3, 3, 3, 2],
        {},
    ),
    "pooling that overlaps": (
        lambda: chain((5, 1), layers.AveragePooling1D(3, strides=1), layers.Flatten(), layers.Dense(7, name="a")),
        [7] * 5,
        {"a": 3 * 7},
    ),
    "pooling that cuts off": (
        lambda: chain((5, 1), layers.AveragePooling1D(2), layers.Flatten(), layers.Dense(7, name="a")),
        [7, 7, 7, 7, 0],
        {"a": 2 * 7},
    ),
    "padding": (
        lambda: chain((4, 1), layers.ZeroPadding1D(1), layers.Conv1D(1, 3, name="a")),
        [2, 3, 3, 2],
        {"a": 10},
    ),
    "the same padding": (
        lambda: chain((4, 1), layers.Conv1D(1, 3, padding="same", name="a")),
        [2, 3, 3, 2],
        {"a": 10},
    ),
    "causal padding": (
        lambda: chain((4, 1), layers.Conv1D(1, 3, padding="causal", name="a")),
        [3, 3, 2, 1],
        {"a": 9},
    ),
    "upsampling": (
        lambda: chain((3, 1), layers.UpSampling1D(2), layers.Conv1D(1, 3, padding="same", name="a")),
        [3, 4, 3],
        {"a": 16},
    ),
    "cropping": (
        lambda: chain((4, 1), layers.Cropping1D((1, 0)), layers.Conv1D(1, 3, padding="same", name="a")),
        [0, 2, 3, 2],
        {"a": 7},
    ),
    "groups": (
        lambda: chain((4, 2), layers.Conv1D(4, 3, padding="same", groups=2, name="a")),
        [4, 4, 6, 6, 6, 6, 4, 4],
        {"a": 10 * 2 * 2},
    ),
    "depthwise and pointwise": (
        lambda: chain((4, 2), layers.DepthwiseConv1D(3, padding="same", name="a"), layers.Conv1D(5, 1, name="b")),
        [10, 10, 15, 15, 15, 15, 10, 10],
        {"a": 10 * 2, "b": 4 * 2 * 5},
    ),
    "a transposed convolution": (
        lambda: chain((3, 1), layers.Conv1DTranspose(1, 3, strides=2, name="a")),
        [3, 3, 3],
        {"a": 9},
    ),
    "a dense layer on the last axis": (
        lambda: chain((3, 4), layers.Dense(2, name="a")),
        [2] * 12,
        {"a": 3 * 4 * 2},
    ),
    "rate units": (
        lambda: chain((6,), layers.Dense(3, activation="tanh", name="a"), layers.Dense(4, name="b")),
        [3] * 6,
        {"a": 6 * 3, "b": 3 * 4},
    ),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_connections_by_hand(name):
    build, drives, multiplied = BY_HAND[name]
    model = build()
    assert fan_out(model)["n"].tolist() == drives
    assert macs(model) == multiplied


def test_a_pair_that_two_branches_join_counts_once():
    image = keras.Input((4, 1))
    x = layers.ReLU(name="n")(image)
    both = layers.Add()([x, layers.Conv1D(1, 3, padding="same")(x)])
    model = brute_force.weights(keras.Model(image, both), np.random.default_rng(0))
    assert fan_out(model)["n"].tolist() == [2, 3, 3, 2]


def test_paths_that_cancel_count_and_a_weight_of_zero_does_not():
    image = keras.Input((3,))
    x = layers.ReLU(name="n")(image)
    model = keras.Model(image, layers.Add()([layers.Dense(1, use_bias=False)(x), layers.Dense(1, use_bias=False)(x)]))
    model.set_weights([np.array([[1.0], [1.0], [0.0]]), np.array([[-1.0], [1.0], [0.0]])])
    assert brute_force.fan_out(model)["n"].tolist() == [0, 1, 0]
    assert fan_out(model)["n"].tolist() == [1, 1, 0]
    gamma = chain((3, 2), layers.BatchNormalization(), layers.Flatten(), layers.Dense(5))
    gamma.layers[2].set_weights([np.array([1.0, 0.0]), *gamma.layers[2].get_weights()[1:]])
    assert fan_out(gamma)["n"].tolist() == [5, 0] * 3


def test_a_layer_that_takes_image_and_neurons():
    image = keras.Input((3,))
    own = layers.Dense(2, activation="relu", name="own")(image)
    both = layers.Dense(4, activation="relu", name="both")(layers.Concatenate()([image, own]))
    model = brute_force.weights(keras.Model(image, layers.Dense(5, name="out")(both)), np.random.default_rng(0))
    assert {name: set(n.tolist()) for name, n in fan_out(model).items()} == {"own": {4}, "both": {5}}
    assert macs(model) == {"own": 3 * 2, "both": (3 + 2) * 4, "out": 4 * 5}
    assert macs(model, input_alone=True) == {"own": 3 * 2, "both": 3 * 4, "out": 0}
    assert costs(model).first_layer_macs == 18


def test_rate_units_are_targets_and_sources():
    model = chain((6,), layers.Dense(3, activation="sigmoid", name="gate"), layers.Dense(4))
    assert {name: n.tolist() for name, n in fan_out(model).items()} == {"n": [3] * 6, "gate": [4] * 3}
    assert costs(model).rate_units == {"gate": 3}


@pytest.mark.slow
def test_counting_in_parts_changes_nothing(monkeypatch):
    image = keras.Input((5, 5, 2))
    x = layers.ReLU(name="n")(image)
    y = layers.Conv2D(3, 3, padding="same")(layers.AveragePooling2D(3, strides=1, padding="same")(x))
    y = layers.Concatenate()(
        [layers.Conv2D(2, 3, padding="same")(layers.Add()([y, layers.Conv2D(3, 3, padding="same")(x)])), x]
    )
    model = brute_force.weights(keras.Model(image, layers.Conv2D(2, 2)(y)), np.random.default_rng(1), zeros=0.4)
    whole = fan_out(model)["n"]
    for entries, paths in ((200, 10**9), (10**9, 200), (1, 1)):
        monkeypatch.setattr(synapses, "_ENTRIES", entries)
        monkeypatch.setattr(synapses, "_PATHS", paths)
        assert np.array_equal(fan_out(model)["n"], whole)
    assert np.array_equal(whole, brute_force.fan_out(model)["n"])


# ---------------------------------------------------------------------- where they cannot be counted


def converted(*middle, shape=(6, 6, 1), **settings):
    model = chain(shape, *middle, layers.Flatten(), layers.Dense(3, name="out"))
    settings = {"neuron": nengo.SpikingRectifiedLinear(), "scale_firing_rates": 1.0, "synapse": None, **settings}
    return NengoDLConverter(**settings).convert(model, seed=0)


@pytest.mark.parametrize(
    ("middle", "settings", "says"),
    [
        (
            lambda: [layers.Flatten(), layers.Dense(8, activation="sigmoid", name="gate")],
            {},
            "layer 'gate' does not spike: its 8 units send a rate at every step",
        ),
        (
            lambda: [layers.Flatten(), layers.Dense(1, activation="tanh", name="gate")],
            {},
            "layer 'gate' does not spike: its unit sends a rate at every step",
        ),
        (
            lambda: [layers.Flatten(), layers.Dense(8, activation="relu", name="hidden")],
            {"neuron": {"n": nengo.LIF()}},
            "layer 'hidden' does not spike: its 8 units send a rate at every step",
        ),
        (
            lambda: [layers.Flatten(), layers.Dense(8, activation="sigmoid", name="gate")],
            {"neuron": nengo.RectifiedLinear()},
            "layers 'n' and 'gate' do not spike: their 44 units send rates at every step",
        ),
        (
            lambda: [layers.LayerNormalization(name="odd")],
            {"allow_fallback": True},
            "layer 'odd' (LayerNormalization) runs as a TensorNode, and not as synapses",
        ),
        (lambda: [layers.MaxPooling2D(name="pool")], {}, ""),
        (lambda: [layers.MaxPooling2D(name="pool")], {"max_pooling": "average"}, ""),
        (lambda: [layers.Conv2D(2, 3, activation="relu"), layers.AveragePooling2D()], {}, ""),
    ],
)
@pytest.mark.filterwarnings("ignore:.*Falling back to TensorNode")
def test_why_a_converted_network_has_no_synops(middle, settings, says):
    assert converted(*middle(), **settings).no_synops == says


@pytest.mark.parametrize(
    ("layer", "says"),
    [
        (lambda: layers.Conv2D(2, 3), ""),
        (
            lambda: layers.LayerNormalization(name="odd"),
            "layer 'odd' is a LayerNormalization, and no sum of weighted inputs",
        ),
        (
            lambda: layers.Conv2D(2, 3, activation="tanh", name="conv"),
            "layer 'conv' does not spike: its 8 units send a rate at every step",
        ),
    ],
)
def test_why_a_native_network_has_no_synops(layer, says):
    nengo_dl = import_nengo_dl()
    with nengo.Network(seed=0) as network:
        network.config[nengo.Connection].synapse = None
        image = nengo.Node(np.zeros(16))
        x = nengo_dl.Layer(layer())(image, shape_in=(4, 4, 1))
        x = nengo_dl.Layer(nengo.LIF())(x, label="n")
        output = nengo.Probe(nengo_dl.Layer(layers.Dense(3))(x))
    native = NativeNetwork(network, image, output)
    assert IdentityConverter().convert(native, seed=0).no_synops == says


def test_a_network_that_cannot_be_read_has_no_synops():
    with nengo.Network() as network:
        image = nengo.Node(np.zeros(4))
        ensemble = nengo.Ensemble(4, 4)
        nengo.Connection(image, ensemble)
        found = spiking_network(network, image, nengo.Probe(ensemble.neurons))
    assert found.no_synops.startswith("it cannot be read as layers: ")


# ---------------------------------------------------------------------- by brute force


WANTED = {
    *(f"{kind}{n}D" for kind in ("Conv", "AveragePooling", "GlobalAveragePooling", "ZeroPadding") for n in (1, 2, 3)),
    *(f"{kind}{n}D" for kind in ("UpSampling", "Cropping") for n in (1, 2, 3)),
    *(
        f"{kind}{n}D padding {how}"
        for kind in ("Conv", "AveragePooling")
        for n in (1, 2, 3)
        for how in ("same", "valid")
    ),
    *("Conv1D padding causal", "Conv1D groups", "Conv2D groups", "DepthwiseConv1D", "DepthwiseConv2D"),
    *("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "Permute", "Reshape", "Flatten", "Dense"),
    *("Add", "Average", "Concatenate", "BatchNormalization", "Rescaling", "ReLU", "LeakyReLU", "Activation sigmoid"),
    *(f"signed {signed}, zeros {zeros}" for signed in (False, True) for zeros in (0.0, 0.3)),
}
"""What two hundred networks must have had, each at least once."""


def check_graphs(count, first_seed):
    """Check so many drawn models, no two of the same layers; return how many had what.

    A search of Hypothesis's repeats itself, so there are many.
    """
    kinds, seen = Counter(), set()

    def search(number):
        @seed(number)
        @settings(
            max_examples=10,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(graphs())
        def check(graph):
            layers_of_it = str(graph).rpartition("\n")[0]
            if len(seen) == count or layers_of_it in seen:
                return
            note(str(graph))
            assert_as_brute_force(graph.model)
            seen.add(layers_of_it)
            kinds.update(graph.kinds)
            keras.backend.clear_session()

        check()

    while len(seen) < count:
        search(first_seed)
        first_seed += 1
    return kinds


def assert_as_brute_force(model):
    found, wanted = fan_out(model), brute_force.fan_out(model)
    assert found.keys() == wanted.keys()
    for name in found:
        assert np.array_equal(found[name], wanted[name]), f"{name}: {found[name]} and not {wanted[name]}"
    assert macs(model) == brute_force.macs(model)
    assert macs(model, input_alone=True) == brute_force.macs(model, input_alone=True)


@pytest.mark.slow
def test_drawn_networks():
    assert {"Add", "Concatenate", "ReLU"} <= set(check_graphs(25, first_seed=0))


@pytest.mark.long
def test_two_hundred_drawn_networks():
    kinds = check_graphs(200, first_seed=1000)
    print("\n".join(f"{count:4d} of 200: {kind}" for kind, count in sorted(kinds.items())))
    assert not WANTED - set(kinds)


def resnet20():
    image = x = keras.Input((32, 32, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    for filters in (16, 32, 64):
        for block in range(3):
            strides = 2 if filters > 16 and not block else 1
            y = layers.Conv2D(filters, 3, strides=strides, padding="same")(x)
            y = layers.Conv2D(filters, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(y)))
            x = layers.Conv2D(filters, 1, strides=2)(x) if strides == 2 else x
            x = layers.ReLU()(layers.Add()([x, layers.BatchNormalization()(y)]))
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def vgg11():
    image = x = keras.Input((32, 32, 3))
    for filters, pooled in ((64, 1), (128, 1), (256, 0), (256, 1), (512, 0), (512, 1), (512, 0), (512, 1)):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu")(x)
        x = layers.AveragePooling2D()(x) if pooled else x
    x = layers.Flatten()(x)
    for _ in range(2):
        x = layers.Dense(4096, activation="relu")(x)
    return keras.Model(image, layers.Dense(10)(x))


@pytest.mark.slow
@pytest.mark.parametrize("build", [resnet20, vgg11])
def test_large_networks_take_seconds(build):
    model, before, began = build(), peak_memory_mb(), time.process_time()
    found = costs(model)
    assert time.process_time() - began < 10
    assert peak_memory_mb() - before < 2000
    # nothing here joins a pair twice: synapses are multiply-accumulates, as often as a weight is behind pooled neurons
    wanted, pooled, of_layer = -found.first_layer_macs, 1, macs(model)
    for layer in model.layers:
        pooled = {"AveragePooling2D": 4, "GlobalAveragePooling2D": 64}.get(type(layer).__name__, pooled)
        if layer.name in of_layer:
            wanted, pooled = wanted + pooled * of_layer[layer.name], 1
    if build is resnet20:
        wanted += 3 * 16 * 32 * 32 + 2 * 32 * 16 * 16 + 2 * 64 * 8 * 8  # shortcuts
    assert sum(int(n.sum()) for n in found.fan_out.values()) == wanted
