"""The rows of the published recipes: what is run, and what the page that it comes from has."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One setting of a recipe.

    Attributes
    ----------
    name
        Of the row; where ``experiment`` is set, of the experiment's file too.
    what
        For the table.
    published
        Accuracy on the page, in percent, and of how many images (None where it does not say); None where the page has
        none.
    experiment
        Whether the row has an experiment file of its own.
    settings
        Further overrides.
    seeds
        How many.
    published_ann, published_fit
        Accuracies of the network before its conversion, on test and on training images, in percent; None where the
        page has none.
    """

    name: str
    what: str
    published: tuple[float, int | None] | None = None
    experiment: bool = True
    settings: tuple[str, ...] = ()
    seeds: int = 1
    published_ann: float | None = None
    published_fit: float | None = None

    def overrides(self, recipe: str) -> list[str]:
        """Return what follows ``python -m snnpipe``."""
        own = f"/{self.name}" if self.experiment and self.name != recipe else ""
        return [f"experiment={recipe}{own}", *self.settings]


def _plain(name, what, *settings, published=None, seeds=1):
    return Row(name, what, published, False, settings, seeds)


_SCALE_100 = "conversion.scale_firing_rates=100"
_SYNAPSE_10MS = ("conversion.synapse=0.01", "simulator.n_steps=60")
_MEAN = ("simulator.readout=mean", "simulator.readout_steps=10")
_NOISE = "model.activation_noise=5.0"
_SCALED = "data.scaling=minus_one_to_one"
_NENGO_GAINS = "conversion.gains=nengo"
_HEIGHT = "conversion.amplitude=1.0"
_INPUT_NEURONS = ("conversion.input_neurons=true", "encoder=constant", "~encoder.max_rate_hz")

_SHORT = "training.epochs=3"
_DRAWN = "model.initial_voltage=null"
_GLOROT = "model.logits_initializer=glorot_uniform"
_RATE = ("conversion.scale_firing_rates=1", "conversion.synapse=null", "simulator.n_steps=10")

RECIPES = {
    "mnist_nengo_dl": [
        Row("mnist_nengo_dl", "as published", (97.93, None), published_fit=99.56),
        _plain("glorot", "logits as Keras initialises them", _GLOROT),
        _plain("keras", "3 epochs of Keras", "training=keras", "~training.scale_firing_rates", _SHORT, seeds=3),
        _plain("nengo_dl_1", "3 epochs of NengoDL, scale 1", "training.scale_firing_rates=1.0", _SHORT, seeds=3),
        _plain("nengo_dl_25", "3 epochs of NengoDL, scale 25", _SHORT, seeds=3),
    ],
    "cifar10_keras": [
        Row("cifar10_keras", "as published", (61.71, None), published_ann=71.11, published_fit=77.20),
        _plain("scale_100", "scale 100", _SCALE_100),
        _plain("synapse_10ms", "synapse 10 ms, 60 steps", *_SYNAPSE_10MS),
        _plain("synapse_20ms", "synapse 20 ms, 120 steps", "conversion.synapse=0.02", "simulator.n_steps=120"),
        _plain("mean", "mean of the last 10 steps", *_MEAN),
        _plain("together", "scale 100, synapse 10 ms, 60 steps, mean", _SCALE_100, *_SYNAPSE_10MS, *_MEAN),
        _plain("noise", "trained with noise of 5 on the ReLUs", _NOISE),
        _plain("noise_together", "the same, and the three together", _NOISE, _SCALE_100, *_SYNAPSE_10MS, *_MEAN),
        _plain("scaled", "images as [-1, 1]", _SCALED),
        _plain("scaled_together", "the same, and the three together", _SCALED, _SCALE_100, *_SYNAPSE_10MS, *_MEAN),
        _plain("unregularized", "trained without a kernel regularizer", "model.kernel_regularizer=0.0"),
    ],
    "mnist_lif_native": [
        Row("mnist_lif_native", "after training", (99.25, 400)),
        _plain("drawn", "the same, initial voltages drawn", _DRAWN),
        _plain(
            "glorot",
            "the same, weights as Keras initialises them",
            *(_DRAWN, "model.initializer=glorot_uniform", _GLOROT),
        ),
        _plain("untrained", "before training", "training.epochs=0", published=(7.0, 400)),
    ],
    "mnist_poisson_lif": [
        Row("mnist_poisson_lif", "gains and biases given", (97.0, None)),
        _plain("nengo_gains", "gains and biases that Nengo draws", _NENGO_GAINS),
        _plain("input_neurons", "input neurons with gains that Nengo draws", *_INPUT_NEURONS),
        _plain("pixels", "trained and shown pixels of 0 to 255", "data.scaling=none"),
        _plain("height", "spikes of height 1 / dt", _HEIGHT),
        _plain("one_image", "one image at a time", "simulator.batch_size=1"),
        _plain("but_input_neurons", "all but the input neurons", _NENGO_GAINS, "data.scaling=none", _HEIGHT),
        _plain(
            "published",
            "all, as published",
            *(_NENGO_GAINS, *_INPUT_NEURONS, "data.scaling=none", _HEIGHT),
            published=(45.0, None),
        ),
    ],
    "mnist_keras_to_snn": [
        Row("rate", "rate neurons", (98.25, 400), seeds=3),
        Row("naive", "spiking, nothing else", (20.75, 400), seeds=3),
        Row("synapse_1ms", "synapse 1 ms, 60 steps", (23.0, 400), seeds=3),
        Row("synapse_5ms", "synapse 5 ms, 60 steps", (52.25, 400), seeds=3),
        Row("synapse_10ms", "synapse 10 ms, 60 steps", (71.75, 400), seeds=3),
        Row("scale_2", "synapse 10 ms, scale 2, 30 steps", (80.25, 400), seeds=3),
        Row("scale_5", "synapse 10 ms, scale 5, 30 steps", (96.0, 400), seeds=3),
        Row("scale_10", "synapse 10 ms, scale 10, 30 steps", (98.25, 400), seeds=3),
        Row("scale_1000", "no synapse, scale 1000, 10 steps", (98.25, 400), seeds=3),
        Row("regularized_rate", "rates regularised to 250 Hz, rate neurons", (98.5, 400), seeds=3),
        _plain(
            "glorot_rate", "rate neurons, logits as Keras initialises them", _GLOROT, "neuron=rate", *_RATE, seeds=3
        ),
        _plain("glorot_scale_10", "synapse 10 ms, scale 10, logits as Keras initialises them", _GLOROT, seeds=3),
        Row("regularized", "rates regularised to 250 Hz, spiking, synapse 10 ms", (98.25, 400), seeds=3),
    ],
}
