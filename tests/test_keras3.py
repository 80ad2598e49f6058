"""Models of Keras 3, as objects and as files: translated, compared, refused by name."""

import json
from pathlib import Path

import numpy as np
import pytest
import tf_keras

from snnpipe import ModelFile
from snnpipe.base.errors import ModelError
from snnpipe.frameworks.keras3 import is_keras_3, translated
from snnpipe.testing import SPEC

keras = pytest.importorskip("keras")
layers = keras.layers
RNG = np.random.default_rng(0)


def with_weights(model):
    """Give all weights values that count, statistics of normalisation too."""
    for weight in model.weights:
        if "seed" in weight.path:
            continue
        low = 0.5 if "variance" in weight.path else -0.5
        weight.assign(RNG.uniform(low, low + 1, weight.shape))
    return model


def residual():
    x = inputs = layers.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same", use_bias=False, kernel_regularizer=keras.regularizers.L2(1e-4))(x)
    x = start = layers.ReLU(name="stem")(layers.BatchNormalization(epsilon=1e-5)(x))
    x = layers.SeparableConv2D(4, 3, padding="same", activation="relu")(x)
    x = layers.Activation("relu")(layers.Add()([layers.DepthwiseConv2D(3, padding="same")(x), start]))
    x = layers.Concatenate()([layers.AveragePooling2D(2)(x), layers.MaxPooling2D(2)(start)])
    x = layers.ZeroPadding2D(((1, 0), (0, 1)))(x)
    x = layers.Conv2D(3, 3, strides=2, groups=1, dilation_rate=1, activation=layers.ReLU(max_value=2.0))(x)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(3)(x), name="residual")


def operations():
    x = inputs = layers.Input((6,))
    a, b = layers.Dense(4, activation="leaky_relu")(x), layers.Dense(4, activation="tanh")(x)
    return keras.Model(inputs, layers.Dense(3)(a + b))


def shared():
    dense = layers.Dense(6, activation="relu", name="twice")
    x = inputs = layers.Input((6,))
    return keras.Model(inputs, layers.Dense(3)(dense(dense(x))))


MODELS = {
    "sequential": lambda: keras.Sequential(
        [
            layers.Input((8, 8, 3)),
            layers.RandomFlip(),
            layers.Rescaling(1 / 255, offset=-1.0),
            layers.Conv2D(4, 3, activation="relu"),
            layers.LeakyReLU(negative_slope=0.1),
            layers.Flatten(),
            layers.Dense(3),
        ]
    ),
    "residual": residual,
    "series": lambda: keras.Sequential(
        [
            layers.Input((20, 2)),
            layers.Conv1D(4, 3, padding="causal", activation="relu"),
            layers.AveragePooling1D(2),
            layers.UpSampling1D(2),
            layers.Cropping1D(1),
            layers.Reshape((-1,)),
            layers.Dense(3, activation="softmax"),
        ]
    ),
    "operations": operations,
    "shared": shared,
    "nested": lambda: keras.Sequential(
        [
            layers.Input((6,)),
            keras.Sequential([layers.Input((6,)), layers.Dense(5, activation="relu")]),
            layers.Dense(3),
        ]
    ),
}


def outputs(model, samples):
    return np.asarray(model(samples, training=False))


