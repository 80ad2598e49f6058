"""Both training paths: the same losses, the same weights back, the same penalties."""

import nengo
import numpy as np
import pytest

from snnpipe import (
    ActivityL1,
    Cnn2d,
    EarlyStopping,
    FiringRateL1,
    FiringRateL2,
    FiringRateTarget,
    KerasToSnn,
    KerasTraining,
    Mlp,
    NengoDLConverter,
    NengoDLTraining,
    Pretrained,
)
from snnpipe.base.errors import CheckpointError, ConfigError, TrainingError
from snnpipe.frameworks.compat import start_afresh
from snnpipe.frameworks.keras_graph import neuron_layers
from snnpipe.testing import Silent, check_regularizer, check_training_path
from snnpipe.training.loop import FitSettings
from snnpipe.values.checkpoint import Checkpoint
from snnpipe.values.run import FitProgress, RunState

SMALL = Cnn2d(filters=[4, 6], dense=16)
SMALLER = Mlp(units=[16])
SLOW, LONG = pytest.mark.slow, pytest.mark.long
PATHS = {"keras": KerasTraining, "nengo_dl": NengoDLTraining}
REGULARIZERS = {
    "none": None,
    "target": FiringRateTarget(rate_hz=50.0, weight=1e-3, layers=["conv*"], scale_firing_rates=20.0),
    "l1": FiringRateL1(weight=1e-2),
    "l2": FiringRateL2(weight=1e-2, layers=["dense"]),
    "activity": ActivityL1(weight=1e-3),
}


class Losses(Silent):
    """Records the loss of every batch: Keras gives the mean so far, so it asks for epochs of one batch."""

    @property
    def losses(self):
        return np.array([p.metrics["fit/loss"] for p in self.epochs])


def weights_after(path, data, architecture=SMALL, **settings):
    start_afresh(0)
    model = architecture.build(data.spec)
    sink = Losses()
    path(**{"epochs": 1, **settings}).fit(model, data, sink)
    return model, sink


class OneBatchAnEpoch:
    """The data module with each epoch cut to one batch, another one each time."""

    def __init__(self, data):
        self._data, self.batch_size = data, data.batch_size

    @property
    def spec(self):
        import dataclasses

        return dataclasses.replace(self._data.spec, n_train=self.batch_size)

    def train_dataset(self, epoch=0):
        return self._data.train_dataset(0).skip(epoch).take(1)

    def validation_dataset(self):
        return None


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["target", *(pytest.param(n, marks=pytest.mark.long) for n in REGULARIZERS if n != "target")],
)
def test_loss_curves_agree(digits, name):
    steps = 3
    data = OneBatchAnEpoch(digits(batch_size=32))
    settings = {"epochs": steps, "regularizer": REGULARIZERS[name]}
    _, keras = weights_after(KerasTraining, data, **settings)
    _, nengo_dl = weights_after(NengoDLTraining, data, scale_firing_rates=1.0, **settings)
    assert len(keras.losses) == steps
    assert len(set(keras.losses)) == steps
    np.testing.assert_allclose(nengo_dl.losses, keras.losses, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture",
    [SMALL, Mlp(units=[16], use_bias=False), pytest.param(KerasToSnn(filters=[4, 6]), marks=SLOW)],
)
def test_both_paths_bring_back_the_same_weights(digits, architecture):
    # 100 images in batches of 32: the last batch has 4, which NengoDL gets padded
    data = digits(max_train_images=100, validation_share=0.0)
    keras, _ = weights_after(KerasTraining, data, architecture, optimizer="sgd", learning_rate=0.05)
    nengo_dl, _ = weights_after(NengoDLTraining, data, architecture, optimizer="sgd", learning_rate=0.05)
    start_afresh(0)
    untrained = architecture.build(data.spec)
    for one, other, before in zip(keras.get_weights(), nengo_dl.get_weights(), untrained.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6)
        assert not np.allclose(one, before, atol=1e-5)


