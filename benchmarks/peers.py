"""The same spiking network in SpikingJelly, snnTorch, Norse and sinabs, each as fast on a CPU as it can be made.

What was measured to be best is the same for all four: one step of the whole network is a function of the state,
written with the library's own integrate-and-fire neuron and low-pass, and compiled as one graph by ``torch.compile``
(which needs a C++ compiler), which fuses rectifier, neuron, pooling and filter into two loops per layer; images in
batches of moderate size, in channels-last memory. Without the compiler it takes 2-4 times as long, and so do the
multi-step modes, layer by layer (compiled, tried in plain PyTorch only: minutes of warm-up for no clear gain).

Scales are folded into the weights: currents are in spikes per step, thresholds 1. The first layer's current is constant
and computed once, spikes are pooled before they are filtered, logits are computed at the last step only. Everything is
float32. The neurons of all but sinabs emit at most one spike a step and carry the rest over, which is enough at firing
rates below 1 / dt; those of snnTorch and Norse fire above the threshold, not at it.
"""

import contextlib
import functools
import importlib
import importlib.metadata
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Simulate = Callable[[Array], Array]
Fire = Callable[[Any, Any], tuple[Any, Any]]  # current, voltage -> spikes, voltage
Smooth = Callable[[Any, Any], Any]  # input, state -> state
Cells = Callable[[float], tuple[Fire, Smooth]]  # decay of the low-pass in a step -> both

_BATCH = 50  # images per thread and batch


@dataclass(frozen=True)
class Weights:
    """Weights of a convolutional network, in Keras's layout.

    Each convolution is 3x3, 'same', stride 1, and followed by neurons and a 2x2 average pooling.
    """

    image_shape: tuple[int, int, int]  # height, width, channels
    convolutions: tuple[tuple[Array, Array], ...]  # kernel [3, 3, in, out], bias
    dense: tuple[Array, Array]  # kernel [in, out], bias
    logits: tuple[Array, Array]
    voltages: tuple[Array, ...]  # initial ones of each layer of neurons, flat


class Make(Protocol):
    """Builds a network in one library."""

    def __call__(self, weights: Weights, *, scale: float, synapse: float, dt: float, n_steps: int) -> Simulate: ...


def available() -> dict[str, Make]:
    """Return those of the libraries that can be imported."""
    makers: dict[str, Make] = {}
    for name, (module, cells) in _LIBRARIES.items():
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
            makers[name] = functools.partial(_make, cells)
    return makers


def versions() -> dict[str, str]:
    """Return the installed versions of PyTorch and the libraries."""
    found = {}
    for name in ("torch", *(name.lower() for name in _LIBRARIES)):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def set_threads(n: int) -> None:
    """Let PyTorch use ``n`` threads."""
    import torch

    torch.set_num_threads(n)


def available_for(model: Any, thresholds: dict[str, float]) -> dict[str, Callable[[int], Simulate]]:
    """Return those of the libraries that can be imported, each as a function from a number of steps to a network.

    Parameters
    ----------
    model
        A Keras model of convolutions, dense layers, normalisation, sums, average pooling and ReLUs. What follows an
        input must be one linear layer.
    thresholds
        Activation that becomes one spike per step, by the name of the layer with the ReLU.
    """
    return {name: functools.partial(_whole, make.args[0], model, thresholds) for name, make in available().items()}


def _whole(cells: Cells, model: Any, thresholds: dict[str, float], n_steps: int) -> Simulate:
    """Build a network of signed neurons without filters, whose output is the mean of the logits."""
    import torch
    from torch_networks import in_torch

    fire, _ = cells(0.5)
    made = []

    class Neurons(torch.nn.Module):
        def __init__(self, threshold: float):
            super().__init__()
            self.threshold, self.voltage = threshold, None

        def forward(self, current: Any) -> Any:
            voltage = torch.full_like(current, 0.5) if self.voltage is None else self.voltage
            spikes, self.voltage = fire(current / self.threshold, voltage)
            return spikes * self.threshold

    def neurons(name: str) -> Any:
        made.append(Neurons(thresholds[name]))
        return made[-1]

    network = in_torch(model, neurons).to(memory_format=torch.channels_last)

    def step(current: Any, voltages: Sequence[Any]) -> tuple[Any, list[Any]]:
        for own, voltage in zip(made, voltages, strict=True):
            own.voltage = voltage
        logits, after = network.onwards(current), [own.voltage for own in made]
        for own in made:
            own.voltage = None
        return logits, after

    compiled = _compile(step)

    @functools.cache
    def first_voltages(n: int, shape: tuple[int, ...]) -> list[Any]:
        """Return the voltages before the first step, whose shapes are those of a pass through the network."""
        _, after = step(torch.zeros(1, *shape), [None] * len(made))
        return [_last(torch.full((n, *voltage.shape[1:]), 0.5)) for voltage in after]

    def run(batch: Any) -> Any:
        current = network.current(batch)
        voltages = first_voltages(len(current), tuple(current.shape[1:]))
        total = 0.0
        for _ in range(n_steps):
            logits, voltages = compiled(current, voltages)
            total = total + logits
        return total

    return functools.partial(_in_batches, run)


