"""What is counted batch by batch and chunk by chunk, against the same computed in one go over all images and steps."""

import copy

import nengo
import numpy as np
import pytest

from snnpipe import SpikeArtifacts
from snnpipe.base.errors import SimulationError
from snnpipe.metrics.evaluation import Evaluation
from snnpipe.metrics.intervals import wilson_interval
from snnpipe.metrics.readout import classes
from snnpipe.metrics.verification import Verification
from snnpipe.simulators.chunks import chunks
from snnpipe.values.network import NeuronLayer, SpikingNetwork
from snnpipe.values.run import RunState, SimulatedBatch
from snnpipe.values.simulation import LayerActivity, SimulationChunk, SimulationSettings, SpikeEvents, Stimulus

DT, N_STEPS, N_IMAGES, N_CLASSES = 0.002, 11, 9, 4
DURATIONS = (3, 7, 11)
SIZES = {"first": 5, "second": 3}
FAN_OUT = {"first": np.array([4, 0, 7, 1, 2]), "second": np.array([3, 3, 5])}
FIRST_MACS, DENSE_MACS = 30, 90


class Spiking:
    spiking = True


NETWORK = SpikingNetwork(
    None,
    None,
    None,
    tuple(NeuronLayer(name, (n,), None, Spiking(), 1.0, None, FAN_OUT[name]) for name, n in SIZES.items()),
    first_layer_macs=FIRST_MACS,
    dense_macs=DENSE_MACS,
)


class Simulated:
    """All that a simulation of all images gave, at every step, and the classes."""

    def __init__(self, seed=0):
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, N_CLASSES, N_IMAGES)
        self.ann = np.where(rng.random(N_IMAGES) < 0.7, self.labels, rng.integers(0, N_CLASSES, N_IMAGES))
        self.outputs_btc = rng.normal(0, 1, (N_IMAGES, N_STEPS, N_CLASSES)).astype(np.float32)
        self.outputs_btc[np.arange(N_IMAGES), :, self.labels] += np.linspace(0, 3, N_STEPS, dtype=np.float32)
        self.output_spikes_btc = rng.poisson(0.4, (N_IMAGES, N_STEPS, N_CLASSES)).astype(np.float32)
        self.spikes_btn = {name: rng.poisson(0.3, (N_IMAGES, N_STEPS, n)) for name, n in SIZES.items()}
        self.spikes_btn["first"][:, :, 1] = 0
        self.spikes_btn["second"][:, : DURATIONS[0], 2] = 0  # silent at first

    def first(self, n):
        """The first n images alone."""
        part = copy.copy(self)
        part.labels, part.ann = self.labels[:n], self.ann[:n]
        part.outputs_btc, part.output_spikes_btc = self.outputs_btc[:n], self.output_spikes_btc[:n]
        part.spikes_btn = {name: spikes[:n] for name, spikes in self.spikes_btn.items()}
        return part

    def events(self, name, rows, steps):
        spikes = self.spikes_btn[name][rows, steps]
        image, step, neuron = np.nonzero(spikes)
        return SpikeEvents(image + rows.start, step + steps.start, neuron, spikes[image, step, neuron])

    def chunk(self, rows, steps):
        layers = {
            name: LayerActivity(spikes[rows, steps].sum(axis=1).astype(np.float32), self.events(name, rows, steps))
            for name, spikes in self.spikes_btn.items()
        }
        return SimulationChunk(steps.start, self.outputs_btc[rows, steps], layers, self.output_spikes_btc[rows, steps])

    def scores(self, readout, readout_steps):
        if readout == "last":
            return self.outputs_btc.astype(np.float64)
        if readout == "spike_count":
            return self.output_spikes_btc.cumsum(axis=1)
        first = {
            "later_three_quarters": lambda t: (t + 1) // 4,
            "later_half": lambda t: (t + 1) // 2,
            "mean": lambda t: 0 if readout_steps is None else max(0, t + 1 - readout_steps),
        }[readout]
        window = [slice(first(t), t + 1) for t in range(N_STEPS)]
        return np.stack([self.outputs_btc[:, w].mean(axis=1, dtype=np.float64) for w in window], axis=1)


def spans(total, *ends):
    ends = (*ends, total)
    return [slice(first, end) for first, end in zip((0, *ends[:-1]), ends, strict=True)]


