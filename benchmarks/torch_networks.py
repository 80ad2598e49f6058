"""Keras models as PyTorch networks with the same weights, for the comparisons with PyTorch's spiking libraries."""

import numpy as np


def in_torch(model):
    """Return a Keras model as a PyTorch module whose layers are modules."""
    import torch

    from snnpipe.frameworks.keras_graph import nodes

    steps, modules, padding = [], {}, {}
    for node in nodes(model):
        layer, inputs = node.layer, node.keras_inputs or []
        kind, name = type(layer).__name__, layer.name.replace(".", "_")
        if kind == "ZeroPadding2D":
            padding[id(node.outputs)] = layer.padding
        made = _module(torch, layer, [tuple(tensor.shape) for tensor in inputs])
        if kind == "Conv2D" and id(inputs[0]) in padding:
            (top, bottom), (left, right) = padding[id(inputs[0])]
            assert (top, left) == (bottom, right), "PyTorch pads both sides alike"
            made.padding = (top, left)
        if made is not None:
            modules[name] = made
        activation = getattr(layer, "activation", None)
        rectified = kind != "ReLU" and getattr(activation, "__name__", "linear") == "relu"
        if rectified:
            modules[f"{name}_relu"] = torch.nn.ReLU()
        steps.append((kind, name, [id(tensor) for tensor in inputs], id(node.outputs), rectified))

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name, module in modules.items():
                self.add_module(name, module)

        def forward(self, x):
            values = {}
            for kind, name, inputs, output, rectified in steps:
                if kind == "InputLayer":
                    values[output] = x
                    continue
                if kind == "Add":
                    values[output] = sum((values[one] for one in inputs[1:]), values[inputs[0]])
                elif name in modules:
                    values[output] = getattr(self, name)(values[inputs[0]])
                else:
                    values[output] = values[inputs[0]]
                if rectified:
                    values[output] = getattr(self, f"{name}_relu")(values[output])
            return values[output]

    return Network().eval()


def _module(torch, layer, shapes):
    """Return a PyTorch module for a Keras layer; None for a layer that passes on what it gets, and for sums."""
    nn, kind = torch.nn, type(layer).__name__
    weights = [torch.tensor(w) for w in layer.get_weights()]
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
    if kind == "ReLU":
        return nn.ReLU()
    if kind == "Flatten":
        return nn.Flatten()
    if kind in ("InputLayer", "ZeroPadding2D", "Add", "Activation", "Dropout"):
        return None
    raise SystemExit(f"no counterpart of {kind} here")


def reordered(model):
    """Let each dense layer behind a Flatten take its inputs with channels first, as PyTorch flattens them."""
    from snnpipe.frameworks.keras_graph import nodes

    flat = {id(node.outputs): tuple(node.keras_inputs[0].shape[1:]) for node in nodes(model) if _flattens(node)}
    for node in nodes(model):
        if type(node.layer).__name__ == "Dense" and id(node.keras_inputs[0]) in flat:
            shape = flat[id(node.keras_inputs[0])]
            order = np.moveaxis(np.arange(np.prod(shape)).reshape(shape), -1, 0).ravel()
            kernel, *rest = node.layer.get_weights()
            node.layer.set_weights([kernel[order], *rest])
    return model


def _flattens(node):
    return type(node.layer).__name__ == "Flatten"
