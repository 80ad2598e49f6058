"""Residual networks and stages of convolutions: their layers, and what they cannot take."""

import dataclasses

import nengo
import numpy as np
import pytest
import tf_keras as keras
from configs import composed

from snnpipe import (
    ClockDrivenSimulator,
    ConstantEncoder,
    EventDrivenSimulator,
    NengoDLConverter,
    NengoDLSimulator,
    ResNet,
    Stimulus,
    Vgg,
)
from snnpipe.base.errors import ConfigError, ModelError
from snnpipe.config.targets import build_node
from snnpipe.testing import SPEC, check_architecture

CIFAR = dataclasses.replace(SPEC, name="cifar10", input_shape=(32, 32, 3))


def kinds(model):
    return [type(layer).__name__ for layer in model.layers]


@pytest.mark.parametrize("depth", [8, 14, 20])
def test_the_depth_of_a_residual_network_counts_layers_on_its_longest_path(depth):
    model = ResNet(depth=depth).build(CIFAR)
    shortcuts = [layer.name for layer in model.layers if layer.name.endswith("_shortcut")]
    assert kinds(model).count("Conv2D") + kinds(model).count("Dense") - len(shortcuts) == depth
    assert len(shortcuts) == 2, "where the shape changes"
    assert kinds(model).count("Add") == (depth - 2) // 2
    assert kinds(model).count("BatchNormalization") == kinds(model).count("Conv2D")
    shapes = [layer.output.shape[1:] for layer in model.layers if layer.name.endswith("_add")]
    assert list(dict.fromkeys(map(tuple, shapes))) == [(32, 32, 16), (16, 16, 32), (8, 8, 64)]


def test_resnet_20_has_the_weights_of_the_paper():
    """0.27 million in table 6, with shortcuts that have none."""
    model = build_node(composed("model=resnet20")["model"], "model").build(
        dataclasses.replace(CIFAR, n_classes=10, class_names=tuple("0123456789"))
    )
    assert round(model.count_params() / 1e6, 2) == 0.27


def test_vgg_11_has_eight_convolutions_and_five_poolings():
    model = build_node(composed("model=vgg11")["model"], "model").build(CIFAR)
    assert (kinds(model).count("Conv2D"), kinds(model).count("AveragePooling2D")) == (8, 5)
    assert model.get_layer("stage5_pool").output.shape[1:] == (1, 1, 512)


def test_options_of_the_stages():
    plain = Vgg(stages=[[2], [3]], pooling="max", flatten=True, batch_normalization=False, dense=[4]).build(SPEC)
    assert {"MaxPooling2D", "Flatten"} <= set(kinds(plain)) and "BatchNormalization" not in kinds(plain)
    assert all(layer.use_bias for layer in plain.layers if isinstance(layer, keras.layers.Conv2D))
    for normalize in (False, True):
        names = [layer.name for layer in Vgg([[2, 2]], pooling="max", batch_normalization=normalize).build(SPEC).layers]
        assert names.index("conv2d_1") < names.index("stage1_pool") < names.index("conv2d_1_relu")
    normalized = Vgg(stages=[[2], [3]], dense=[4]).build(SPEC)
    assert kinds(normalized).count("BatchNormalization") == 3
    assert [layer.use_bias for layer in normalized.layers if hasattr(layer, "use_bias")] == [False] * 3 + [True]


@pytest.mark.parametrize("architecture", [ResNet(), Vgg()])
def test_contract(architecture):
    check_architecture(architecture)
    with pytest.raises(ModelError, match="takes samples of shape .height, width, channels.*model=mlp"):
        architecture.build(dataclasses.replace(SPEC, input_shape=(30,)))


def test_what_cannot_be_built_is_said():
    with pytest.raises(ModelError, match="model.stages: 6 stages each halve the image, .* 5 times: give fewer stages"):
        Vgg(stages=[[2]] * 6).build(CIFAR)
    with pytest.raises(ConfigError, match=r"model.depth: got 10: should be 6n \+ 2, such as 8, 14, 20"):
        ResNet(depth=10)
    with pytest.raises(ConfigError, match=r"model.stages: got \[32, 64\]: takes a list of stages"):
        Vgg(stages=[32, 64])
    with pytest.raises(ModelError, match="model.initializer: Keras has no initialiser 'he'"):
        ResNet(initializer="he").build(CIFAR)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [ResNet(depth=14, filters=[3, 4, 5]), Vgg(stages=[[3, 4], [5]], dense=[6])])
def test_all_simulators_give_the_same_spikes(architecture):
    model = architecture.build(SPEC)
    neuron = nengo.SpikingRectifiedLinear()
    network = NengoDLConverter(neuron=neuron, scale_firing_rates=300.0, synapse=None).convert(model, seed=0)
    images = np.random.default_rng(0).normal(0, 1, (3, *SPEC.input_shape)).astype(np.float32)
    spikes = []
    for simulator in (NengoDLSimulator, ClockDrivenSimulator, EventDrivenSimulator):
        with simulator(n_steps=20, batch_size=3, precision="float64").open(network) as opened:
            chunks = list(opened.run(Stimulus(images, range(3), ConstantEncoder())))
        names = chunks[0].layers
        spikes.append({name: sum(chunk.layers[name].counts_bn for chunk in chunks) for name in names})
    for others in spikes[1:]:
        assert all(np.array_equal(counts, others[name]) for name, counts in spikes[0].items())
    assert all(counts.any() for counts in spikes[0].values())