BATCHES = {"one": spans(N_IMAGES), "three": spans(N_IMAGES, 4, 8), "image by image": spans(N_IMAGES, *range(1, 9))}
CHUNKS = {"few": spans(N_STEPS, 3, 7), "odd": spans(N_STEPS, 2, 3, 6, 7, 8), "by step": spans(N_STEPS, *range(1, 11))}


def evaluated(run, batches, cuts, readout="last", readout_steps=1, constant_input=True):
    evaluation = Evaluation(NETWORK, DURATIONS, DT, readout, readout_steps, N_CLASSES, constant_input)
    scores = []
    for rows in batches:
        batch = evaluation.batch(run.labels[rows], run.ann[rows])
        scores.append(np.concatenate([batch.add(run.chunk(rows, steps)) for steps in cuts], axis=1))
        evaluation.add(batch)
    return evaluation, np.concatenate(scores)


def confusion(true, given):
    return [[int(np.sum((true == i) & (given == j))) for j in range(N_CLASSES)] for i in range(N_CLASSES)]


READOUTS = [
    *(("last", 1), ("mean", 4), ("mean", 40), ("mean", None)),
    *(("later_three_quarters", None), ("later_half", None), ("spike_count", 1)),
]


@pytest.mark.parametrize(("readout", "readout_steps"), READOUTS)
@pytest.mark.parametrize("cuts", CHUNKS)
@pytest.mark.parametrize("batches", BATCHES)
def test_counts_are_those_of_one_go(batches, cuts, readout, readout_steps):
    run = Simulated()
    evaluation, scores = evaluated(run, BATCHES[batches], CHUNKS[cuts], readout, readout_steps)
    expected = run.scores(readout, readout_steps)
    np.testing.assert_allclose(scores, expected, rtol=1e-12)
    found = expected.argmax(axis=2)
    right, agree = found == run.labels[:, None], found == run.ann[:, None]
    assert evaluation.images == N_IMAGES
    assert evaluation.ann_accuracy == np.mean(run.ann == run.labels)
    assert np.array_equal(evaluation.accuracy_at_step, right.mean(axis=0))
    assert np.array_equal(evaluation.agreement_at_step, agree.mean(axis=0))
    assert np.array_equal(evaluation.classes, [run.labels, run.ann, found[:, -1]])
    outcome = evaluation.outcome()
    assert (outcome.images, outcome.dt, outcome.ann_accuracy) == (N_IMAGES, DT, evaluation.ann_accuracy)
    assert np.array_equal(outcome.accuracy_t, right.mean(axis=0))
    assert np.array_equal(outcome.agreement_t, agree.mean(axis=0))
    assert outcome.ann_confusion_cc.tolist() == confusion(run.labels, run.ann)
    assert outcome.snn_confusion_cc.tolist() == confusion(run.labels, found[:, -1])
    assert outcome.between_cc.tolist() == confusion(run.ann, found[:, -1])
    for counted in (evaluation.counts.right_t, evaluation.counts.agree_t, outcome.ann_confusion_cc):
        assert counted.dtype == np.int64
    assert outcome.snn_confusion_cc.dtype == outcome.between_cc.dtype == np.int64
    for name, spikes in run.spikes_btn.items():
        np.testing.assert_allclose(outcome.rates_hz[name], spikes.mean(axis=(0, 1)) / DT, rtol=1e-12)