def _last(values: Any) -> Any:
    import torch

    return values.contiguous(memory_format=torch.channels_last) if values.ndim == 4 else values


def floor_for(model: Any, n_steps: int) -> Simulate:
    """Return ``n_steps`` passes of a Keras model's network with ReLUs, compiled by PyTorch."""
    import torch
    from torch_networks import in_torch

    network = in_torch(model).to(memory_format=torch.channels_last)
    forward = _compile(network.forward)
    return lambda images: _in_batches(lambda batch: [forward(batch) for _ in range(n_steps)][-1], images)


def dense_floor(weights: Weights, *, n_steps: int) -> Simulate:
    """Return ``n_steps`` passes of the network with ReLUs: what its matrix products cost at every step, and no neurons.

    Unlike in the spiking networks, the first convolution is among them.
    """
    import torch

    F = torch.nn.functional
    *convolutions, dense, logits = _parameters(weights, 1.0)

    def forward(values: Any) -> Any:
        for kernel, bias in convolutions:
            values = F.avg_pool2d(F.relu(F.conv2d(values, kernel, bias, padding=1)), 2)
        return F.linear(F.relu(F.linear(values.flatten(1), *dense)), *logits)

    forward = _compile(forward)
    return lambda images: _in_batches(lambda batch: [forward(batch) for _ in range(n_steps)][-1], images)


def _spikingjelly(decay: float) -> tuple[Fire, Smooth]:
    """Return the neuron and the low-pass of SpikingJelly.

    ``IFNode`` is an operator that the compiler cannot look into, and slower on a CPU than ``SimpleIFNode`` in plain
    PyTorch. ``SynapseFilter`` is no linear low-pass: it doesn't decay while its input is 1.
    """
    from spikingjelly.activation_based import neuron

    cell = neuron.SimpleIFNode(v_threshold=1.0, v_reset=None).eval()
    leak = neuron.NonSpikingLIFNode(tau=1 / (1 - decay)).eval()

    def fire(current: Any, voltage: Any) -> tuple[Any, Any]:
        cell.v = voltage
        spikes, voltage, cell.v = cell(current), cell.v, 0.0  # what stays in the module would be one more output
        return spikes, voltage

    def smooth(values: Any, state: Any) -> Any:
        leak.v = state
        leak.neuronal_charge(values)
        state, leak.v = leak.v, None
        return state

    return fire, smooth


def _snntorch(decay: float) -> tuple[Fire, Smooth]:
    """Return the neuron and the low-pass of snnTorch: ``Leaky`` without leak, and without reset (its spikes unused)."""
    import snntorch

    cell = snntorch.Leaky(beta=1.0, surrogate_disable=True).eval()
    leak = snntorch.Leaky(beta=decay, reset_mechanism="none", surrogate_disable=True).eval()

    def fire(current: Any, voltage: Any) -> tuple[Any, Any]:
        spikes, voltage = cell(current, voltage)
        cell.mem = cell.reset = None  # what stays in the module would be one more output
        return spikes, voltage

    def smooth(values: Any, state: Any) -> Any:
        _, state = leak((1 - decay) * values, state)
        leak.mem = leak.reset = None
        return state

    return fire, smooth


def _norse(decay: float) -> tuple[Fire, Smooth]:
    """Return the neuron and the low-pass of Norse.

    Its ``IAF`` resets to a fixed voltage only, so the neuron is the LIF one with the time constant at which the leak,
    2^-30 of the voltage in a step, is lost in rounding.
    """
    from norse.torch.functional import leaky_integrator_box as li_box
    from norse.torch.functional import lif_box, reset

    slow = 2.0**30
    cell = lif_box.LIFBoxParameters(
        tau_mem_inv=1 / slow, v_leak=0.0, v_th=1.0, method="heaviside", reset_method=reset.reset_subtract
    )
    leak = li_box.LIBoxParameters(tau_mem_inv=1 - decay, v_leak=0.0)

    def fire(current: Any, voltage: Any) -> tuple[Any, Any]:
        state = lif_box.LIFBoxFeedForwardState(voltage)
        spikes, state = lif_box.lif_box_feed_forward_step(slow * current, state, cell, dt=1.0)
        return spikes, state.v

    def smooth(values: Any, state: Any) -> Any:
        return li_box.li_box_feed_forward_step(values, li_box.LIBoxState(state), leak, dt=1.0)[0]

    return fire, smooth


