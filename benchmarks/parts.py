"""Where the two simulators spend their time, on the recipe network; measured by the section "parts" of simulate.py."""

import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numba
import numpy as np

from snnpipe import ClockDrivenSimulator, ConstantEncoder, EventDrivenSimulator
from snnpipe.frameworks.compat import import_tensorflow
from snnpipe.simulators.event_driven import constant
from snnpipe.simulators.event_driven import kernel as event_kernel
from snnpipe.simulators.event_driven.layout import SHOWN
from snnpipe.simulators.event_driven.simulator import _workspace
from snnpipe.values.simulation import Stimulus


@numba.njit(nogil=True)
def _run(p, w, image_bn, n_parts, n_steps, scatter, output_tc):
    """Run the currents of each image, and the first layers; without ``scatter``, nothing reaches them but their bias.

    The program begins with the image and its currents, which are one part.
    """
    for b in range(image_bn.shape[0]):
        w.voltage[:] = p.voltage
        w.currents[:] = 0
        if n_parts:
            event_kernel.show(p, w, image_bn[b : b + 1])
        for layer in range(2, n_parts + 1):
            base = w.shown[0] if p.base_from[layer] == SHOWN else p.base[p.base_at[layer] :]
            if layer == 2:
                constant.spike_times(p, w, layer, base, 0, n_steps)
                if not scatter:
                    w.events[layer] = 0
            else:
                event_kernel._layer(p, w, layer, base, 0, n_steps, output_tc)
                if not scatter:
                    w.events[layer] = 0


def _best(function, rounds):
    function()
    times = []
    for _ in range(rounds):
        began = time.process_time()
        function()
        times.append(time.process_time() - began)
    return min(times)


def event_driven(network, images, n_steps, rounds=9):
    """Return seconds of CPU by part; the recipe's first layer sees a constant image."""
    settings = EventDrivenSimulator(n_steps=n_steps, batch_size=len(images), dt=0.001)
    opened = settings.open(network).__enter__()
    stimulus = Stimulus(images, range(len(images)), ConstantEncoder())
    total = _best(lambda: list(opened.run(stimulus)), rounds)
    compiled = opened._program(True)
    p, w = compiled.program, _workspace(compiled.program, n_steps)
    shown = opened._images(stimulus)
    output = np.zeros((n_steps, int(p.size[-1])), np.float32)
    names = [*(layer.name for layer in network.layers), "output"]

    def until(scatter):
        return np.array(
            [_best(lambda n=n: _run(p, w, shown, n, n_steps, scatter, output), rounds) for n in range(len(names) + 2)]
        )

    with_events, without = np.diff(until(True)), np.diff(until(False))
    found = {
        "currents of the images": with_events[0],
        f"{names[0]}: spike times": with_events[1],
    }
    for name, both, alone in zip(names[1:], with_events[2:], without[2:], strict=True):
        found[f"{name}: adding rows of weights"] = max(both - alone, 0.0)
        found[f"{name}: neurons" if name != "output" else "output: reading it"] = max(alone, 0.0)
    found["counting spikes, handing over"] = max(total - sum(found.values()), 0.0)
    return found


def clock_driven(network, images, n_steps, rounds=5):
    """Return seconds of CPU by part: the time in TensorFlow's operations, as its profiler has it, and the rest."""
    opened = ClockDrivenSimulator(n_steps=n_steps, batch_size=len(images), dt=0.001).open(network).__enter__()
    stimulus = Stimulus(images, range(len(images)), ConstantEncoder())
    total = _best(lambda: list(opened.run(stimulus)), rounds)
    seconds = _seconds_by_operation(lambda: list(opened.run(stimulus)))
    kinds = {
        "convolutions and dense layers": ("Conv", "MatMul", "BiasAdd"),
        "pooling": ("Pool",),
        "neurons, filters, counting spikes": ("Add", "Floor", "Sub", "Mul"),
    }
    found = dict.fromkeys(kinds, 0.0)
    for operation, own in seconds.items():
        kind = next((kind for kind, names in kinds.items() if any(n in operation for n in names)), None)
        if kind:
            found[kind] += own
    return found | {"all else (the loop, handing over)": max(total - sum(found.values()), 0.0)}


def _seconds_by_operation(function):
    tf = import_tensorflow()
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder, options=tf.profiler.experimental.ProfilerOptions(host_tracer_level=3))
        function()
        tf.profiler.experimental.stop()
        space = xplane_pb2.XSpace()
        space.ParseFromString(next(Path(folder).rglob("*.xplane.pb")).read_bytes())
    found = defaultdict(float)
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                node, colon, operation = plane.event_metadata[event.metadata_id].name.partition("#")[0].rpartition(":")
                if colon and node and "::" not in node + colon + operation:
                    found[operation] += event.duration_ps / 1e12
    return found