@pytest.mark.parametrize("constant_input", [True, False])
@pytest.mark.parametrize("n_steps", [*DURATIONS, None])
@pytest.mark.parametrize("n_images", [N_IMAGES, 1])
def test_metrics_after_each_duration_are_those_of_one_go(n_images, n_steps, constant_input):
    run = Simulated().first(n_images)
    batches = BATCHES["three"] if n_images == N_IMAGES else spans(n_images)
    evaluation, scores = evaluated(run, batches, CHUNKS["odd"], constant_input=constant_input)
    metrics = evaluation.metrics(n_steps)
    n = n_steps or N_STEPS
    found = scores[:, n - 1].argmax(axis=1)
    ann = np.mean(run.ann == run.labels)
    spikes = {name: values[:, :n].sum(axis=1) for name, values in run.spikes_btn.items()}
    synops = sum(float((values @ FAN_OUT[name]).sum()) for name, values in spikes.items()) / n_images
    rates = {name: values.mean(axis=0) / (n * DT) for name, values in spikes.items()}
    together = np.concatenate(list(rates.values()))
    near = (scores[:, :n].argmax(axis=2) == run.labels[:, None]).mean(axis=0) >= ann - 0.01
    expected = {
        "snn/test_accuracy": np.mean(found == run.labels),
        "snn/agreement": np.mean(found == run.ann),
        "snn/accuracy_drop": ann - np.mean(found == run.labels),
        "snn/test_images": n_images,
        "snn/neuron_updates_per_image": sum(SIZES.values()) * n,
        "ann/activations": sum(SIZES.values()),
        "snn/synops_per_image": synops,
        "snn/first_layer_macs": FIRST_MACS * (1 if constant_input else n),
        "snn/first_layer_macs_every_step": FIRST_MACS * n,
        "ann/dense_macs": DENSE_MACS,
        "snn/synops_per_dense_mac": synops / DENSE_MACS,
        "snn/mean_rate_hz": together.mean(),
        "snn/max_rate_hz": together.max(),
    }
    low, high = wilson_interval(int(np.sum(found == run.labels)), n_images)
    expected |= {"snn/accuracy_ci_low": low, "snn/accuracy_ci_high": high}
    for name, rate_n in rates.items():
        expected[f"rate_hz/{name}"] = rate_n.mean()
        expected[f"silent_fraction/{name}"] = np.mean(rate_n == 0)
        expected[f"spikes_per_image/{name}"] = spikes[name].sum() / n_images
    expected["snn/spikes_per_image"] = sum(spikes_n.sum() for spikes_n in spikes.values()) / n_images
    if near[-1]:
        expected["snn/latency_ms_to_1pt"] = (n - np.argmin(near[::-1]) + 1 if not near.all() else 1) * DT * 1000
    own = {name: value for name, value in metrics.items() if not name.startswith("energy/")}
    assert own == pytest.approx(expected, rel=1e-12)
    assert all(type(value) is float for value in metrics.values())
    for name, rate_n in evaluation.outcome().rates_hz.items():
        np.testing.assert_allclose(rate_n, run.spikes_btn[name].mean(axis=(0, 1)) / DT, rtol=1e-12)
    assert metrics["energy/snn_nj_low"] > 0


def test_the_network_of_these_tests_reaches_the_anns_accuracy_late():
    evaluation, _ = evaluated(Simulated(), BATCHES["one"], CHUNKS["few"])
    assert "snn/latency_ms_to_1pt" not in evaluation.metrics(DURATIONS[0])
    assert DT * 1000 < evaluation.metrics()["snn/latency_ms_to_1pt"] < N_STEPS * DT * 1000


def test_latency_is_to_one_point_of_the_ann():
    labels = np.zeros(100, np.int64)
    given = np.zeros((100, 3), np.int64)
    given[:2, 0] = given[:1, 1:] = 1  # 98, 99 and 99 of 100 are right
    evaluation = Evaluation(SpikingNetwork(None, None, None, ()), [3], DT, "last", 1, N_CLASSES)
    batch = evaluation.batch(labels, labels)
    batch.add(SimulationChunk(0, np.eye(N_CLASSES, dtype=np.float32)[given], {}))
    evaluation.add(batch)
    assert evaluation.metrics()["snn/latency_ms_to_1pt"] == 2 * DT * 1000


@pytest.mark.parametrize(("steps", "dt", "ms"), [(52, 0.001, 52.0), (3, 0.0001, 0.3), (7, 1 / 3000, 2.33333333)])
def test_latency_is_without_the_noise_of_its_last_digits(steps, dt, ms):
    evaluation = Evaluation(SpikingNetwork(None, None, None, ()), [steps], dt, "last", 1, N_CLASSES)
    labels = np.zeros(1, np.int64)
    given = np.ones((1, steps), np.int64)
    given[:, -1] = 0
    batch = evaluation.batch(labels, labels)
    batch.add(SimulationChunk(0, np.eye(N_CLASSES, dtype=np.float32)[given], {}))
    evaluation.add(batch)
    assert evaluation.metrics()["snn/latency_ms_to_1pt"] == ms


def test_more_spikes_than_float32_can_add_are_counted():
    layer = NeuronLayer("first", (1,), None, Spiking(), 1.0, None, np.array([3]))
    evaluation = Evaluation(SpikingNetwork(None, None, None, (layer,)), [1], DT, "last", 1, N_CLASSES)
    labels, outputs = np.zeros(2, np.int64), np.zeros((2, 1, N_CLASSES), np.float32)
    batch = evaluation.batch(labels, labels)
    counts = np.array([[2**24], [1]], np.float32)
    batch.add(SimulationChunk(0, outputs, {"first": LayerActivity(counts, SpikeEvents.concatenate([]))}))
    evaluation.add(batch)
    assert evaluation.metrics()["spikes_per_image/first"] == (2**24 + 1) / 2
    assert evaluation.metrics()["snn/synops_per_image"] == 3 * (2**24 + 1) / 2