def changes(data, scale):
    """Return how much training changes kernel and bias of two layers."""
    architecture = Cnn2d(filters=[4], dense=8)
    settings = {"optimizer": "sgd", "learning_rate": 0.01, "scale_firing_rates": scale}
    model, _ = weights_after(NengoDLTraining, data, architecture, **settings)
    start_afresh(0)
    built = architecture.build(data.spec)
    return {
        layer: [
            new - old
            for new, old in zip(model.get_layer(layer).get_weights(), built.get_layer(layer).get_weights(), strict=True)
        ]
        for layer in ("conv2d", "dense")
    }


@pytest.mark.slow
def test_scaling_in_training_slows_the_biases_of_dense_neurons_alone(digits):
    # docs/training.md: the dense layer's bias is a parameter in units of the scaled current
    data = digits(max_train_images=32, validation_share=0.0)
    by_1, by_25 = changes(data, 1.0), changes(data, 25.0)
    for layer, slowed in (("conv2d", 1), ("dense", 25**2)):
        (kernel_1, bias_1), (kernel_25, bias_25) = by_1[layer], by_25[layer]
        np.testing.assert_allclose(kernel_25, kernel_1, atol=1e-6)
        moved = np.abs(bias_1) > np.abs(bias_1).max() / 10
        np.testing.assert_allclose(bias_25[moved] * slowed, bias_1[moved], rtol=0.02)


@pytest.mark.slow
def test_validation_measures_rates_and_not_spikes(digits):
    data = digits(max_train_images=200)
    settings = {"neuron": nengo.SpikingRectifiedLinear(), "epochs": 3, "learning_rate": 1e-2}
    _, sink = weights_after(NengoDLTraining, data, Mlp(units=[16]), **settings)
    assert sink.epochs[-1].metrics["fit/val_accuracy"] > 0.3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:training with LIF")
def test_training_with_lif_changes_the_function(digits):
    data = digits(max_train_images=32, validation_share=0.0)
    losses = [
        weights_after(NengoDLTraining, data, SMALLER, neuron=nengo.LIF(), scale_firing_rates=scale)[1].losses[0]
        for scale in (1.0, 25.0)
    ]
    assert abs(losses[0] - losses[1]) > 1e-2


@pytest.mark.slow
@pytest.mark.parametrize("path", ["keras", pytest.param("nengo_dl", marks=LONG)])
def test_a_target_rate_is_approached(digits, path):
    import tf_keras as keras

    target = FiringRateTarget(rate_hz=20.0, weight=1e-2, layers=["conv2d"], scale_firing_rates=20.0)

    def distance(regularizer):
        data = digits(max_train_images=320, validation_share=0.0)
        model, _ = weights_after(PATHS[path], data, epochs=6, learning_rate=1e-2, regularizer=regularizer)
        activations = keras.Model(model.inputs, model.get_layer("conv2d").output)
        images, _ = next(data.test_dataset(64).as_numpy_iterator())
        return float(np.mean(target.penalty(20 * activations.predict(images, verbose=0).reshape(64, -1))))

    assert distance(target) < distance(None) / 2


@pytest.mark.parametrize("name", [n for n in REGULARIZERS if REGULARIZERS[n]])
def test_regularizer_contract(name):
    check_regularizer(FiringRateTarget() if name == "target" else type(REGULARIZERS[name])())


def test_penalties_by_hand():
    rates = np.array([[0.0, 100.0], [250.0, 350.0]], np.float32)
    assert np.array_equal(FiringRateTarget(rate_hz=250.0).penalty(rates), [(250**2 + 150**2) / 2, 100**2 / 2])
    assert np.array_equal(FiringRateL1().penalty(rates), [50, 300])
    assert np.array_equal(FiringRateL2().penalty(rates), [5000, (250**2 + 350**2) / 2])
    assert np.array_equal(ActivityL1().penalty(rates), [100, 600])
    assert ActivityL1(layers=["conv*"]).scale_of(["conv2d", "dense"]) == {"conv2d": 1.0}


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_the_sum_of_an_images_activations_by_hand(digits, path):
    data = digits(max_train_images=32, validation_share=0.0)
    images, _ = next(data.train_dataset(0).as_numpy_iterator())
    step = {"optimizer": "sgd", "learning_rate": 0.1}
    plain, without = weights_after(PATHS[path], data, SMALLER, **step)
    penalised, with_penalty = weights_after(PATHS[path], data, SMALLER, regularizer=ActivityL1(weight=0.01), **step)
    start_afresh(0)
    kernel, bias, *_ = SMALLER.build(data.spec).get_weights()
    inputs = images.reshape(32, -1)
    activations = np.maximum(inputs @ kernel + bias, 0)
    sums = activations.sum(axis=1)
    np.testing.assert_allclose(with_penalty.losses - without.losses, [0.01 * sums.mean()], rtol=1e-3)
    active = (activations > 0).astype(np.float32)
    gradients = 0.01 * inputs.T @ active / 32, 0.01 * active.mean(axis=0)
    for one, other, gradient in zip(penalised.get_weights(), plain.get_weights(), gradients, strict=False):
        np.testing.assert_allclose(one - other, -0.1 * gradient, atol=1e-6)