def _sinabs(decay: float) -> tuple[Fire, Smooth]:
    """Return the neuron and the low-pass of sinabs: the function of one step behind both ``IAF`` and ``ExpLeak``.

    ``MaxSpike`` without a maximum is ``MultiSpike``, in a form that the compiler can follow.
    """
    from sinabs.activation import MaxSpike, MembraneSubtract
    from sinabs.layers.functional.lif import lif_forward_single

    shared: dict[str, Any] = {"alpha_syn": None, "surrogate_grad_fn": None, "min_v_mem": None}
    cell = {"spike_threshold": 1.0, "spike_fn": MaxSpike(), "reset_fn": MembraneSubtract(), "norm_input": False}
    leak = {"spike_threshold": None, "spike_fn": None, "reset_fn": None, "norm_input": True}

    def fire(current: Any, voltage: Any) -> tuple[Any, Any]:
        spikes, state = lif_forward_single(current, alpha_mem=1.0, state={"v_mem": voltage}, **cell, **shared)
        return spikes, state["v_mem"]

    def smooth(values: Any, state: Any) -> Any:
        return lif_forward_single(values, alpha_mem=decay, state={"v_mem": state}, **leak, **shared)[1]["v_mem"]

    return fire, smooth


_LIBRARIES: dict[str, tuple[str, Cells]] = {
    "SpikingJelly": ("spikingjelly.activation_based", _spikingjelly),
    "snnTorch": ("snntorch", _snntorch),
    "Norse": ("norse.torch", _norse),
    "sinabs": ("sinabs.layers", _sinabs),
}


def _make(cells: Cells, weights: Weights, *, scale: float, synapse: float, dt: float, n_steps: int) -> Simulate:
    """Build the network around one library's neuron of threshold 1 and low-pass of gain 1."""
    import torch

    F = torch.nn.functional
    fire, smooth = cells(math.exp(-dt / synapse))
    first, *convolutions, dense, logits = _parameters(weights, scale * dt)

    def step(current: Any, voltages: Sequence[Any], filtered: Sequence[Any]) -> tuple[list[Any], list[Any]]:
        inputs = zip(filtered, convolutions, strict=False)
        currents = [current, *(F.relu(F.conv2d(values, *layer, padding=1)) for values, layer in inputs)]
        currents.append(F.relu(F.linear(filtered[-2].flatten(1), *dense)))
        fired = [fire(current, voltage) for current, voltage in zip(currents, voltages, strict=True)]
        spikes = [F.avg_pool2d(spikes, 2) if spikes.ndim == 4 else spikes for spikes, _ in fired]
        return [voltage for _, voltage in fired], [smooth(x, y) for x, y in zip(spikes, filtered, strict=True)]

    step = _compile(step)

    def run(batch: Any) -> Any:
        current = F.relu(F.conv2d(batch, *first, padding=1)).contiguous(memory_format=torch.channels_last)
        voltages, filtered = _state(weights, len(batch))
        for _ in range(n_steps):
            last = filtered[-1]  # what any layer sees of the one before it is a step old
            voltages, filtered = step(current, voltages, filtered)
        return F.linear(last, *logits)

    return functools.partial(_in_batches, run)


def _parameters(weights: Weights, gain: float) -> list[tuple[Any, Any]]:
    """Return kernels and biases in PyTorch's layout, where values between layers are ``gain`` times the activations."""
    import torch

    channels_last = torch.channels_last
    height, width, _ = weights.image_shape
    kernels = []
    for kernel, _ in weights.convolutions:
        kernels.append(torch.tensor(kernel).permute(3, 2, 0, 1).contiguous(memory_format=channels_last))
        height, width = height // 2, width // 2
    dense = torch.tensor(weights.dense[0]).reshape(height, width, -1, weights.dense[0].shape[1])
    kernels += [dense.permute(3, 2, 0, 1).flatten(1), torch.tensor(weights.logits[0]).T.contiguous() / gain]
    kernels[0] = kernels[0] * gain
    biases = [torch.tensor(bias) * gain for _, bias in (*weights.convolutions, weights.dense)]
    return list(zip(kernels, [*biases, torch.tensor(weights.logits[1])], strict=True))


def _state(weights: Weights, b: int) -> tuple[list[Any], list[Any]]:
    """Return the initial voltages and the low-passes' state, zeros, of each layer."""
    import torch

    voltages, filtered = [], []
    height, width, _ = weights.image_shape
    for (_, bias), voltage in zip(weights.convolutions, weights.voltages, strict=False):
        tensor = torch.tensor(voltage).reshape(1, height, width, len(bias))
        voltages.append(tensor.repeat(b, 1, 1, 1).permute(0, 3, 1, 2))
        height, width = height // 2, width // 2
        filtered.append(torch.zeros(b, height, width, len(bias)).permute(0, 3, 1, 2))
    voltages.append(torch.tensor(weights.voltages[-1]).repeat(b, 1))
    filtered.append(torch.zeros_like(voltages[-1]))
    return voltages, filtered


def _in_batches(run: Callable[[Any], Any], images: Array) -> Array:
    import torch

    with torch.inference_mode():
        tensor = torch.tensor(images).permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
        return torch.cat([run(batch) for batch in tensor.split(_BATCH * torch.get_num_threads())]).numpy()


def _compile(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function for each shape it is called with, and fail if the compiler leaves any of it to Python."""
    import torch
    import torch._dynamo

    torch._dynamo.config.recompile_limit = 256  # it counts what all networks here share: the code of a step
    return torch.compile(function, fullgraph=True, dynamic=False)