def test_nothing_is_counted_before_the_first_image():
    evaluation = Evaluation(NETWORK, DURATIONS, DT, "last", 1, N_CLASSES)
    metrics = evaluation.metrics()
    assert evaluation.images == metrics["snn/test_images"] == metrics["snn/synops_per_image"] == 0
    assert evaluation.classes.shape == (3, 0)
    assert not evaluation.accuracy_at_step.any() and not evaluation.agreement_at_step.any()
    assert evaluation.ann_accuracy == metrics["snn/mean_rate_hz"] == 0
    assert evaluation.outcome().rates_hz["first"].tolist() == [0.0] * 5


def test_two_evaluations_share_nothing():
    run, other = Simulated(), Simulated(seed=1)
    first, _ = evaluated(run, BATCHES["three"], CHUNKS["odd"])
    before = first.metrics()
    evaluated(other, BATCHES["three"], CHUNKS["odd"])
    assert first.metrics() == before


@pytest.mark.parametrize("without", ["fan-out", "dense MACs", "layers"])
def test_what_is_not_known_is_left_out(without):
    layers = [NeuronLayer("first", (5,), None, Spiking(), 1.0, None, FAN_OUT["first"])]
    if without == "fan-out":
        layers.append(NeuronLayer("second", (3,), None, Spiking(), 1.0, None, None))
    layers = () if without == "layers" else tuple(layers)
    network = SpikingNetwork(None, None, None, layers, dense_macs=0 if without == "dense MACs" else DENSE_MACS)
    evaluation, run = Evaluation(network, [N_STEPS], DT, "last", 1, N_CLASSES), Simulated()
    rows = slice(0, N_IMAGES)
    batch = evaluation.batch(run.labels, run.ann)
    batch.add(run.chunk(rows, slice(0, N_STEPS)))
    evaluation.add(batch)
    metrics = evaluation.metrics()
    assert ("snn/synops_per_image" in metrics) == ("snn/first_layer_macs" in metrics) == (without != "fan-out")
    assert ("ann/dense_macs" in metrics) == ("snn/synops_per_dense_mac" in metrics) == (without == "layers")
    assert ("snn/mean_rate_hz" in metrics) == ("snn/max_rate_hz" in metrics) == (without != "layers")
    assert ("rate_hz/second" in metrics) == (without == "fan-out")


@pytest.mark.parametrize("cuts", [[slice(0, 4)], [slice(0, 3), slice(3, 8)], [slice(0, 11)]])
def test_a_chunk_that_goes_beyond_a_duration_is_refused(cuts):
    run, rows = Simulated(), slice(0, 2)
    batch = Evaluation(NETWORK, DURATIONS, DT, "last", 1, N_CLASSES).batch(run.labels[rows], run.ann[rows])
    for steps in cuts[:-1]:
        batch.add(run.chunk(rows, steps))
    last, end = cuts[-1], 7 if cuts[-1].start else 3
    says = (
        f"^the simulator gave steps {last.start} to {last.stop} in one chunk, and step {end} must end one: it ignores"
    )
    with pytest.raises(SimulationError, match=says):
        batch.add(run.chunk(rows, last))


def test_the_lowest_of_equal_classes_is_taken():
    found = classes(np.array([[[2.0, 5.0, 5.0], [1.0, 1.0, 1.0], [0.0, 0.0, 9.0]]]))
    assert found.tolist() == [[1, 0, 2]] and found.dtype == np.int64


# ---------------------------------------------------------------------- against a reference


