"""Cuts a batch into parts, and joins the chunks of its parts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from snnpipe.values.simulation import LayerActivity, SimulationChunk, SpikeEvents, Stimulus


def part_of(stimulus: Stimulus, rows: NDArray[np.int64]) -> Stimulus:
    """Return some images of a batch. A single image is doubled: TensorFlow's kernels for one round differently."""
    record = tuple(row - int(rows[0]) for row in stimulus.record if rows[0] <= row <= rows[-1])
    if len(rows) == 1:
        rows = np.repeat(rows, 2)
    ids = [stimulus.image_ids[row] for row in rows]
    return Stimulus(stimulus.images[rows], ids, stimulus.encoder, record)


def first_images(chunk: SimulationChunk, images: int) -> SimulationChunk:
    """Return a chunk's results for the first images."""

    def cut(own: LayerActivity) -> LayerActivity:
        signed = None if own.signed_bn is None else own.signed_bn[:images]
        return LayerActivity(own.counts_bn[:images], own.events, signed)

    spikes = chunk.output_spikes_btc
    return replace(
        chunk,
        outputs_btc=chunk.outputs_btc[:images],
        layers={name: cut(own) for name, own in chunk.layers.items()},
        output_spikes_btc=None if spikes is None else spikes[:images],
    )


def joined(parts: Sequence[SimulationChunk]) -> SimulationChunk:
    """Return the chunks of a batch's parts as one chunk."""
    if len(parts) == 1:
        return parts[0]
    spikes = [part.output_spikes_btc for part in parts if part.output_spikes_btc is not None]

    def together(activities: Sequence[LayerActivity]) -> LayerActivity:
        signed = [own.signed_bn for own in activities if own.signed_bn is not None]
        return LayerActivity(
            np.concatenate([own.counts_bn for own in activities]),
            SpikeEvents.concatenate([own.events for own in activities]),
            np.concatenate(signed) if signed else None,
        )

    return SimulationChunk(
        first_step=parts[0].first_step,
        outputs_btc=np.concatenate([part.outputs_btc for part in parts]),
        layers={name: together([part.layers[name] for part in parts]) for name in parts[0].layers},
        output_spikes_btc=np.concatenate(spikes) if spikes else None,
    )
