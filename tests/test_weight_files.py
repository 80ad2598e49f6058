"""Weights from files without an architecture: of Keras 3, of tf_keras, and of NumPy."""

import keras
import numpy as np
import pytest
import tf_keras

from snnpipe import Cnn2d, Mlp, Pretrained
from snnpipe.base.errors import CheckpointError
from snnpipe.frameworks.compat import start_afresh
from snnpipe.testing import Silent
from snnpipe.values.data import DataSpec

SPEC = DataSpec(input_shape=(8, 8, 1), n_classes=4)
RNG = np.random.default_rng(0)
IMAGES = RNG.uniform(size=(5, 8, 8, 1)).astype(np.float32)


def built(which, named=False, dense=6):
    """Return the architecture of `Cnn2d(filters=[3, 5], dense=6, batch_normalization=True)` in one of both Keras."""
    start_afresh(0)
    layers = which.layers
    x = inputs = layers.Input((8, 8, 1))
    for name, n in (("conv2d", 3), ("conv2d_1", 5)):
        x = layers.Conv2D(n, 3, padding="same", **({"name": name} if named else {}))(x)
        x = layers.BatchNormalization(**({"name": f"{name}_bn"} if named else {}))(x)
        x = layers.AveragePooling2D(2)(layers.ReLU()(x))
    x = layers.Dense(dense, **({"name": "dense"} if named else {}))(layers.Flatten()(x))
    x = layers.BatchNormalization(**({"name": "dense_bn"} if named else {}))(x)
    x = layers.Dense(4, **({"name": "logits"} if named else {}))(layers.ReLU()(x))
    model = which.Model(inputs, x)
    model.set_weights([RNG.uniform(0.1, 1, w.shape) for w in model.get_weights()])
    return model


def own():
    return Cnn2d(filters=[3, 5], dense=6, batch_normalization=True).build(SPEC)


def weights_by_name(model, path):
    np.savez(path, **{weight.name.partition(":")[0]: weight.numpy() for weight in model.weights})


@pytest.mark.parametrize(
    ("which", "name", "save"),
    [
        (keras, "net.weights.h5", lambda model, path: model.save_weights(path)),
        (tf_keras, "net.weights.h5", lambda model, path: model.save_weights(path)),
        (tf_keras, "net.h5", lambda model, path: model.save_weights(path)),
        (tf_keras, "net.npz", lambda model, path: np.savez(path, *model.get_weights())),
        (tf_keras, "named.npz", weights_by_name),
    ],
    ids=["keras 3", "keras 2", "keras 2, as of old", "arrays in order", "arrays by name"],
)
@pytest.mark.parametrize("named", [False, True])
def test_a_model_of_the_same_architecture_takes_them(tmp_path, which, name, save, named):
    if name == "named.npz" and not named:
        pytest.skip("the names of arrays are the model's")
    original = built(which, named)
    save(original, tmp_path / name)
    model = own()
    checkpoint = Pretrained(str(tmp_path / name)).fit(model, None, Silent())
    np.testing.assert_allclose(model.predict_on_batch(IMAGES), np.asarray(original(IMAGES)), rtol=1e-4, atol=1e-5)
    assert list(checkpoint.weights) == [weight.name for weight in model.weights]


def test_the_layers_of_keras_3_are_known_by_name_in_any_order(tmp_path):
    layers = keras.layers
    model = keras.Sequential([layers.Input((4,)), layers.Dense(4, name="dense_2"), layers.Dense(4, name="dense_1")])
    model.set_weights([np.full(w.shape, i) for i, w in enumerate(model.get_weights())])
    model.save_weights(tmp_path / "net.weights.h5")
    layers = tf_keras.layers
    other = tf_keras.Sequential([layers.Input((4,)), layers.Dense(4, name="dense_1"), layers.Dense(4, name="dense_2")])
    Pretrained(str(tmp_path / "net.weights.h5")).fit(other, None, Silent())
    assert [float(w.ravel()[0]) for w in other.get_weights()] == [2, 3, 0, 1]


@pytest.mark.parametrize(
    ("which", "name", "save"),
    [
        (keras, "net.weights.h5", lambda model, path: model.save_weights(path)),
        (tf_keras, "net.weights.h5", lambda model, path: model.save_weights(path)),
        (tf_keras, "net.npz", lambda model, path: np.savez(path, *model.get_weights())),
    ],
    ids=["keras 3", "keras 2", "numpy"],
)
@pytest.mark.parametrize("other", [lambda: Mlp(units=[6]).build(SPEC), own], ids=["fewer layers", "other sizes"])
def test_weights_of_another_architecture_are_refused(tmp_path, which, name, save, other):
    save(built(which, dense=7), tmp_path / name)
    with pytest.raises(CheckpointError) as refused:
        Pretrained(str(tmp_path / name)).check(other())
    message = str(refused.value)
    assert message.startswith("training.checkpoint") and name in message and "choose the model=" in message
    assert "\n" not in message


@pytest.mark.parametrize("name", ["net.weights.h5", "net.npz"])
def test_a_file_that_is_missing_or_damaged_is_named(tmp_path, name):
    with pytest.raises(CheckpointError, match=r"training\.checkpoint: there is no file .*net"):
        Pretrained(str(tmp_path / name))
    (tmp_path / name).write_bytes(b"hello")
    with pytest.raises(CheckpointError, match=r"training\.checkpoint: .*cannot be read as weights"):
        Pretrained(str(tmp_path / name)).check(own())


def test_pickles_are_not_read(tmp_path):
    np.savez(tmp_path / "net.npz", np.array([print], object))
    with pytest.raises(CheckpointError, match="cannot be read as weights"):
        Pretrained(str(tmp_path / "net.npz")).check(own())