@pytest.mark.parametrize("batches", BATCHES)
def test_differences_over_batches_are_those_of_one_go(batches):
    ours, theirs = Simulated(0), Simulated(0)
    noise = np.random.default_rng(2).normal(0, 0.5, theirs.outputs_btc.shape)
    theirs.outputs_btc = (0.1 * (theirs.outputs_btc + noise)).astype(np.float32)
    ours.outputs_btc = np.float32(0.1) * ours.outputs_btc
    theirs.spikes_btn["first"][0, 2, 3] += 2  # made
    theirs.spikes_btn["first"][5] = np.roll(theirs.spikes_btn["first"][5], 1, axis=0)  # moved
    theirs.spikes_btn["second"][7] = 0  # lost
    verification = Verification()
    for rows in BATCHES[batches]:
        found = (ours.chunk(rows, steps) for steps in CHUNKS["odd"])
        verification.add(found, (theirs.chunk(rows, steps) for steps in CHUNKS["by step"]))
    a, b = ours.outputs_btc.astype(np.float64), theirs.outputs_btc.astype(np.float64)
    assert verification.images == N_IMAGES
    assert verification.spikes == {name: spikes.sum() for name, spikes in theirs.spikes_btn.items()}
    assert verification.output_difference == np.abs(a - b).max()
    assert verification.output_range == np.abs(b).max()
    assert verification.same_class == np.sum(a[:, -1].argmax(axis=1) == b[:, -1].argmax(axis=1)) < N_IMAGES
    assert verification.output_rms == pytest.approx(np.sqrt(np.sum((a - b) ** 2) / np.sum(b**2)), rel=1e-12)
    moved = {}
    for name in SIZES:
        difference = ours.spikes_btn[name] - theirs.spikes_btn[name]
        moved[name] = sum(
            int(max(difference[rows].clip(0).sum(), (-difference[rows]).clip(0).sum())) for rows in BATCHES[batches]
        )
    assert verification.moved == moved and all(moved.values())
    share = sum(moved.values()) / sum(verification.spikes.values())
    assert verification.metrics() == pytest.approx(
        {
            "verify/images": N_IMAGES,
            "verify/moved_spike_share": share,
            "verify/output_difference": np.abs(a - b).max() / np.abs(b).max(),
            "verify/same_class": verification.same_class / N_IMAGES,
        },
        rel=1e-12,
    )


def test_nothing_differs_before_the_first_image():
    verification = Verification()
    assert set(verification.metrics().values()) == {0.0}
    assert verification.output_rms == 0 and verification.problem(1e-3) is None


def verified(spikes, moved, squares=(0.0, 1.0)):
    return Verification(images=2, spikes=spikes, moved=moved, output_range=1.0, squares=squares)


@pytest.mark.parametrize(
    ("moved", "spikes", "tolerance", "wrong"),
    [
        (3, 10, 1e-3, False),
        (4, 10, 1e-3, True),
        (10, 1000, 1e-2, False),
        (11, 1000, 1e-2, True),
        (4, 4000, 1e-3, False),
    ],
)
def test_more_moved_spikes_than_rounding_makes_are_a_problem(moved, spikes, tolerance, wrong):
    problem = verified({"b": 0, "a": spikes}, {"b": 1, "a": moved - 1}).problem(tolerance)
    assert (problem is not None) == wrong
    if wrong:
        assert problem == (
            f"{moved / spikes:.2g} of the spikes of 2 samples are not where the reference has them (at most "
            f"{tolerance:g} may be moved by rounding), most of them in layer 'a': {moved - 1:,} of {spikes:,}"
        )


def test_the_share_of_moved_spikes_may_be_all_of_them():
    assert verified({"a": 1, "b": 0}, {"a": 1, "b": 0}).metrics()["verify/moved_spike_share"] == 1
    assert verified({"a": 0}, {"a": 2}).metrics()["verify/moved_spike_share"] == 2, "made from nothing"


@pytest.mark.parametrize(
    ("moved", "rms", "wrong"), [(0, 0.01, False), (0, 0.0101, True), (4, 0.0999, False), (4, 0.1001, True)]
)
def test_outputs_may_differ_by_ten_times_the_tolerance_or_with_the_spikes_that_moved(moved, rms, wrong):
    problem = verified({"a": 10_000}, {"a": moved}, (rms**2 / 4, 0.25)).problem(1e-3)
    assert (problem is not None) == wrong
    if wrong:
        allowed = max(0.01, 5 * (moved / 10_000) ** 0.5)
        assert problem == (
            f"the outputs of 2 samples differ from the reference's by {rms:.2g} of their size (root mean square over "
            f"all steps; at most {allowed:.2g} may come from rounding), while {moved} of 10,000 spikes moved"
        )


# ---------------------------------------------------------------------- chunks


class Shown:
    def __init__(self, constant):
        self.constant = constant

    def encode(self, images, image_ids, first_step, n_steps):
        raise AssertionError("not asked for here")


def cut(n_steps, chunk_steps=None, values=64, images=2, constant=True):
    shape = (images, values, 1, 1)
    stimulus = Stimulus(np.broadcast_to(np.float32(0), shape), range(images), Shown(constant))
    return list(chunks(SimulationSettings(n_steps=n_steps, chunk_steps=chunk_steps), stimulus))