@pytest.mark.parametrize("name", MODELS)
def test_a_translated_model_computes_the_same(name):
    model = with_weights(MODELS[name]())
    copy = translated(model)
    assert is_keras_3(model) and not is_keras_3(copy) and isinstance(copy, tf_keras.Model)
    samples = RNG.uniform(-1, 1, (5, *model.input_shape[1:])).astype(np.float32)
    np.testing.assert_allclose(outputs(copy, samples), outputs(model, samples), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("which", [keras, tf_keras], ids=["keras 3", "keras 2"])
def test_files_of_both_keras_are_models(tmp_path, which, suffix):
    model = which.Sequential(
        [
            which.layers.Input((8, 8, 1)),
            which.layers.Conv2D(3, 3, activation="relu"),
            which.layers.BatchNormalization(),
            which.layers.Flatten(),
            which.layers.Dense(10),
        ]
    )
    model.compile(loss="mse", optimizer="adam")
    path = tmp_path / f"net{suffix}"
    model.save(path)
    loaded = ModelFile(str(path)).build(SPEC)
    samples = RNG.uniform(-1, 1, (5, 8, 8, 1)).astype(np.float32)
    assert isinstance(loaded, tf_keras.Model)
    np.testing.assert_allclose(outputs(loaded, samples), outputs(model, samples), rtol=1e-4, atol=1e-5)


def test_a_saved_model_of_keras_2_is_a_model(tmp_path):
    model = tf_keras.Sequential([tf_keras.layers.Input((4,)), tf_keras.layers.Dense(3, activation="relu")])
    model.save(tmp_path / "folder")
    loaded = ModelFile(str(tmp_path / "folder")).build(SPEC)
    samples = RNG.uniform(-1, 1, (5, 4)).astype(np.float32)
    np.testing.assert_allclose(outputs(loaded, samples), outputs(model, samples), rtol=1e-5)


ARITHMETIC = {
    "x / 255.0": lambda x: x / 255.0,
    "1 - x / 255": lambda x: 1 - x / 255,
    "(x - 127.5) * 0.01": lambda x: (x - 127.5) * 0.01,
    "2 * x + 3": lambda x: 2 * x + 3,
    "3 + -x": lambda x: 3 + -x,
    "divide": lambda x: keras.ops.divide(x, 7),
    "subtract": lambda x: keras.ops.subtract(x1=x, x2=5.0),
}


@pytest.mark.parametrize("formula", ARITHMETIC)
def test_arithmetic_with_numbers_is_a_scaling(formula):
    x = inputs = layers.Input((6,))
    x = layers.Dense(5, activation="relu")(ARITHMETIC[formula](x))
    model = with_weights(keras.Model(inputs, layers.Dense(3)(ARITHMETIC[formula](x))))
    samples = RNG.uniform(0, 255, (5, 6)).astype(np.float32)
    np.testing.assert_allclose(outputs(translated(model), samples), outputs(model, samples), rtol=1e-4, atol=1e-3)


def test_names_of_scalings_are_their_own():
    from keras.src.ops.numpy import Add

    first, again = Add(name="add"), layers.Input((6,))
    x = layers.Dense(6, activation="relu", name="add_1")(first(first(again, 2.0), 3.0))
    model = with_weights(keras.Model(again, layers.Dense(3)(x)))
    samples = RNG.uniform(-1, 1, (5, 6)).astype(np.float32)
    np.testing.assert_allclose(outputs(translated(model), samples), outputs(model, samples), rtol=1e-4, atol=1e-4)


def test_arithmetic_on_whole_numbers_that_wraps_around_is_refused():
    inputs = layers.Input((6,), dtype="uint8")
    with pytest.raises(ModelError, match="computes something else"):
        translated(with_weights(keras.Model(inputs, layers.Dense(3)(inputs * 3))))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_arithmetic_that_gives_no_numbers_is_refused(number):
    inputs = layers.Input((6,))
    with pytest.raises(ModelError):
        translated(with_weights(keras.Model(inputs, layers.Dense(3)(inputs * number))))


@pytest.mark.parametrize("formula", [lambda x: 1 / (x + 3), lambda x: x**2], ids=["1 / x", "x squared"])
def test_other_arithmetic_is_refused(formula):
    inputs = layers.Input((6,))
    with pytest.raises(ModelError, match=r"has no counterpart in tf_keras: .* a scaling is layers.Rescaling"):
        translated(keras.Model(inputs, layers.Dense(3)(formula(inputs))))


class Doubled(layers.Layer):
    def call(self, x):
        return 2 * x


def one_layer(layer):
    return keras.Sequential([layers.Input((8, 8, 3)), layer, layers.Flatten(), layers.Dense(3)])


def squared():
    x = inputs = layers.Input((6,))
    return keras.Model(inputs, keras.ops.square(layers.Dense(3)(x)))


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: one_layer(Doubled(name="mine")), "'mine' (Doubled) of Keras 3 has no counterpart in tf_keras"),
        (squared, "(Square) of Keras 3 has no counterpart in tf_keras"),
        (lambda: one_layer(layers.Conv2D(3, 3, activation=Doubled(), name="conv")), "'conv' (Conv2D) of Keras 3 has"),
        (lambda: keras.Sequential([layers.Dense(3)]), "begin it with keras.Input(shape)"),
        (lambda: one_layer(layers.RMSNormalization(name="rms")), "'rms' (RMSNormalization) of Keras 3 has no counter"),
        (lambda: one_layer(layers.Activation(lambda x: x * 2, name="twice")), "layer 'twice' (Activation) of Keras 3"),
    ],
)
def test_what_has_no_counterpart_is_named(model, words):
    with pytest.raises(ModelError) as refused:
        translated(model())
    assert words in str(refused.value)


