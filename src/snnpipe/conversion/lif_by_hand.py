"""A conversion that puts a Keras MLP's weights by hand into a Nengo network of LIF neurons, whose output spikes too."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from snnpipe.base.errors import ConversionError
from snnpipe.conversion.native import spiking_network
from snnpipe.frameworks.compat import import_nengo_dl
from snnpipe.frameworks.keras_graph import activation_name, functional, nodes
from snnpipe.frameworks.native import NativeNetwork
from snnpipe.settings.domains import NonNegativeSeconds, PositiveFloat, Scale, Seconds
from snnpipe.settings.per_layer import per_layer
from snnpipe.settings.schema import check_fields
from snnpipe.values.network import ConversionPlan, PlannedLayer, SpikingNetwork

if TYPE_CHECKING:
    import tf_keras


@dataclass(frozen=True, kw_only=True)
class LifByHand:
    """Connect the input and layers of LIF neurons with the weights of a Keras MLP without biases.

    The output neurons spike too. With ``gains=nengo`` or ``input_neurons``, Nengo chooses gains and biases itself, as
    it does if none are given. These settings are kept to show what that costs.

    Parameters
    ----------
    scale_firing_rates
        Gain of the neurons, which is the factor on their input current; one number, or one per layer.
    amplitude
        Factor on a neuron's rate in Hz. None takes ``1 / scale_firing_rates``, which turns the rate into an activation
        again. 1 is Nengo's default, with spikes of height ``1 / dt``.
    synapse
        Time constant, s, of the low-pass filter on the hidden neurons' output; None for no filter.
    tau_rc, tau_ref
        Membrane time constant and refractory period of the neurons, s.
    gains
        ``given``: gains from ``scale_firing_rates`` and biases of 0. ``nengo``: gains and biases for ``max_rates``
        drawn from 200 to 400 Hz and ``intercepts`` drawn from -1 to 0.9.
    input_neurons
        Whether the input's values drive Poisson neurons with gains that Nengo chooses, whose spikes are the input of
        the first layer. The encoder is best ``constant`` then.
    """

    scale_firing_rates: Scale = 1.0
    amplitude: PositiveFloat | None = None
    synapse: Seconds | None = None
    tau_rc: Seconds = 0.02
    tau_ref: NonNegativeSeconds = 0.002
    gains: Literal["given", "nengo"] = "given"
    input_neurons: bool = False

    def __post_init__(self) -> None:
        check_fields(self, "conversion")

    def explain(self, model: "tf_keras.Model") -> ConversionPlan:
        """Return what each layer of a model will become.

        Raises
        ------
        ConversionError
            If the model is a native network.
        """
        if isinstance(model, NativeNetwork):
            raise ConversionError(
                "conversion=lif_by_hand takes the weights of Keras models, and this network is written in Nengo: take "
                "conversion=identity"
            )
        layers = [node.layer for node in nodes(functional(model))]
        scales = self._scales(layers)
        planned = tuple(self._explain(layer, layers, scales) for layer in layers)
        refused = any(layer.status == "unsupported" for layer in planned)
        return ConversionPlan(planned, cure="conversion=nengo_dl converts such layers" if refused else "")

    def _explain(self, layer: Any, layers: list[Any], scales: dict[str, float]) -> PlannedLayer:
        name, kind, shape = layer.name, type(layer).__name__, tuple(layer.output.shape[1:])
        if kind in ("InputLayer", "Flatten"):
            becomes = "input node" if kind == "InputLayer" else "the same values, reordered"
            return PlannedLayer(name, kind, "passthrough", becomes, shape=shape)
        last = layer is layers[-1]
        wanted = "linear" if last else "relu"
        if kind != "Dense":
            reason = "only dense layers are put in by hand"
        elif layer.use_bias:
            reason = "it has biases: take model.use_bias=false"
        elif activation_name(layer) != wanted:
            reason = f"its activation is {activation_name(layer)!r} and not {wanted!r}"
        else:
            return PlannedLayer(
                name,
                kind,
                "native",
                "LIF",
                shape=shape,
                neurons=shape[0],
                scale_firing_rates=scales[name],
                synapse=None if last else self.synapse,
            )
        return PlannedLayer(name, kind, "unsupported", "-", reason, shape)

    def _scales(self, layers: list[Any]) -> dict[str, float]:
        names = [layer.name for layer in layers if type(layer).__name__ == "Dense"]
        return per_layer(self.scale_firing_rates, names, 1.0, "conversion.scale_firing_rates")

    def convert(self, model: "tf_keras.Model", seed: int) -> SpikingNetwork:
        """Return the network of LIF neurons. ``seed`` determines the initial voltages and everything that Nengo draws.

        Raises
        ------
        ConversionError
            If the model is not an MLP without biases.
        """
        self.explain(model).require_convertible()
        import_nengo_dl()
        import nengo

        layers = [node.layer for node in nodes(functional(model)) if type(node.layer).__name__ == "Dense"]
        scales = self._scales(layers)
        with nengo.Network(label="lif_by_hand", seed=seed) as network:
            sample = source = nengo.Node(np.zeros(int(np.prod(model.input_shape[1:]))), label=model.input_names[0])
            synapse = None
            if self.input_neurons:
                poisson = nengo.PoissonSpiking(nengo.RectifiedLinear())
                source = nengo.Ensemble(sample.size_out, 1, neuron_type=poisson, label="input").neurons
                nengo.Connection(sample, source, synapse=None)
            for layer in layers:
                gain = scales[layer.name]
                amplitude = 1 / gain if self.amplitude is None else self.amplitude
                neurons = nengo.LIF(tau_rc=self.tau_rc, tau_ref=self.tau_ref, amplitude=amplitude)
                own = (
                    {} if self.gains == "nengo" else {"gain": np.full(layer.units, gain), "bias": np.zeros(layer.units)}
                )
                target = nengo.Ensemble(layer.units, 1, neuron_type=neurons, label=layer.name, **own).neurons
                nengo.Connection(source, target, transform=layer.get_weights()[0].T, synapse=synapse)
                source, synapse = target, self.synapse
            output = nengo.Probe(source)
        return spiking_network(network, sample, output)
