"""Models as people bring them: each a function of the input's shape and the number of classes, by what is odd in it."""

import functools

import numpy as np
import tensorflow as tf
import tf_keras as keras

L = keras.layers
SHAPE, CLASSES = (7, 6, 2), 3


class Jitter(L.Layer):
    """A user's own augmentation."""

    def call(self, x, training=None):
        return x + tf.random.normal(tf.shape(x)) if training else x


class Rectified(L.Layer):
    """A user's own ReLU."""

    def call(self, x):
        return tf.maximum(x, 0.0)


class Standardised(L.Conv2D):
    """A user's own convolution, whose kernel is not what it multiplies with."""

    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel - tf.reduce_mean(kernel, [0, 1, 2]))


class Swish(L.Layer):
    """A user's own activation."""

    def call(self, x):
        return x * tf.sigmoid(x)


def after(body, shape=SHAPE):
    """A model of some layers, logits behind them."""
    image = L.Input(shape)
    x = body(image)
    x = x if len(x.shape) == 2 else L.Flatten()(x)
    return keras.Model(image, L.Dense(CLASSES, name="logits")(x))


def conv(x, name="conv", **settings):
    settings = {"activation": "relu", "padding": "same"} | settings
    return L.Conv2D(4, 3, name=name, **settings)(x)


def series(x):
    return L.Reshape((7, 12))(x)


def normalization(axis=-1, **settings):
    mean, variance = (np.array([0.5, -1.0]), np.array([4.0, 0.25])) if axis is not None else (0.5, 4.0)
    return L.Normalization(axis=axis, mean=mean, variance=variance, **settings)


def base(name, frozen=False, **settings):
    model = keras.Sequential([L.Input(SHAPE), L.Conv2D(4, 3, name="conv"), L.BatchNormalization(), L.ReLU()], name=name)
    model.trainable = not frozen
    return model


def nested_twice(x):
    image = L.Input(SHAPE)
    inner = keras.Model(image, base("inner")(image), name="middle")
    return base("outer")(x) if x is None else L.AveragePooling2D()(inner(x))


