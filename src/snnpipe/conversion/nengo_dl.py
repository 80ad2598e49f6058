"""Conversion with NengoDL: first a plan for each layer, then the spiking network."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from snnpipe.base.errors import ConfigError, ConversionError
from snnpipe.conversion import bias_offsets
from snnpipe.conversion.assembly import assembled
from snnpipe.conversion.calibration import Calibration, CalibrationSettings, Levels, levels_of
from snnpipe.conversion.equalise import Channels
from snnpipe.conversion.layer_settings import LayerSettings, check_neuron
from snnpipe.conversion.nengo_dl_layers import make_converter
from snnpipe.conversion.plan import planned
from snnpipe.conversion.rewrite import Rewritten, prepare, rewrite
from snnpipe.frameworks.compat import import_nengo_dl, without_build_notes
from snnpipe.frameworks.copies import flattened
from snnpipe.frameworks.keras_graph import nodes, rectifier
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.frameworks.rectifiers import Rectifier
from snnpipe.neurons.choice import neurons_for
from snnpipe.neurons.voltage import with_initial_voltage
from snnpipe.settings.domains import (
    Factors,
    LayerSynapses,
    LayerVoltage,
    MaxPooling,
    Neuron,
    Offsets,
    PoolingOverTime,
    ScaleFromData,
)
from snnpipe.settings.per_layer import check_names, per_layer
from snnpipe.settings.schema import check_fields
from snnpipe.synapses import Synapse
from snnpipe.values.network import ConversionPlan, SpikingNetwork

if TYPE_CHECKING:
    import tf_keras


def _integrate_and_fire() -> Any:
    from snnpipe.neurons.integrate_and_fire import IntegrateAndFire

    return IntegrateAndFire()


@dataclass(frozen=True, kw_only=True)
class NengoDLConverter:
    """Turn a model's ReLUs into neurons and keep the rest of the model linear.

    Parameters
    ----------
    neuron
        Nengo neuron type for the ReLUs, or a mapping from layer names or patterns to types. None makes them rate
        neurons (``nengo.RectifiedLinear``).
    scale_firing_rates
        Factor on the neurons' input current, whose inverse is a factor on their output: the neurons spike more, and the
        output stays the same. ``auto`` takes one for each layer from training samples (`calibrated`). Otherwise one
        number, or one per layer by name or pattern; layers that a mapping does not name get 1 (``"*"`` names all).
    synapse
        Time constant, s, of the low-pass filter on the neurons' output, or a Nengo synapse (``nengo.Lowpass``,
        ``nengo.Alpha``); None for no filter. One synapse, or one per layer; layers that a mapping does not name get no
        filter.
    initial_voltage
        Voltage of the neurons before the first step, in units of the threshold; one number, or one per layer. None
        leaves it to the neuron type: Nengo's types draw it from U(0, 1).
    calibration
        Settings for the scales that ``auto`` takes from data.
    channel_factors
        Factors that the channels of layers are divided by before they are scaled, by layer name. A calibration with
        scales for each channel gives them. None for no factors.
    bias_offsets
        Numbers that are added to the current of each channel of layers, in the unit of the model's activations, by
        layer name. A calibration with ``bias_correction`` gives them. None for none.
    allow_fallback
        Whether a layer that Nengo has no objects for may run as a TensorNode, in software only.
    max_pooling
        How max pooling is done on spikes. ``sums``: a window sends what the largest sum of an input of the window has
        grown by in the step; over time, it sends the maximum of the inputs' means. ``gated``: it passes on the input
        with the largest sum (Rueckauer et al. 2017). ``average``: it becomes average pooling, which changes what the
        network computes.
    """

    neuron: Neuron | dict[str, Neuron] = field(default_factory=_integrate_and_fire)
    scale_firing_rates: ScaleFromData = "auto"
    synapse: LayerSynapses = None
    initial_voltage: LayerVoltage = None
    calibration: CalibrationSettings = field(default_factory=Calibration)
    channel_factors: Factors = None
    bias_offsets: Offsets = None
    allow_fallback: bool = False
    max_pooling: MaxPooling = "sums"

    def __post_init__(self) -> None:
        check_fields(self, "conversion")

    # ------------------------------------------------------------------ the plan

    def explain(self, model: "tf_keras.Model") -> ConversionPlan:
        """Return what each layer of a model will become. The model need not be trained.

        Raises
        ------
        ConfigError
            If a per-layer setting names no layer of neurons, or does not fit the neuron type.
        ConversionError
            If the model is a network written in Nengo.
        """
        model = _keras(model)
        rewritten = rewrite(model, self.max_pooling)
        plan = self._plan(model, rewritten, self._settings(model, rewritten))
        if plan.unsupported and not self.allow_fallback and self._fallback_works(model):
            return replace(plan, cure="conversion.allow_fallback=true runs such layers in software only")
        return plan

    def _plan(
        self, model: "tf_keras.Model", rewritten: Mapping[str, Rewritten], settings: "Mapping[str, LayerSettings]"
    ) -> ConversionPlan:
        seen: set[str] = set()
        layers = []
        for node in nodes(model):
            name = node.layer.name
            how = {"shared": name in seen, "fallback": self.allow_fallback, "from_data": self.needs_calibration}
            layers.append(planned(node, rewritten[name], settings.get(name), **how))
            seen.add(name)
        return ConversionPlan(tuple(layers))

    def _fallback_works(self, model: "tf_keras.Model") -> bool:
        """Whether the model can be converted with TensorNodes, and then computes the same."""
        with_fallback = replace(self, allow_fallback=True)
        rewritten = rewrite(model, self.max_pooling)
        plan = with_fallback._plan(model, rewritten, self._settings(model, rewritten))
        if plan.unsupported or not any(layer.neurons for layer in plan.layers):
            return False
        drawn = np.random.default_rng(0).uniform(-1, 1, (1, *model.input_shape[1:])).astype(np.float32)
        try:
            with warnings.catch_warnings(), without_build_notes():
                warnings.simplefilter("ignore")
                converter = make_converter(
                    prepare(model, rewritten), self._over_time, inference_only=True, allow_fallback=True
                )
                expected = converter.model.predict_on_batch(drawn)
                with import_nengo_dl().Simulator(converter.net, minibatch_size=1, progress_bar=False) as simulator:
                    given = simulator.predict([drawn.reshape(1, 1, -1)], verbose=0)
            (output,) = (given[converter.outputs[tensor]] for tensor in converter.model.outputs)
            return bool(np.allclose(np.ravel(expected), np.ravel(output), atol=1e-3, rtol=1e-3))
        except Exception:  # NengoDL and TensorFlow may raise anything
            return False

    @property
    def _over_time(self) -> PoolingOverTime:
        """How max pooling layers pool, where they are not averaged."""
        return "sums" if self.max_pooling == "average" else self.max_pooling

    def _settings(self, model: "tf_keras.Model", rewritten: Mapping[str, Rewritten]) -> "dict[str, LayerSettings]":
        """Return the settings of each layer of neurons."""
        names = _neuron_names(rewritten)
        given_scales: Any = 1.0 if self.scale_firing_rates == "auto" else self.scale_firing_rates
        scales = per_layer(given_scales, names, 1.0, "conversion.scale_firing_rates")
        key = "conversion.synapse"
        given: dict[str, Any] = per_layer(self.synapse, names, None, key)
        synapses = {name: Synapse.of(own, key).linear(key) for name, own in given.items()}
        settings = {}
        for name in names:
            own = _rectifier(model, name)
            neurons, why = self._neurons(name, names, own, scales[name])
            settings[name] = LayerSettings(name, scales[name], synapses[name], own, neurons, why)
        return settings

    def _neurons(self, name: str, names: Sequence[str], own: Rectifier, scale: float) -> tuple[Any, str]:
        """Return the neurons of one of the layers, and why they do not spike although they should."""
        asked: dict[str, Any] = per_layer(self.neuron, names, None, "conversion.neuron")
        voltages: dict[str, Any] = per_layer(self.initial_voltage, names, None, "conversion.initial_voltage")
        check_neuron(asked[name], scale, name)
        neurons, why = neurons_for(own, asked[name], scale)
        return with_initial_voltage(neurons, voltages[name], "conversion.initial_voltage"), why

    # ------------------------------------------------------------------ scales from data

    @property
    def needs_calibration(self) -> bool:
        """Whether scales are to be taken from data before anything can be converted."""
        return self.scale_firing_rates == "auto"

    def levels(self, model: "tf_keras.Model", samples: NDArray[np.float32]) -> Levels:
        """Return the strongest activations of a trained model's layers, which scales are taken from.

        Parameters
        ----------
        model
            Trained model.
        samples
            Samples of the training split, shape ``(b, *input_shape)``.

        Raises
        ------
        ConversionError
            If a layer cannot be converted.
        """
        graph = _keras(model)
        rewritten = rewrite(graph, self.max_pooling)
        if any(own.problem for own in rewritten.values()) and not self.allow_fallback:
            self.explain(model).require_convertible()
        rectifiers = {name: _rectifier(graph, name) for name in _neuron_names(rewritten)}
        return levels_of(prepare(graph, rewritten), rectifiers, samples, self.calibration.percentile)

    def correctable(self, model: "tf_keras.Model") -> dict[str, int]:
        """Return the number of channels of those layers of neurons that can have ``bias_offsets``, by name."""
        graph = _keras(model)
        rewritten = rewrite(graph, self.max_pooling, biases=True)
        return bias_offsets.channels(prepare(graph, rewritten), _neuron_names(rewritten))

    def drawable(self, model: "tf_keras.Model") -> list[str]:
        """Return the names of the layers whose neurons begin at 0.5 by default, which may be drawn instead."""
        if self.initial_voltage is not None:
            return []
        graph = _keras(model)
        names = _neuron_names(rewrite(graph, self.max_pooling))
        rectifiers = {name: _rectifier(graph, name) for name in names}
        return [
            name
            for name, own in rectifiers.items()
            if not own.levels and getattr(self._neurons(name, names, own, 1.0)[0], "initial_voltage", None) == 0.5
        ]

    def calibrated(
        self,
        levels: Levels,
        dt: float,
        channels: bool = False,
        spikes_per_step: float | Mapping[str, float] | None = None,
    ) -> Self:
        """Return this converter with scales from data in place of ``auto``.

        Parameters
        ----------
        levels
            Strongest activations of the layers of a trained model.
        dt
            Seconds per step.
        channels
            Whether each channel has its own scale.
        spikes_per_step
            Spikes per step of the strongest activation of a layer; one number, or one for each layer by name. None
            takes ``calibration.spikes_per_step``, or 1 if that is ``auto``.
        """
        for key in ("channel_factors", "bias_offsets"):
            if getattr(self, key):
                raise ConfigError(
                    f"conversion.{key}: they belong to scales that are given, and conversion.scale_firing_rates=auto "
                    f"takes scales from data: give the scales too, or conversion.{key}=null"
                )
        spikes = self.calibration.spikes_per_step if spikes_per_step is None else spikes_per_step
        spikes = 1.0 if spikes == "auto" else spikes
        of_layers = spikes if isinstance(spikes, Mapping) else dict.fromkeys(levels.rectifiers, spikes)
        scales = levels.scales(dt, channels, of_layers)
        return replace(self, scale_firing_rates=scales, channel_factors=levels.factors if channels else None)

    def rescaled(self, network: SpikingNetwork) -> SpikingNetwork:
        """Return a network that was converted with other scales, with those of this converter.

        Only the layers have the new scales, and not the Nengo network, so that NengoDL cannot run it.

        Parameters
        ----------
        network
            Network of a converter with the same settings but for the scales.
        """
        names = [layer.name for layer in network.layers]
        given: Any = self.scale_firing_rates
        scales: dict[str, float] = per_layer(given, names, 1.0, "conversion.scale_firing_rates")
        layers = tuple(
            replace(layer, scale_firing_rates=scale, neuron_type=self._neurons(layer.name, names, own, scale)[0])
            for layer, scale, own in zip(network.layers, scales.values(), network.rectifiers.values(), strict=True)
        )
        return replace(network, layers=layers)

    # ------------------------------------------------------------------ the network

    def convert(self, model: "tf_keras.Model", seed: int) -> SpikingNetwork:
        """Return the spiking network of a trained model.

        Parameters
        ----------
        model
            Keras model, which is not changed.
        seed
            Seed of the neurons' initial voltages (Nengo draws them from U(0, 1)).

        Raises
        ------
        ConversionError
            If a layer cannot be converted. The message names the layer and the cure.
        ConfigError
            If a per-layer setting names no layer of neurons or does not fit the neuron type, if channel factors or
            offsets of biases do not fit the model, or if scales are still to be taken from data.
        """
        if self.needs_calibration:
            raise ConfigError(
                "conversion.scale_firing_rates: 'auto' takes scales from samples: call "
                "calibrated(levels(model, samples), dt) and convert with what it returns, or give a number"
            )
        graph = _keras(model)
        rewritten = rewrite(graph, self.max_pooling, biases=self.bias_offsets is not None)
        settings = self._settings(graph, rewritten)
        plan = self._plan(graph, rewritten, settings)
        if plan.unsupported:
            self.explain(model).require_convertible()
        ready = prepare(graph, rewritten)
        offsets, factors = (
            {name: np.asarray(values, np.float64) for name, values in (given or {}).items()}
            for given in (self.bias_offsets, self.channel_factors)
        )
        check_names(offsets, list(settings), "conversion.bias_offsets")
        bias_offsets.add(ready, offsets, "conversion.bias_offsets")
        check_names(factors, list(settings), "conversion.channel_factors")
        Channels(ready).apply(factors, "conversion.channel_factors")
        fallback = next((layer for layer in plan.layers if layer.status == "fallback"), None)
        return assembled(ready, settings, seed, self._over_time, factors, offsets, fallback)


def _keras(model: "tf_keras.Model") -> "tf_keras.Model":
    """Return a Keras model as a functional model without models inside it."""
    import_nengo_dl()
    if isinstance(model, NativeNetwork):
        raise ConversionError(
            "conversion=nengo_dl converts Keras models, and this network is written in Nengo: take conversion=identity"
        )
    return flattened(model)


def _neuron_names(rewritten: Mapping[str, Rewritten]) -> list[str]:
    """Return the names of the layers that become neurons."""
    return [name for name, own in rewritten.items() if own.becomes == "neurons" and not own.problem]


def _rectifier(model: "tf_keras.Model", name: str) -> Rectifier:
    own = rectifier(model.get_layer(name))
    assert own is not None
    return own
