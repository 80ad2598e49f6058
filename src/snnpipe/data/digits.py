"""The handwritten digits that come with scikit-learn, as a tensorflow-datasets builder.

Importing this module registers the builder under the name ``digits``.
"""

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

_EVERY = 5  # every fifth image is a test image


class Digits(tfds.core.GeneratorBasedBuilder):
    """1,797 handwritten digits of 8x8 pixels: 1,438 for training and 359 for testing."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "As scikit-learn carries them; every fifth image is for testing."}

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=(
                "The test set of the UCI ML hand-written digits: 32x32 bitmaps of digits by 43 people, "
                "summed over 4x4 blocks to 8x8 images of 17 grey levels, here scaled to 0 to 255."
            ),
            features=tfds.features.FeaturesDict(
                {"image": tfds.features.Image(shape=(8, 8, 1)), "label": tfds.features.ClassLabel(num_classes=10)}
            ),
            supervised_keys=("image", "label"),
            homepage="https://archive.ics.uci.edu/dataset/80",
            citation=(
                "@misc{alpaydin1998, author={Alpaydin, E. and Kaynak, C.}, year={1998}, "
                "title={Optical Recognition of Handwritten Digits}, doi={10.24432/C50P49}}"
            ),
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        return {"train": self._generate_examples(test=False), "test": self._generate_examples(test=True)}

    def _generate_examples(self, test: bool) -> Iterator[tuple[int, dict[str, Any]]]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        levels = np.round(digits.images * (255 / 16)).astype(np.uint8)
        for i, (image, label) in enumerate(zip(levels, digits.target, strict=True)):
            if (i % _EVERY == _EVERY - 1) == test:
                yield i, {"image": image[..., None], "label": int(label)}
