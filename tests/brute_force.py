"""Synapses and multiply-accumulates counted without knowing layers: one value is changed, and what changes is counted.

For any functional Keras model of elementwise activations, run by Keras's own layers. Its weights must be such that
sums do not cancel: positive, or drawn from a density.
"""

import numpy as np

from snnpipe.frameworks.keras_graph import activation_name, is_neuron_layer, nodes

WEIGHTS = ("kernel", "depthwise_kernel")
_BATCH = 2048


def units(model):
    """The layers that apply an activation."""
    return [node.layer.name for node in nodes(model) if is_unit(node.layer)]


def is_unit(layer):
    return is_neuron_layer(layer) or activation_name(layer) != "linear"


def linear_parts(model):
    """Run a model whose activations are cut: what each layer of units computes, from the image and what units give."""
    runs = [(node, _without_activation(node.layer)) for node in nodes(model)]

    def run(image, given):
        tensors, computed = {}, {}
        for node, linear in runs:
            name = node.layer.name
            if linear is None:
                tensors[id(node.outputs)] = image
                continue
            inputs = [tensors[id(tensor)] for tensor in node.keras_inputs]
            value = np.asarray(linear(inputs if len(inputs) > 1 else inputs[0]))
            if is_unit(node.layer):
                computed[name] = value
                value = given[name]
            tensors[id(node.outputs)] = value
        if not is_unit(_last(model)):
            computed["(output)"] = tensors[id(model.outputs[0])]
        return computed, tensors

    return run


def _without_activation(layer):
    kind = type(layer).__name__
    if kind == "InputLayer":
        return None
    if not is_unit(layer):
        return layer
    if not hasattr(layer, "kernel") and not hasattr(layer, "depthwise_kernel"):
        return lambda x: x
    copied = type(layer).from_config(layer.get_config() | {"activation": "linear"})
    copied.build(layer.input.shape)
    copied.set_weights(layer.get_weights())
    return copied


def _last(model):
    return next(node.layer for node in nodes(model) if node.outputs is model.outputs[0])


def shapes_of_units(model):
    return {node.layer.name: tuple(node.outputs.shape[1:]) for node in nodes(model) if is_unit(node.layer)}


def fan_out(model):
    """Each neuron spikes alone: how many units and outputs compute something else then, with other units silent."""
    run, shapes = linear_parts(model), shapes_of_units(model)
    found = {}
    for name, shape in shapes.items():
        size, counts = int(np.prod(shape)), []
        for first in range(0, size, _BATCH):
            spikes = np.eye(size)[first : first + _BATCH]
            batch = np.concatenate([np.zeros((1, size)), spikes]).reshape(-1, *shape)
            given = {other: np.zeros((len(batch), *of)) for other, of in shapes.items()} | {name: batch}
            computed, _ = run(np.zeros((len(batch), *model.input_shape[1:])), given)
            counts.append(sum(changed(value).sum(axis=1) for value in computed.values()))
        found[name] = np.concatenate(counts)
    return found


def changed(value):
    """Which entries of each row but the first differ from the first row."""
    rows = value.reshape(len(value), -1)
    return ~np.isclose(rows[1:], rows[:1], rtol=1e-10, atol=1e-10)


def macs(model, input_alone=False):
    """Pairs of an input and an output of each layer with weights, of which the one changes with the other.

    Inputs that change neither with the input nor with a unit do not count; with ``input_alone`` not those either that
    change with neurons only.
    """
    run, shapes, rng = linear_parts(model), shapes_of_units(model), np.random.default_rng(0)
    others = {node.layer.name for node in nodes(model) if is_unit(node.layer) and not is_neuron_layer(node.layer)}

    def draw(shape, changes):
        return rng.uniform(0.5, 1, (3, *shape)) if changes else np.ones((3, *shape))

    given = {name: draw(shape, not input_alone) for name, shape in shapes.items()}
    image = draw(model.input_shape[1:], True)
    while True:  # rate units of the image change with it, and so do those behind them
        computed, tensors = run(image, given)
        late = {name for name in others if input_alone and not np.array_equal(given[name], computed[name])}
        if not late:
            break
        given |= {name: computed[name] for name in late}
    found = {}
    for node in nodes(model):
        layer = node.layer
        if not any(hasattr(layer, kernel) for kernel in WEIGHTS):
            continue
        (tensor,) = node.keras_inputs
        value = np.asarray(tensors[id(tensor)])
        live = changed(value).any(axis=0)
        size = len(live)
        batch = np.concatenate([np.zeros((1, size)), np.eye(size)[live]]).reshape(-1, *value.shape[1:])
        found[layer.name] = int(changed(np.asarray((_without_activation(layer))(batch))).sum())
    return found


def weights(model, rng, signed=False, zeros=0.0, biases=True):
    """Set a model's weights to positive numbers, or to ones of either sign, a share of them exactly 0."""
    for layer in model.layers:
        drawn = []
        for weight, value in zip(layer.weights, layer.get_weights(), strict=True):
            number = rng.uniform(0.5, 1.5, value.shape)
            if "moving_variance" not in weight.name:
                number *= rng.choice([-1, 1], value.shape) if signed else 1
                number *= rng.uniform(size=value.shape) >= zeros
            drawn.append(number if biases or "bias" not in weight.name else 0 * number)
        layer.set_weights(drawn)
    return model
