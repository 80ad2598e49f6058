"""The figures of a diagnosis, defined in docs/metrics.md.

Axes: b = image of the batch, n = neuron, o = state variable of a filter.
"""

from collections.abc import Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

from snnpipe.metrics.paired import one_sided_p_value
from snnpipe.neurons.table import neuron_model
from snnpipe.values.diagnosis import LayerDiagnosis
from snnpipe.values.network import NeuronLayer
from snnpipe.values.simulation import LayerActivity

ACTIVE = 0.1
"""An activation above this share of the root mean square of its layer's, in an image, means that the ANN activates
the neuron."""

SETTLED = 0.1
"""A layer's output has settled once it stays within this relative distance of its last value."""

NEAR_LIMIT = 0.95
"""A neuron is saturated from this share of the highest rate on that its refractory period allows."""

POINTS = 1000
"""Number of pairs of image and neuron that are kept for each layer."""


def loss_p_value(right_before: NDArray[np.bool_], right_after: NDArray[np.bool_]) -> float:
    """Return the probability that a change which helps as often as it harms would lose at least as many images.

    Parameters
    ----------
    right_before, right_after
        Whether each image is classified correctly before and after the change. Both hold the same images.
    """
    return one_sided_p_value(int(np.sum(right_before & ~right_after)), int(np.sum(~right_before & right_after)))


def settling_step(levels: Sequence[float] | NDArray[np.float64]) -> int | None:
    """Return the step (from 1) from which a layer's output stays near its last value.

    The step is None if it is in the last quarter of the run, because the output may then still be changing.

    Parameters
    ----------
    levels
        Mean filtered rate of the layer after each step.
    """
    values = np.asarray(levels)
    away = np.flatnonzero(np.abs(values - values[-1]) >= SETTLED * np.abs(values[-1]))
    step = int(away[-1]) + 2 if away.size else 1
    return step if step <= max(1, 0.75 * len(values)) else None


def rate_limit(layer: NeuronLayer, dt: float) -> tuple[float, bool]:
    """Return the rate, Hz, above which a layer's neurons are saturated, and whether a refractory period sets it."""
    model = neuron_model(layer.neuron_type)
    refractory = model.refractory(layer.neuron_type)
    if refractory is not None:
        return NEAR_LIMIT / max(refractory, dt), True
    most = model.most_spikes(layer.neuron_type, dt)
    return (1 if most == inf else NEAR_LIMIT * most) / dt, False


def rectifies_each_step(layer: NeuronLayer, dt: float) -> bool:
    """Whether a layer's neurons stand for a ReLU and cut off the negative current of each step by itself."""
    from snnpipe.neurons.integrate_and_fire import IntegrateAndFire

    signed = isinstance(layer.neuron_type, IntegrateAndFire)
    return layer.spiking and not signed and not layer.signed and not rate_limit(layer, dt)[1]


