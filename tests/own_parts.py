"""Files that a user would have: a data module and a network of their own, which read theirs from NumPy archives."""

from pathlib import Path

import numpy as np

MODULE = """
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
import tf_keras

from snnpipe import DataSpec


@dataclass
class Pictures:
    file: str
    batch_size: int = 16
    random_order: bool = False

    def prepare_data(self):
        pass

    def setup(self):
        with np.load(self.file) as found:
            self.x, self.y = found["x"], found["y"]

    @property
    def spec(self):
        return DataSpec("", "1", (4, 4, 1), 2, ("dark", "bright"), 96, 32, 64, "none")

    def _split(self, first, last, batch_size, order=None):
        x, y = self.x[first:last], self.y[first:last]
        order = np.arange(len(x)) if order is None else order
        return tf.data.Dataset.from_tensor_slices((x[order], y[order])).batch(batch_size)

    def train_dataset(self, epoch=0):
        rng = np.random.default_rng(None if self.random_order else epoch)
        return self._split(0, 96, self.batch_size, rng.permutation(96))

    def validation_dataset(self):
        return self._split(96, 128, self.batch_size)

    def test_dataset(self, batch_size=None):
        return self._split(128, 192, batch_size or self.batch_size)


def net(spec, weights=None):
    model = tf_keras.Sequential([
        tf_keras.layers.Input(spec.input_shape),
        tf_keras.layers.Flatten(),
        tf_keras.layers.Dense(8, activation="relu", name="hidden"),
        tf_keras.layers.Dense(spec.n_classes, name="logits"),
    ])
    if weights is not None:
        with np.load(weights) as found:
            model.set_weights([found[name] for name in sorted(found.files)])
    return model
"""
DATA = "_target_: own_pictures.Pictures\nfile: pictures.npz\nbatch_size: 16\nrandom_order: false\n"
MODEL = "_target_: own_pictures.net\nweights: null\n"
FAST = (
    *("data=pictures", "model=net", "training.epochs=12", "training.learning_rate=0.02", "simulator.n_steps=30"),
    *("diagnosis.images=0", "callbacks=none", "logger=mlflow"),
)


def write(folder: Path) -> None:
    """Write the module ``own_pictures`` and configs that name its parts, under ``conf``."""
    (folder / "own_pictures.py").write_text(MODULE)
    for group, name, text in (("data", "pictures", DATA), ("model", "net", MODEL)):
        (folder / "conf" / group).mkdir(parents=True, exist_ok=True)
        (folder / "conf" / group / f"{name}.yaml").write_text(text)


def pictures(*, swapped: slice | None = None, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images and labels, dark or bright; in a slice of them the labels are the wrong way round."""
    rng = np.random.default_rng(seed)
    labels = np.tile([0, 1], 96)
    images = rng.uniform(0, 0.4, (192, 4, 4, 1)) + 0.6 * labels[:, None, None, None]
    if swapped is not None:
        labels[swapped] = 1 - labels[swapped]
    return images.astype(np.float32), labels.astype(np.int64)


def save(path: Path, *, swapped: slice | None = None) -> None:
    """Write images and labels to the file that ``own_pictures.Pictures`` reads."""
    images, labels = pictures(swapped=swapped)
    np.savez(path, x=images, y=labels)