def test_rates_in_hz_need_a_scale_that_is_known_before_training():
    with pytest.raises(ConfigError, match=r"scale_firing_rates: got 'auto': .*=100, or .*regularizer=activity_l1"):
        FiringRateL1(scale_firing_rates="auto")


def test_a_regularizer_for_a_layer_that_is_not_there_is_named(digits):
    model = SMALL.build(digits().spec)
    with pytest.raises(ConfigError, match=r"training.regularizer.layers: .*'conv7'.*conv2d"):
        KerasTraining(regularizer=FiringRateL1(layers=["conv7"])).check(model)


@pytest.mark.parametrize("path", [*PATHS.values()])
def test_training_path_contract(digits, path):
    check_training_path(path(epochs=2), SMALLER, digits(max_train_images=64))


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS)
def test_validation_metrics_are_the_models_own_and_training_is_repeatable(digits, path):
    data = digits(max_train_images=100)
    one, sink = weights_after(PATHS[path], data, SMALLER, epochs=2)
    other, again = weights_after(PATHS[path], data, SMALLER, epochs=2)
    assert {"fit/val_loss", "fit/val_accuracy", "fit/images_per_s"} <= set(sink.epochs[0].metrics)
    assert np.array_equal(sink.losses, again.losses)
    assert all(np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))
    images, labels = (np.concatenate(a) for a in zip(*data.validation_dataset().as_numpy_iterator(), strict=True))
    right = np.mean(np.argmax(one.predict(images, verbose=0), axis=-1) == labels)
    assert sink.epochs[-1].metrics["fit/val_accuracy"] == pytest.approx(right, abs=1e-6)


@pytest.mark.parametrize("path", PATHS)
def test_a_loss_that_is_no_number_ends_training(digits, path):
    with pytest.raises(TrainingError, match=r"epoch \d, batch \d+: lower training.learning_rate"):
        weights_after(
            PATHS[path],
            digits(max_train_images=100),
            Mlp(units=[8]),
            learning_rate=1e25,
            optimizer="sgd",
            loss="mean_squared_error",
            epochs=3,
        )


@pytest.mark.parametrize(
    ("architecture", "layer"),
    [
        (Cnn2d(filters=[4], dense=8, kernel_regularizer=0.1), "conv2d"),
        (Cnn2d(filters=[4], dense=8, batch_normalization=True), "conv2d_bn"),
        (Cnn2d(filters=[4], dense=8, dropout=0.5), "dropout"),
    ],
)
def test_what_nengo_dl_cannot_train_is_named(digits, architecture, layer):
    with pytest.raises(TrainingError, match=rf"'{layer}'.*training=keras"):
        NengoDLTraining().check(architecture.build(digits().spec))


def test_what_training_brings_back_converts_to_the_same_function(digits):
    data = digits(max_train_images=100)
    model, _ = weights_after(NengoDLTraining, data, SMALLER, scale_firing_rates=25.0)
    network = NengoDLConverter(neuron=nengo.RectifiedLinear(), scale_firing_rates=25.0, synapse=None).convert(
        model, seed=0
    )
    assert [layer.name for layer in network.layers] == [layer.name for layer in neuron_layers(model)]