class LayerMeter:
    """Measures one layer from its spikes, which come batch by batch and, within a batch, chunk by chunk.

    The filtered rate is the input of the next layer: the layer's output after its synapse or, without a synapse, the
    mean of the output since the first step.

    Parameters
    ----------
    layer
        The layer.
    n_steps, dt
        Number of steps that an image is shown, and seconds per step.
    images
        Number of images in all batches.
    """

    def __init__(self, layer: NeuronLayer, n_steps: int, dt: float, images: int):
        self._layer, self._n_steps, self._dt = layer, n_steps, dt
        self._unit = layer.spike_unit(dt)
        self._filter = layer.synapse.discrete(dt, f"layer {layer.name!r}")
        # filters are linear: the last rate is a weighted sum of all steps' spikes, the mean rate filters their sums
        impulse = np.zeros(n_steps)
        impulse[0] = self._unit
        self._weights_t = self._filtered(impulse)[::-1] if self._filter else np.full(n_steps, self._unit / n_steps)
        self._rng = np.random.default_rng(0)
        self._points_of_image = -(-min(POINTS, images * layer.size) // images)
        self._spikes_t = np.zeros(n_steps)
        self._sums = np.zeros(5)  # sums of a, y, a a, y y and a y, where a is an activation and y a filtered rate
        self._off = 0.0
        self._pairs = self._spikes = self._saturated = self._without = 0.0
        self._active = self._active_spikes = self._under_activated = 0.0
        self._known = True
        self._drawn: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []

    def begin(self, images: int, activation_bn: NDArray[np.float32] | None) -> None:
        """Begin a batch.

        ``activation_bn`` holds the ANN's activations as the converted layer has them; it is None if they are not known.
        The figures are in the model's units: each channel is multiplied by its factor.
        """
        self._step = 0
        self._activation = activation_bn
        self._counts = np.zeros((images, self._layer.size), np.float32)
        self._rate = np.zeros_like(self._counts)

    def add(self, activity: LayerActivity, n_steps: int) -> None:
        """Add a chunk's spikes. The spikes of a chunk of several steps count as spread evenly over its steps."""
        each, net = (spikes / np.float32(n_steps) for spikes in (activity.counts_bn, activity.net_bn))
        for _ in range(n_steps):
            self._counts += each
            self._rate += net * np.float32(self._weights_t[self._step])
            self._spikes_t[self._step] += float(net.sum())
            self._step += 1

    def end(self) -> None:
        """End a batch and add its figures to the totals."""
        counts, a, y = self._counts, self._activation, self._rate
        limit, refractory = rate_limit(self._layer, self._dt)
        rates = counts / np.float32(self._n_steps * self._dt)
        self._pairs += counts.size
        self._spikes += float(counts.sum(dtype=np.float64))
        self._without += float(np.sum(counts == 0))
        if self._layer.spiking:
            self._saturated += float(np.sum(rates >= limit if refractory else rates > limit))
        if a is None:
            self._known = False
            return
        of_model, of_rate = self._layer.unscaled(a), self._layer.unscaled(y)
        size = np.sqrt(np.mean(np.square(of_model), axis=1, keepdims=True))
        active = np.asarray(of_model > ACTIVE * size)
        self._active += float(active.sum())
        self._active_spikes += float(counts[active].sum(dtype=np.float64))
        self._under_activated += float(np.sum(counts[active] == 0))
        u, v = of_model.ravel().astype(np.float64), of_rate.ravel().astype(np.float64)
        self._sums += (u.sum(), v.sum(), u @ u, v @ v, u @ v)
        self._off += float((v - u) @ (v - u))
        chosen = self._rng.choice(a.size, min(a.size, self._points_of_image * len(a)), replace=False)
        self._drawn.append((a.ravel()[chosen], y.ravel()[chosen]))

    def result(self) -> LayerDiagnosis:
        """Return the figures over all batches."""
        settled = settling_step(self._levels())
        ann, snn = zip(*self._drawn, strict=True) if self._known else ((), ())
        nothing = [np.empty(0, np.float32)]
        return LayerDiagnosis(
            name=self._layer.name,
            neurons=self._layer.size,
            rate_hz=self._spikes / (self._pairs * self._n_steps * self._dt),
            active_spikes=self._active_spikes / self._active if self._active else None,
            correlation=self._correlation() if self._known else None,
            error=float(np.sqrt(self._off / self._sums[2])) if self._known and self._sums[2] else None,
            settled_ms=None if settled is None else settled * self._dt * 1000,
            saturated=self._saturated / self._pairs,
            sparsity=self._without / self._pairs,
            under_activated=self._under_activated / self._active if self._active else None,
            ann=np.concatenate([*nothing, *ann])[:POINTS],
            snn=np.concatenate([*nothing, *snn])[:POINTS],
        )

    def _levels(self) -> NDArray[np.float64]:
        """Return the filtered rate after each step, summed over all pairs."""
        if self._filter is None:
            return self._unit * np.cumsum(self._spikes_t) / np.arange(1, self._n_steps + 1)
        return self._filtered(self._unit * self._spikes_t)

    def _filtered(self, values_t: NDArray[np.float64]) -> NDArray[np.float64]:
        assert self._filter is not None
        state = np.zeros((1, 1, self._filter.order))
        return self._filter.over(values_t[None, :, None], state)[0, :, 0]

    def _correlation(self) -> float | None:
        a, y, aa, yy, ay = self._sums / self._pairs
        spread = (aa - a * a) * (yy - y * y)
        return float((ay - a * y) / np.sqrt(spread)) if spread > 1e-12 * aa * yy else None
