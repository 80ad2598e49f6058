"""A clipped and quantised ReLU with a learnt threshold, for networks that are trained to be converted."""

from typing import Any

from snnpipe.base.errors import ModelError
from snnpipe.frameworks.compat import import_tensorflow, import_tf_keras

_keras: Any = import_tf_keras()


@_keras.utils.register_keras_serializable("snnpipe")
class QuantisedReLU(_keras.layers.Layer):  # type: ignore[misc, unused-ignore]
    """ReLU with a learnt highest value, in steps: h = threshold clip(floor(x L / threshold + 1/2) / L, 0, 1).

    A spiking neuron that fires at most once per step, and starts at half its threshold, has these values after L steps
    of constant input (Bu et al. 2022, ICLR, arXiv:2303.04347). The gradient treats the rounding as the identity.

    Parameters
    ----------
    levels
        Number L of steps between 0 and the threshold.
    initial_threshold
        Threshold before training. It is stored as its logarithm, so that training cannot make it negative.

    Raises
    ------
    ModelError
        If ``levels`` is not a whole number of at least 1, or ``initial_threshold`` is not above 0.
    """

    def __init__(self, levels: int = 4, initial_threshold: float = 4.0, **kwargs: Any):
        if isinstance(levels, bool) or levels != int(levels) or levels < 1:
            raise ModelError(f"QuantisedReLU: got levels={levels}: takes a whole number of 1 or more, such as 4")
        if not initial_threshold > 0:
            raise ModelError(f"QuantisedReLU: got initial_threshold={initial_threshold}: takes a number above 0")
        super().__init__(**kwargs)
        self.levels, self.initial_threshold = int(levels), float(initial_threshold)

    def build(self, input_shape: Any) -> None:
        """Create the threshold."""
        tf = import_tensorflow()
        start = _keras.initializers.Constant(float(tf.math.log(self.initial_threshold)))
        self.log_threshold = self.add_weight("log_threshold", (), initializer=start)
        super().build(input_shape)

    @property
    def threshold(self) -> float:
        """Present threshold, which is the largest output."""
        return float(import_tensorflow().exp(self.log_threshold))

    def call(self, x: Any) -> Any:
        """Return the quantised values of ``x``."""
        tf = import_tensorflow()
        threshold = tf.exp(tf.cast(self.log_threshold, x.dtype))
        share = tf.clip_by_value(x / threshold, 0.0, 1.0)
        return threshold * (share + tf.stop_gradient(tf.floor(share * self.levels + 0.5) / self.levels - share))

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        config: dict[str, Any] = super().get_config()
        return config | {"levels": self.levels, "initial_threshold": self.initial_threshold}