@pytest.mark.parametrize("path", [KerasTraining, NengoDLTraining])
def test_no_epochs_leave_the_weights_as_built(digits, path):
    data = digits(max_train_images=100)
    start_afresh(0)
    built = SMALLER.build(data.spec).get_weights()
    model, sink = weights_after(path, data, SMALLER, epochs=0, schedule="cosine")
    assert sink.epochs == []
    for before, after in zip(built, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("schedule", "expected"), [("constant", 1e-2), ("cosine", 1e-2 * 0.505), ("exponential", 1e-2 * 0.1)]
)
def test_schedules(schedule, expected):
    optimizer = FitSettings(epochs=2, learning_rate=1e-2, schedule=schedule, schedule_end=0.01).make_optimizer(50)
    rate = optimizer.learning_rate
    config = optimizer.get_config()["learning_rate"]
    if schedule != "constant":
        kind = {"cosine": "CosineDecay", "exponential": "ExponentialDecay"}[schedule]
        assert config["class_name"] == kind
        import tf_keras as keras

        rate = getattr(keras.optimizers.schedules, kind)(**config["config"])(50)
    assert float(rate) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "rmsprop", "sgd"])
def test_optimizers(name):
    assert FitSettings(optimizer=name).make_optimizer().get_config()["learning_rate"] == pytest.approx(2e-3)


def test_an_option_that_the_optimizer_lacks_is_named():
    with pytest.raises(ConfigError, match="training.optimizer_options.*adam"):
        FitSettings(optimizer_options={"mass": 3}).make_optimizer()


def test_another_loss_falls(digits):
    loss = "mean_squared_error"
    _, sink = weights_after(KerasTraining, digits(max_train_images=160), SMALLER, epochs=3, loss=loss)
    assert sink.losses[-1] < sink.losses[0]


def test_early_stopping_waits_its_patience():
    state = RunState(0, "", lambda path, folder: None)
    callback = EarlyStopping(monitor="fit/val_accuracy", mode="max", patience=2, min_delta=0.01)
    callback.on_fit_start(state)
    stopped = []
    for epoch, value in enumerate([0.5, 0.6, 0.605, 0.55]):
        callback.on_epoch_end(state, FitProgress(epoch + 1, 9, {"fit/val_accuracy": value}))
        stopped.append(state.stop_training)
    assert stopped == [False, False, False, True]


def test_early_stopping_names_a_metric_that_is_not_there():
    callback = EarlyStopping(monitor="val_loss")
    callback.on_fit_start(None)
    with pytest.raises(TrainingError, match=r"'val_loss'; did you mean 'fit/val_loss'"):
        callback.on_epoch_end(None, FitProgress(1, 1, {"fit/val_loss": 1.0}))


# ---------------------------------------------------------------------- checkpoints


@pytest.fixture
def built(digits):
    """A network with weights, and the data that it is for."""
    data = digits()
    start_afresh(0)
    return SMALL.build(data.spec), data


def test_a_checkpoint_brings_the_weights_back(built, tmp_path):
    model, data = built
    folder = Checkpoint.of(model, 3, {"fit/loss": 0.5}).save(tmp_path / "checkpoint")
    start_afresh(1)
    other = SMALL.build(data.spec)
    path = Pretrained(str(folder))
    path.check(other)
    found = path.fit(other, data, Silent())
    assert (found.epochs, found.metrics) == (3, {"fit/loss": 0.5})
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), other.get_weights(), strict=True))


def test_a_checkpoint_of_another_architecture_is_refused(built, tmp_path):
    model, data = built
    folder = Checkpoint.of(model).save(tmp_path / "checkpoint")
    with pytest.raises(CheckpointError, match=r"another architecture: weight 'conv2d/kernel:0'"):
        Pretrained(str(folder)).check(Cnn2d(filters=[8, 6], dense=16).build(data.spec))


@pytest.mark.parametrize("damage", ["missing", "cut off", "altered", "no json", "other format", "no key"])
def test_a_damaged_checkpoint_is_refused(built, tmp_path, damage):
    folder = Checkpoint.of(built[0]).save(tmp_path / "checkpoint")
    weights, description = folder / "weights.npz", folder / "checkpoint.json"
    if damage == "missing":
        description.unlink()
    elif damage == "cut off":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif damage == "altered":
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 1
        weights.write_bytes(content)
    elif damage == "no json":
        description.write_text("{")
    elif damage == "other format":
        description.write_text('{"format": 99}')
    elif damage == "no key":
        description.write_text('{"format": 1}')
    with pytest.raises(CheckpointError, match="checkpoint"):
        Checkpoint.load(folder)
