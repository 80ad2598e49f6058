"""Keeps the spikes of some test samples, and draws them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from snnpipe.artifacts.drawing import pictures_of
from snnpipe.base.files import file_name
from snnpipe.callbacks.base import Callback
from snnpipe.settings.domains import NonNegativeInt, PositiveInt, Text
from snnpipe.settings.per_layer import matching
from snnpipe.settings.schema import check_fields
from snnpipe.values.run import RunState, SimulatedBatch
from snnpipe.values.simulation import SpikeEvents


@dataclass
class SpikeArtifacts(Callback):
    """Keep the first test samples' spikes, and draw rasters and class scores over time.

    Parameters
    ----------
    sample_images
        Number of test samples, from the first on, whose spikes are kept.
    layers
        Names or shell patterns of the layers.
    raster_neurons
        Number of neurons in a raster. If a layer has more, they are drawn at random.
    raster_images
        Number of samples in a raster.
    """

    sample_images: NonNegativeInt = 8
    layers: list[Text] = field(default_factory=lambda: ["*"])
    raster_neurons: PositiveInt = 512
    raster_images: PositiveInt = 3

    def __post_init__(self) -> None:
        check_fields(self, "callbacks.spike_artifacts")

    def on_prepare_end(self, state: RunState) -> None:
        """Check before training that the layers exist."""
        if state.plan is not None:
            names = [layer.name for layer in state.plan.layers if layer.neurons]
            matching(self.layers, names, "callbacks.spike_artifacts.layers")

    def on_simulation_start(self, state: RunState, images: int) -> None:
        """Choose the layers, and forget an earlier simulation."""
        assert state.network is not None
        names = [layer.name for layer in state.network.layers if layer.spiking]
        self._names = matching(self.layers, names, "callbacks.spike_artifacts.layers") if names else []
        self._events: dict[str, list[SpikeEvents]] = {name: [] for name in self._names}
        self._scores: list[NDArray[np.float64]] = []
        self._labels: list[int] = []

    def on_simulation_batch_end(self, state: RunState, batch: SimulatedBatch) -> None:
        """Keep the spikes and scores of the samples that are wanted."""
        wanted = [i for i, sample_id in enumerate(batch.image_ids) if sample_id < self.sample_images]
        if not wanted:
            return
        for name in self._names:
            events = batch.events[name]
            mine = events.image < self.sample_images
            self._events[name].append(
                SpikeEvents(events.image[mine], events.step[mine], events.neuron[mine], events.count[mine])
            )
        self._scores.append(batch.scores_btc[wanted])
        self._labels += [int(batch.labels[i]) for i in wanted]

    def on_simulation_end(self, state: RunState) -> None:
        """Write the spikes and the pictures."""
        if not self._labels:
            return
        from snnpipe.artifacts.spikes import RecordedSpikes, write_spikes

        assert state.network is not None and state.spec is not None and state.settings is not None
        folder, n_steps, dt = Path(state.output_dir), state.settings.n_steps, state.settings.dt
        class_names = state.spec.class_names
        shown = range(min(self.raster_images, len(self._labels)))
        for layer in state.network.layers:
            if layer.name not in self._events:
                continue
            events = SpikeEvents.concatenate(self._events[layer.name])
            file = file_name(layer.name)
            recorded = RecordedSpikes(layer.name, layer.shape, n_steps, dt, events)
            state.log_artifact(write_spikes(folder / "spikes" / f"{file}.npz", recorded), "spikes")
            neurons = self._choose(layer.size, state.seed)
            names = [class_names[self._labels[i]] for i in shown]
            pictures_of(state).draw(
                "plots.spike_raster",
                folder / "plots" / f"raster_{file}.png",
                layer=layer.name,
                events=events,
                samples=shown,
                labels=names,
                sample_word=state.sample_word,
                neurons=neurons,
                size=layer.size,
                n_steps=n_steps,
                dt=dt,
            )
        scores = np.concatenate(self._scores)
        pictures_of(state).draw(
            "plots.class_scores",
            folder / "plots" / "class_scores.png",
            scores_btc=scores,
            samples=range(len(scores)),
            labels=self._labels,
            sample_word=state.sample_word,
            class_names=class_names,
            dt=dt,
        )

    def _choose(self, size: int, seed: int) -> NDArray[np.int64]:
        """Return the indices of the neurons in a raster, in the layer's order."""
        if size <= self.raster_neurons:
            return np.arange(size)
        return np.sort(np.random.default_rng(seed).choice(size, self.raster_neurons, replace=False))
