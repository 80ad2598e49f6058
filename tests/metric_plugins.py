"""A metric of a user's own that tests share: it counts all that it is shown."""

import numpy as np

from snnpipe import MetricSpec

KEPT = 3


class Counting:
    """Counts whole numbers only, so that neither batches nor chunks round them."""

    specs = (
        MetricSpec("own/images", "own images", form=",.0f"),
        MetricSpec("own/right", "own accuracy", unit="%", factor=100, form=".2f", better="higher"),
        MetricSpec("own/kept", "spikes kept", note=f"of the first {KEPT} images"),
        MetricSpec("own/spikes/*", "spikes of the layer", form=",.0f"),
    )
    sample_images = KEPT

    def start(self, network, settings):
        self.images, self.right, self.kept = [], 0, 0
        self.spikes = dict.fromkeys((layer.name for layer in network.layers), 0)
        self.n_steps = settings.n_steps

    def add(self, batch):
        assert batch.scores_btc.shape[1] == sum(chunk.outputs_btc.shape[1] for chunk in batch.chunks) == self.n_steps
        self.images += batch.image_ids
        self.right += int(np.sum(np.argmax(batch.scores_btc[:, -1], axis=-1) == batch.labels))
        for name, events in batch.events.items():
            self.kept += int(events.count.sum())
            assert len(events) == sum(len(chunk.layers[name].events) for chunk in batch.chunks)
            self.spikes[name] += int(sum(chunk.layers[name].counts_bn.sum() for chunk in batch.chunks))

    def values(self):
        assert self.images == list(range(len(self.images))), "each image once, in their order"
        whole = {"own/images": len(self.images), "own/right": self.right / len(self.images), "own/kept": self.kept}
        return whole | {f"own/spikes/{name}": spikes for name, spikes in self.spikes.items()}