def test_a_run_is_cut_into_chunks_and_what_is_left():
    assert cut(10) == cut(10, 10) == cut(10, 12) == [(0, 10)]
    assert cut(10, 4) == [(0, 4), (4, 4), (8, 2)]
    assert cut(3, 1) == [(0, 1), (1, 1), (2, 1)]


def test_the_input_of_a_chunk_takes_no_more_than_64_mib():
    of_a_step = {"values": 2**21, "images": 2}  # 16 MiB
    assert cut(10, constant=True, **of_a_step) == [(0, 10)]
    assert cut(10, constant=False, **of_a_step) == [(0, 4), (4, 4), (8, 2)]
    assert cut(4, 3, constant=False, **of_a_step) == [(0, 3), (3, 1)]
    assert cut(2, constant=False, values=2**24, images=2) == [(0, 1), (1, 1)], "a step at least"
    assert cut(2 * 2**24, constant=False, values=1, images=1) == [(0, 2**24), (2**24, 2**24)]
    assert cut(5, constant=False, images=0) == [(0, 5)]


# ---------------------------------------------------------------------- spikes that are kept


def kept(run, batches, network=NETWORK, **settings):
    callback = SpikeArtifacts(**settings)
    state = RunState(0, "", lambda path, folder: None, network=network)
    callback.on_simulation_start(state, N_IMAGES)
    for rows in batches:
        events = {name: run.events(name, rows, slice(0, N_STEPS)) for name in SIZES}
        ids = range(rows.start, rows.stop)
        scores = run.outputs_btc[rows].astype(np.float64)
        batch = SimulatedBatch(ids, run.labels[rows], run.ann[rows], scores, events)
        callback.on_simulation_batch_end(state, batch)
    return callback, state


@pytest.mark.parametrize("sample_images", [1, 4, 5, N_IMAGES, 20])
@pytest.mark.parametrize("batches", BATCHES)
def test_the_first_images_spikes_are_kept(batches, sample_images):
    run = Simulated()
    callback, state = kept(run, BATCHES[batches], sample_images=sample_images)
    n = min(sample_images, N_IMAGES)
    assert callback._labels == run.labels[:n].tolist()
    assert np.array_equal(np.concatenate(callback._scores), run.outputs_btc[:n])
    for name in SIZES:
        found = SpikeEvents.concatenate(callback._events[name])
        spikes = np.zeros((n, *run.spikes_btn[name].shape[1:]), int)
        np.add.at(spikes, (found.image, found.step, found.neuron), found.count)
        assert np.array_equal(spikes, run.spikes_btn[name][:n])
    callback.on_simulation_start(state, N_IMAGES)
    assert not callback._labels and not callback._scores and not any(callback._events.values())


def test_spikes_are_kept_of_the_layers_that_are_wanted():
    callback, _ = kept(Simulated(), BATCHES["three"], sample_images=2, layers=["sec*"])
    assert list(callback._events) == ["second"]
    rate = NeuronLayer("third", (1,), None, nengo.RectifiedLinear(), 1.0, None, None)
    layers = (*NETWORK.layers, rate)
    callback, _ = kept(Simulated(), BATCHES["three"], SpikingNetwork(None, None, None, layers), sample_images=2)
    assert list(callback._events) == ["first", "second"], "a rate neuron has no spikes"
    callback, _ = kept(Simulated(), BATCHES["three"], SpikingNetwork(None, None, None, (rate,)), sample_images=2)
    assert not callback._events and len(callback._labels) == 2


def test_no_spikes_are_kept_where_none_are_wanted():
    callback, state = kept(Simulated(), BATCHES["three"], sample_images=0)
    assert not callback._labels and not callback._scores
    callback.on_evaluate_end(state)  # and nothing is written


def test_the_neurons_of_a_raster_are_drawn_without_repeats_and_by_the_seed():
    callback = SpikeArtifacts(raster_neurons=20)
    assert callback._choose(20, seed=0).tolist() == list(range(20))
    chosen = callback._choose(1000, seed=0)
    assert len(set(chosen.tolist())) == 20 and np.all(np.diff(chosen) > 0) and chosen.max() >= 500
    assert np.array_equal(callback._choose(1000, seed=0), chosen)
    assert not np.array_equal(callback._choose(1000, seed=1), chosen)
