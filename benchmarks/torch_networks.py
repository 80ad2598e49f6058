"""Keras models as PyTorch networks with the same weights, for the comparisons with PyTorch's spiking libraries."""

import numpy as np


def in_torch(model, rectifier=None):
    """Return a Keras model as a PyTorch module whose layers are modules, with normalisation folded into weights.

    ``rectifier`` makes the module in place of a layer's ReLU, from the layer's name; None for ReLUs. The module has
    ``current``, a function from inputs to what the first rectifier gets, and ``onwards``, the rest of the network.
    """
    import torch

    from snnpipe.frameworks.keras_graph import nodes

    make = rectifier or (lambda name: torch.nn.ReLU())
    steps, modules, padding, flat, source, folded = [], {}, {}, {}, {}, []
    for node in nodes(model):
        layer, inputs = node.layer, node.keras_inputs or []
        kind, name = type(layer).__name__, layer.name.replace(".", "_")
        if kind == "ZeroPadding2D":
            padding[id(node.outputs)] = layer.padding
        if kind == "Flatten":
            flat[id(node.outputs)] = tuple(inputs[0].shape[1:])
        weights = layer.get_weights()
        if kind == "Dense" and id(inputs[0]) in flat:
            weights[0] = _channels_first(weights[0], flat[id(inputs[0])])
        shapes = [tuple(tensor.shape) for tensor in inputs]
        made = make(layer.name) if kind == "ReLU" else _module(torch, layer, weights, shapes)
        if kind == "Conv2D" and id(inputs[0]) in padding:
            (top, bottom), (left, right) = padding[id(inputs[0])]
            assert (top, left) == (bottom, right), "PyTorch pads both sides alike"
            made.padding = (top, left)
        if kind == "BatchNormalization" and id(inputs[0]) in source:
            folded.append((source[id(inputs[0])], made))
            made = None
        if made is not None:
            modules[name] = made
        if kind in ("Conv2D", "Dense"):
            source[id(node.outputs)] = name
        if rectified := kind != "ReLU" and getattr(getattr(layer, "activation", None), "__name__", "") == "relu":
            modules[f"{name}_relu"] = make(layer.name)
        steps.append((kind, name, [id(tensor) for tensor in inputs], id(node.outputs), rectified))
    for name, normalisation in folded:
        of = torch.nn.utils.fusion
        fuse = of.fuse_linear_bn_eval if isinstance(modules[name], torch.nn.Linear) else of.fuse_conv_bn_eval
        modules[name] = fuse(modules[name].eval(), normalisation.eval())
    first = next(i for i, (kind, *_, rectified) in enumerate(steps) if rectified or kind == "ReLU")

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, module in modules.items():
                self.add_module(name, module)

        def forward(self, x):
            return self.onwards(self.current(x))

        def current(self, x):
            values = {}
            for step in steps[: first + 1]:
                self._run(step, values, x, rectified=step is not steps[first])
            return values[steps[first][3]]

        def onwards(self, current):
            kind, name, _, output, _ = steps[first]
            values = {output: getattr(self, name if kind == "ReLU" else f"{name}_relu")(current)}
            for step in steps[first + 1 :]:
                self._run(step, values, None, rectified=True)
            return values[steps[-1][3]]

        def _run(self, step, values, x, *, rectified):
            kind, name, inputs, output, has_relu = step
            if kind == "InputLayer":
                values[output] = x
            elif kind == "Add":
                values[output] = sum((values[one] for one in inputs[1:]), values[inputs[0]])
            elif name in modules and (kind != "ReLU" or rectified):
                values[output] = getattr(self, name)(values[inputs[0]])
            else:
                values[output] = values[inputs[0]]
            if has_relu and rectified:
                values[output] = getattr(self, f"{name}_relu")(values[output])

    return Network().eval()


def _channels_first(kernel, shape):
    """Return a dense layer's weights for values that are flattened with channels first, as PyTorch does."""
    return kernel[np.moveaxis(np.arange(np.prod(shape)).reshape(shape), -1, 0).ravel()]


def _module(torch, layer, weights, shapes):
    """Return a PyTorch module for a Keras layer; None for a layer that passes on what it gets, and for sums."""
    nn, kind = torch.nn, type(layer).__name__
    weights = [torch.tensor(w) for w in weights]
    if kind == "Conv2D":
        same = tuple(width // 2 for width in layer.kernel_size) if layer.padding == "same" else 0
        assert not same or layer.strides == (1, 1), "PyTorch pads both sides alike"
        made = nn.Conv2d(shapes[0][-1], layer.filters, layer.kernel_size, layer.strides, same, bias=layer.use_bias)
        with torch.no_grad():
            made.weight.copy_(weights[0].permute(3, 2, 0, 1))
            if layer.use_bias:
                made.bias.copy_(weights[1])
        return made
    if kind == "Dense":
        made = nn.Linear(*weights[0].shape, bias=layer.use_bias)
        with torch.no_grad():
            made.weight.copy_(weights[0].T)
            if layer.use_bias:
                made.bias.copy_(weights[1])
        return made
    if kind == "BatchNormalization":
        made = (nn.BatchNorm2d if len(shapes[0]) == 4 else nn.BatchNorm1d)(shapes[0][-1], eps=layer.epsilon)
        gamma, beta, mean, variance = weights
        with torch.no_grad():
            for own, value in zip((made.weight, made.bias), (gamma, beta), strict=True):
                own.copy_(value)
            made.running_mean.copy_(mean)
            made.running_var.copy_(variance)
        return made
    if kind == "AveragePooling2D":
        return nn.AvgPool2d(layer.pool_size, layer.strides)
    if kind == "GlobalAveragePooling2D":
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    if kind == "Flatten":
        return nn.Flatten()
    if kind in ("InputLayer", "ZeroPadding2D", "Add", "Activation", "Dropout"):
        return None
    raise SystemExit(f"no counterpart of {kind} here")