def leaky():
    inputs = layers.Input((6,))
    x = layers.LeakyReLU(negative_slope=0.1)(layers.Dense(8)(inputs))
    return keras.Model(inputs, layers.Dense(3)(keras.ops.relu(layers.Dense(8)(x))))


def test_rectifiers_keep_their_slope_and_may_be_operations():
    model = with_weights(leaky())
    copy = translated(model)
    slopes = [layer.get_config()["alpha"] for layer in copy.layers if type(layer).__name__ == "LeakyReLU"]
    assert slopes == [pytest.approx(0.1)]
    x = RNG.normal(size=(20, 6)).astype(np.float32)
    np.testing.assert_allclose(copy.predict_on_batch(x), outputs(model, x), atol=1e-6)


def test_a_layer_that_computes_something_else_is_named(monkeypatch):
    """A layer of tf_keras that is made to give something else, in the middle of others that give the same."""
    call = tf_keras.layers.AveragePooling2D.call
    monkeypatch.setattr(tf_keras.layers.AveragePooling2D, "call", lambda self, x: call(self, x) * 1.001)
    with pytest.raises(ModelError, match=r"'average_pooling2d\w*' \(AveragePooling2D\) .* something else .*by 0.1 %"):
        translated(with_weights(residual()))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.keras", None, "there is no file"),
        ("text.keras", b"hello", "cannot be read as a model"),
        ("text.h5", b"hello", "cannot be read as a model"),
    ],
)
def test_a_file_that_is_no_model_is_one_line(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError) as refused:
        ModelFile(str(tmp_path / name)).build(SPEC)
    assert str(refused.value).startswith("model.path: ") and words in str(refused.value)
    assert "take a .keras or .h5 file" in str(refused.value) and "\n" not in str(refused.value)


def test_weights_alone_are_no_model(tmp_path):
    model = one_layer(layers.ReLU())
    model.save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(ModelError, match="holds weights and no architecture"):
        ModelFile(str(tmp_path / "net.weights.h5")).build(SPEC)


@pytest.mark.slow
def test_a_trained_file_is_converted_as_it_is(command, digits):
    data = digits()
    model = keras.Sequential(
        [layers.Input((8, 8, 1)), layers.Flatten(), layers.Dense(32, activation="relu"), layers.Dense(10)]
    )
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True), optimizer=keras.optimizers.Adam(0.01)
    )
    samples, labels = (np.concatenate(parts) for parts in zip(*data.train_dataset(0).as_numpy_iterator(), strict=True))
    model.fit(samples, labels, epochs=5, verbose=0)
    model.save("net.keras")
    result = command("model=file", "model.path=net.keras", "training=none", "logger=csv", "callbacks=none")
    assert result.code == 0, result.err
    test, their_labels = (np.concatenate(parts) for parts in zip(*data.test_dataset().as_numpy_iterator(), strict=True))
    right = np.mean(np.argmax(outputs(model, test), axis=-1) == their_labels)
    assert f"ANN accuracy      {100 * right:.2f} %" in result.out
    (params,) = Path("mlruns/outputs").glob("*/params.json")
    assert json.loads(params.read_text())["model.path"] == "net.keras"
