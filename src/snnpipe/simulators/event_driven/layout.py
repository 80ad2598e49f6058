"""The arrays that the event-driven kernel works on: a network as flat arrays, and the memory of a thread."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

INPUT, IMAGE, INTEGRATE, CLIPPED, SIGNED, LIF, LIF_RATE, SUMS, GATED, OUTPUT, STILL = range(11)
"""Kinds of layers: a changing input, an image that stays, spiking rectified linear neurons, the same with a highest
current, signed integrate-and-fire neurons, LIF neurons, neurons that integrate LIF rates, max pooling over time that
sends the growth of the largest sum, the same that passes on the input with the largest sum, the output, and currents
that an image causes as long as it stays.

The inputs of a max pooling take the place of neurons: their voltages are the sums, and the first of their refractory
times are the largest sums of the windows."""

FIXED, GIVEN, SHOWN = range(3)
"""Where a layer's current without any spike comes from: it is in the program, it is given with each image, or a layer
of kind STILL computes it from the image."""


class Base(NamedTuple):
    """Where a layer's current without any spike comes from if it depends on the image: GIVEN or SHOWN, and its place
    there.
    """

    source: int
    at: int


class Program(NamedTuple):
    """A network as flat arrays.

    Attributes
    ----------
    kind, parameters
        Kind of each layer, and the constants of its equation.
    threshold, most_spikes
        Constant current up to which a neuron of each layer never spikes if its voltage is below a spike, and the
        highest number of spikes of a neuron in a step.
    direct
        Whether the spike times of each layer under a constant current may be computed directly.
    first, size
        Index of each layer's first neuron among all neurons, and the number of its neurons.
    n_lines, line_length
        Number and length of each layer's lines. A line is a run of consecutive neurons whose currents are consecutive
        too; a layer is updated line by line.
    order
        Order in which the events of each layer's neurons are listed if no connection ends in the layer.
    base_from, base_at, base_stride
        Where each layer's current without any spike comes from, the index where it begins there, and the stride between
        lines (0: all lines are alike). For currents of a STILL layer, ``shown_at`` says where they go.
    shown_at
        Index where the currents of each STILL layer begin, among all currents that images cause.
    windows, cells
        Index of each layer's first window in ``cells_at``, and the index of its first input in ``windows_at``.
    cells_at, cell
        Index in ``cell`` where the inputs that each window covers begin (a layer has one more entry for the end), and
        these inputs, ascending.
    windows_at, window
        The same for the windows that cover each input.
    buffers
        Index of each layer's first buffer of currents, and one more entry for the end.
    lines_at
        Index of each buffer's first line in ``line_at``, and one more entry for the end.
    line_at
        Index among the currents where each line of each buffer begins.
    buffer_at
        Index among the currents where each buffer begins, and one more entry for the end.
    decay, instant
        Factor by which the currents of each buffer decay in a step, and whether they act in the step of the spike.
    connections
        Index of the first connection into each layer, and one more entry for the end.
    source, table, one_class, channels, into
        Layer that each connection comes from, the index where its inputs begin in ``start``, the class of all its
        inputs (-1: they have several), the number of currents of a position if the weights of its inputs are listed
        position by position (0: they are listed row by row), and the buffer that the connection adds to.
    n_inputs, inputs_at
        Number of inputs of each connection that the layer's neurons are added to, and the index where these neurons
        begin in ``input_of``. If the number is 0, each neuron is an input.
    input_of
        The input that each neuron is added to (-1: none).
    start, weight_at, classes
        Index among the currents where the rows of each input of each connection begin (-1: it has none), the index of
        its first weight, and its class.
    rows
        Index of the first row of each class, and one more entry for the end.
    row_at, row_weight, row_length
        Place of each row relative to the neuron's start, its first weight relative to the neuron's (unless weights are
        listed position by position), and its length.
    weights, base, voltage, refractory
        Weights, currents without any spike, and initial states.
    """

    kind: NDArray[np.int64]
    parameters: NDArray[Any]
    threshold: NDArray[Any]
    most_spikes: NDArray[Any]
    direct: NDArray[np.bool_]
    first: NDArray[np.int64]
    size: NDArray[np.int64]
    n_lines: NDArray[np.int64]
    line_length: NDArray[np.int64]
    order: NDArray[np.int32]
    base_from: NDArray[np.int64]
    base_at: NDArray[np.int64]
    base_stride: NDArray[np.int64]
    shown_at: NDArray[np.int64]
    windows: NDArray[np.int64]
    cells: NDArray[np.int64]
    cells_at: NDArray[np.int64]
    cell: NDArray[np.int64]
    windows_at: NDArray[np.int64]
    window: NDArray[np.int64]
    buffers: NDArray[np.int64]
    lines_at: NDArray[np.int64]
    line_at: NDArray[np.int64]
    buffer_at: NDArray[np.int64]
    decay: NDArray[Any]
    instant: NDArray[np.bool_]
    connections: NDArray[np.int64]
    source: NDArray[np.int64]
    table: NDArray[np.int64]
    one_class: NDArray[np.int64]
    channels: NDArray[np.int64]
    into: NDArray[np.int64]
    n_inputs: NDArray[np.int64]
    inputs_at: NDArray[np.int64]
    input_of: NDArray[np.int32]
    start: NDArray[np.int32]
    weight_at: NDArray[np.int32]
    classes: NDArray[np.int32]
    rows: NDArray[np.int64]
    row_at: NDArray[np.int32]
    row_weight: NDArray[np.int32]
    row_length: NDArray[np.int32]
    weights: NDArray[Any]
    base: NDArray[Any]
    voltage: NDArray[Any]
    refractory: NDArray[Any]


class Workspace(NamedTuple):
    """The memory that one thread works on: an image's state, and the events of a block of steps.

    Attributes
    ----------
    voltage, refractory, currents
        State of the image: voltage and refractory time of each neuron, and all currents.
    event_neuron, event_count
        Events of all layers. Each layer has its own part of these arrays.
    events_at
        Index where each layer's part of the events begins.
    events
        Index where the events of each layer and each step of the block begin; one more column holds their end.
    shown
        Currents that the image causes as long as it stays, shape ``(1, n)``.
    flags, words
        One byte for each neuron of a line that is not 0 if the neuron spikes, and the same memory as eight-byte words.
    current, now
        Sum of several buffers for a line, and a line's currents within a step; for max pooling, those of all inputs.
    touched
        Windows of a max pooling whose inputs are not all 0 in a step.
    active, active_current, active_voltage, active_refractory
        Neurons under a constant current that may spike, packed.
    found_step, found_neuron, found_count
        Spikes computed neuron by neuron, before they are sorted by step.
    row
        First weights of a connection's events whose rows begin in the same place.
    sums, sum_flags, sum_words
        Sum of the spikes that arrive at each input of a connection, one byte for each input that is not 0 if some do,
        and the same memory as eight-byte words. All are 0 between two connections.
    input, input_count
        The inputs at which spikes arrive, and their number.
    """

    voltage: NDArray[Any]
    refractory: NDArray[Any]
    currents: NDArray[Any]
    event_neuron: NDArray[np.int32]
    event_count: NDArray[Any]
    events_at: NDArray[np.int64]
    events: NDArray[np.int64]
    shown: NDArray[Any]
    flags: NDArray[np.uint8]
    words: NDArray[np.uint64]
    current: NDArray[Any]
    now: NDArray[Any]
    touched: NDArray[np.int64]
    active: NDArray[np.int32]
    active_current: NDArray[Any]
    active_voltage: NDArray[Any]
    active_refractory: NDArray[Any]
    found_step: NDArray[np.int32]
    found_neuron: NDArray[np.int32]
    found_count: NDArray[Any]
    row: NDArray[np.int32]
    sums: NDArray[Any]
    sum_flags: NDArray[np.uint8]
    sum_words: NDArray[np.uint64]
    input: NDArray[np.int32]
    input_count: NDArray[Any]
