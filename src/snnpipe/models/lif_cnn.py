"""The network of NengoDL's spiking MNIST example, which is written in Nengo and contains Keras layers."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from snnpipe.base.errors import ModelError
from snnpipe.settings.domains import Initializer, PositiveFloat, Seconds, Share, Sizes
from snnpipe.settings.schema import check_fields
from snnpipe.values.data import DataSpec

if TYPE_CHECKING:
    from snnpipe.frameworks.native import NativeNetwork


@dataclass(frozen=True)
class LifCnn:
    """3x3 convolutions (``valid``) with LIF neurons, each but the first followed by 2x2 average pooling, then logits.

    Nengo's own parameters (gains, biases) are not trained. The only synapse is a low-pass filter on the output.

    Parameters
    ----------
    filters
        Number of filters of each convolution.
    amplitude
        Output of the neurons per Hz of firing rate.
    max_rates
        Firing rate, Hz, at an input of 1.
    intercepts
        Input at which the neurons begin to fire.
    tau_rc, tau_ref
        Membrane time constant and refractory period of the neurons, s.
    initial_voltage
        Initial voltage of every neuron, as a share of the threshold. If None, Nengo draws it from U(0, 1).
    output_synapse
        Time constant, s, of the filter on the output while the network spikes; None for no filter.
    initializer
        Initializer of the kernels: its name in Keras, or a mapping with its ``class_name`` and ``config``. Larger first
        weights make the neurons fire more.
    logits_initializer
        Initializer of the logits' kernel, in the same form. ``zeros`` loses less accuracy in conversion, because the
        random first values that training leaves carry the spikes' noise to the logits, and no information on the
        classes.
    """

    filters: Annotated[Sizes, Field(min_length=1)] = (32, 64, 128)
    amplitude: PositiveFloat = 0.01
    max_rates: PositiveFloat = 100.0
    intercepts: Annotated[float, Field(gt=-1e6, lt=1)] = 0.0
    tau_rc: Seconds = 0.02
    tau_ref: Seconds = 0.002
    initial_voltage: Share | None = None
    output_synapse: Seconds | None = 0.1
    initializer: Initializer = "glorot_uniform"
    logits_initializer: Initializer = "glorot_uniform"

    def __post_init__(self) -> None:
        check_fields(self, "model")
        if self.max_rates * self.tau_ref >= 1:
            raise ModelError(
                f"model.max_rates: got {self.max_rates}: with model.tau_ref={self.tau_ref} a neuron fires below "
                f"{1 / self.tau_ref:g} Hz"
            )

    def build(self, spec: DataSpec) -> "NativeNetwork":
        """Return the network for a dataset's samples and classes.

        Raises
        ------
        ModelError
            If the samples are not of shape (height, width, channels), or are too small.
        """
        from snnpipe.frameworks.compat import import_nengo_dl
        from snnpipe.frameworks.native import NativeNetwork
        from snnpipe.models.layers import check_images, check_initializers, conv_name, keras

        check_images(spec, "LifCnn")
        words, values = f"{spec.sample_word}s", f"{spec.value_word}s"
        nengo_dl = import_nengo_dl()
        import nengo
        import numpy as np

        layers = keras().layers
        check_initializers(initializer=self.initializer, logits_initializer=self.logits_initializer)
        voltage = None if self.initial_voltage is None else {"voltage": nengo.dists.Choice([self.initial_voltage])}
        neurons = nengo.LIF(tau_rc=self.tau_rc, tau_ref=self.tau_ref, amplitude=self.amplitude, initial_state=voltage)
        with nengo.Network(label="lif_cnn") as network:
            network.config[nengo.Ensemble].max_rates = nengo.dists.Choice([self.max_rates])
            network.config[nengo.Ensemble].intercepts = nengo.dists.Choice([self.intercepts])
            network.config[nengo.Connection].synapse = None
            nengo_dl.configure_settings(trainable=False)
            sample = x = nengo.Node(np.zeros(int(np.prod(spec.input_shape))), label=spec.sample_word)
            shape = spec.input_shape
            for i, filters in enumerate(self.filters):
                name = conv_name(i)
                if min(shape[:2]) < 3:
                    raise ModelError(
                        f"model.filters: {spec.name}'s {words} of {min(spec.input_shape[:2])} {values} are too small "
                        f"for {len(self.filters)} convolutions without padding: give fewer filters"
                    )
                x = nengo_dl.Layer(layers.Conv2D(filters, 3, kernel_initializer=self.initializer, name=name))(
                    x, shape_in=shape
                )
                x = nengo_dl.Layer(neurons)(x, label=f"{name}_lif")
                shape = (shape[0] - 2, shape[1] - 2, filters)
                if i:
                    if min(shape[:2]) < 2:
                        raise ModelError(
                            f"model.filters: after {i + 1} convolutions nothing is left to pool of {spec.name}'s "
                            f"{words} of {min(spec.input_shape[:2])} {values}: give fewer filters"
                        )
                    x = nengo_dl.Layer(layers.AveragePooling2D(2, name=f"{name}_pool"))(x, shape_in=shape)
                    shape = (shape[0] // 2, shape[1] // 2, filters)
            logits = nengo_dl.Layer(
                layers.Dense(spec.n_classes, kernel_initializer=self.logits_initializer, name="logits")
            )(x)
            output = nengo.Probe(logits, synapse=self.output_synapse)
        return NativeNetwork(network, sample, output)