AUGMENTED = {
    "flip": lambda x: conv(L.RandomFlip()(x)),
    "rotation, zoom and contrast": lambda x: conv(L.RandomContrast(0.5)(L.RandomZoom(0.2)(L.RandomRotation(0.2)(x)))),
    "a layer of one's own": lambda x: conv(Jitter()(x)),
    "noise behind neurons": lambda x: L.GaussianNoise(1.0)(conv(x)),
    "spatial dropout": lambda x: L.SpatialDropout2D(0.5)(conv(x)),
}
SCALED = {
    "rescaling with an offset, padded": lambda x: conv(L.Rescaling(1 / 127.5, offset=-1.0)(x)),
    "rescaling with an offset": lambda x: conv(L.Rescaling(1 / 127.5, offset=-1.0)(x), padding="valid"),
    "rescaling before flatten": lambda x: L.Dense(5, activation="relu")(L.Flatten()(L.Rescaling(0.1)(x))),
    "rescaling of channels": lambda x: conv(L.Rescaling([0.1, 3.0], offset=[1.0, -2.0])(x), padding="valid"),
    "normalization": lambda x: conv(normalization()(x), padding="valid", groups=2),
    "normalization, padded": lambda x: conv(normalization()(x)),
    "normalization of all": lambda x: conv(normalization(axis=None)(x), padding="valid"),
    "normalization inverted": lambda x: conv(normalization(invert=True)(x)),
    "an operation": lambda x: conv(x / 255.0),
    "operations": lambda x: conv((x - 0.5) * 2.0, padding="valid"),
    "an operation on channels": lambda x: conv(x * tf.constant([0.5, 2.0])),
    "a Lambda": lambda x: conv(L.Lambda(lambda v: v * 0.25 + 1)(x)),
    "a cast": lambda x: conv(tf.cast(x, tf.float32)),
    "behind neurons": lambda x: conv(L.Rescaling(3.0)(conv(x)), "conv_1"),
    "before a depthwise convolution": lambda x: L.ReLU()(L.DepthwiseConv2D(3)(normalization()(x))),
}
RECTIFIED = {
    "an instance": lambda x: conv(x, activation=L.ReLU()),
    "a function of TensorFlow": lambda x: conv(x, activation=tf.nn.relu),
    "a lambda": lambda x: conv(x, activation=lambda v: tf.maximum(v, 0.0)),
    "an operation on a tensor": lambda x: tf.nn.relu(conv(x, activation=None)),
    "slope 0": lambda x: L.LeakyReLU(0.0)(conv(x, activation=None)),
    "a Lambda": lambda x: L.Lambda(lambda v: tf.where(v > 0, v, 0.0))(conv(x, activation=None)),
    "a layer of one's own": lambda x: Rectified(name="own")(conv(x, activation=None)),
}
LEAKY = {
    "a layer": lambda x: L.LeakyReLU(0.2)(conv(x, activation=None)),
    "an instance": lambda x: conv(x, activation=L.LeakyReLU(0.3)),
    "by name": lambda x: conv(x, activation="leaky_relu"),
    "a ReLU with a slope": lambda x: L.ReLU(negative_slope=0.1)(conv(x, activation=None)),
    "an operation": lambda x: tf.nn.leaky_relu(conv(x, activation=None), alpha=0.05),
    "a partial": lambda x: conv(x, activation=functools.partial(tf.nn.leaky_relu, alpha=0.15)),
}
CLIPPED = {
    "ReLU6": lambda x: L.ReLU(6.0)(conv(x, activation=None)),
    "by name": lambda x: conv(x, activation="relu6"),
    "a function": lambda x: conv(x, activation=tf.nn.relu6),
    "a partial": lambda x: conv(x, activation=functools.partial(keras.activations.relu, max_value=0.5)),
    "an operation": lambda x: tf.nn.relu6(conv(x, activation=None)),
    "low": lambda x: L.ReLU(0.25, name="low")(conv(x, activation=None)),
}
LINEAR = {
    "depthwise": lambda x: L.DepthwiseConv2D(3, depth_multiplier=3, strides=2, activation="relu")(conv(x)),
    "depthwise, normalised": lambda x: L.ReLU()(L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same")(conv(x)))),
    "depthwise 1-D": lambda x: L.DepthwiseConv1D(3, depth_multiplier=2, activation="relu")(series(x)),
    "separable": lambda x: L.SeparableConv2D(5, 3, depth_multiplier=2, activation="relu")(conv(x)),
    "separable, normalised, dilated": lambda x: L.ReLU()(
        L.BatchNormalization()(L.SeparableConv2D(5, 2, dilation_rate=2, use_bias=False)(conv(x)))
    ),
    "separable, rectified otherwise": lambda x: L.SeparableConv2D(5, 3, activation="relu6")(conv(x)),
    "separable 1-D, causal": lambda x: L.SeparableConv1D(5, 3, padding="causal", activation="relu")(series(x)),
    "causal": lambda x: L.Conv1D(5, 3, padding="causal", activation="relu")(series(x)),
    "causal, dilated": lambda x: L.Conv1D(5, 3, padding="causal", dilation_rate=2, activation="relu")(series(x)),
    "causal, with strides": lambda x: L.Conv1D(5, 3, padding="causal", strides=2, activation="leaky_relu")(series(x)),
    "dilated": lambda x: conv(x, dilation_rate=2),
    "dilated in one direction": lambda x: conv(x, dilation_rate=(1, 2), padding="valid"),
    "pooling, padded": lambda x: L.AveragePooling2D(2, padding="same")(conv(x)),
    "pooling that overlaps, padded": lambda x: conv(L.AveragePooling2D(3, 2, padding="same")(conv(x)), "conv_1"),
    "pooling 1-D, padded": lambda x: L.AveragePooling1D(3, padding="same")(
        L.Conv1D(4, 3, activation="relu")(series(x))
    ),
    "pooling, dimensions kept": lambda x: L.GlobalAveragePooling2D(keepdims=True)(conv(x)),
    "flattened, channels first": lambda x: L.Flatten(data_format="channels_first")(conv(x)),
    "permuted": lambda x: L.Dense(5, activation="relu")(L.Flatten()(L.Permute((3, 1, 2))(conv(x)))),
    "cropped": lambda x: conv(L.Cropping2D(((1, 0), (0, 2)))(conv(x)), "conv_1"),
    "padded": lambda x: conv(L.ZeroPadding2D(((1, 0), (0, 2)))(conv(x)), "conv_1", padding="valid"),
    "dense on channels": lambda x: L.Dense(5, activation="relu")(L.Dense(4, activation="relu")(x)),
    "dense on a series": lambda x: L.Dense(5, activation="relu6")(series(x)),
    "concatenated along an axis": lambda x: L.Concatenate(axis=1)([conv(x), conv(x, "conv_1")]),
    "concatenated along the last": lambda x: L.Concatenate(axis=-1)([conv(x), conv(x, "conv_1")]),
    "upsampled": lambda x: conv(L.UpSampling2D((1, 2))(conv(x)), "conv_1"),
    "averaged": lambda x: L.Average()([conv(x), conv(x, "conv_1")]),
    "normalised before, not folded": lambda x: conv(L.BatchNormalization()(conv(x)), "conv_1"),
}
NESTED = {
    "a sequence": lambda x: base("base")(x),
    "two with the same names": lambda x: L.Add()([base("left")(x), base("right")(x)]),
    "two deep": nested_twice,
    "frozen": lambda x: base("base", frozen=True)(x),
    "called as in testing": lambda x: base("base")(x, training=False),
    "dropout called as in training": lambda x: L.Dropout(0.5)(conv(x), training=True),
}
TAKEN = {
    f"{kind}: {name}": body
    for kind, bodies in {
        "augmented": AUGMENTED,
        "scaled": SCALED,
        "rectified": RECTIFIED,
        "leaky": LEAKY,
        "clipped": CLIPPED,
        "linear": LINEAR,
        "nested": NESTED,
    }.items()
    for name, body in bodies.items()
}


def model(name):
    """One of `TAKEN`, with weights and moving statistics that are none of the simple ones."""
    keras.utils.set_random_seed(1)
    made = after(TAKEN[name])
    rng = np.random.default_rng(2)
    for layer in made._flatten_layers(include_self=False):
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([rng.uniform(0.5, 2, w.shape) for w in layer.get_weights()])
        elif getattr(layer, "use_bias", False) and layer.weights:
            *kernels, bias = layer.get_weights()
            layer.set_weights([*kernels, rng.normal(0, 0.3, bias.shape)])
    return made


def swished(spec):
    """An architecture with an activation that no neurons have, behind one that they have."""
    image = L.Input(spec.input_shape)
    x = L.Dense(8, activation="swish", name="odd")(L.Dense(8, activation="relu", name="dense")(L.Flatten()(image)))
    return keras.Model(image, L.Dense(spec.n_classes, name="logits")(x))


def dropped(spec):
    """An architecture with dropout."""
    image = L.Input(spec.input_shape)
    x = L.Dropout(0.1, name="drop")(L.Dense(8, activation="relu", name="dense")(L.Flatten()(image)))
    return keras.Model(image, L.Dense(spec.n_classes, name="logits")(x))
