"""Metrics against values worked out by hand."""

import nengo
import numpy as np
import pytest

from snnpipe.base.errors import SimulationError
from snnpipe.metrics.evaluation import Evaluation
from snnpipe.metrics.intervals import wilson_interval
from snnpipe.metrics.paired import one_sided_p_value, two_sided_p_value
from snnpipe.metrics.passes import AnnPass
from snnpipe.metrics.readout import ReadoutState, classes, latency_steps
from snnpipe.metrics.series import at_milliseconds, step_series
from snnpipe.metrics.verification import Verification
from snnpipe.training.loop import epoch_metrics
from snnpipe.values.data import DataSpec
from snnpipe.values.network import NeuronLayer, SpikingNetwork
from snnpipe.values.simulation import LayerActivity, SimulationChunk, SpikeEvents

NO_EVENTS = SpikeEvents.concatenate([])


class Spiking:
    spiking = True


def chunk(first_step, outputs, spikes=None, counts=None):
    layers = {} if counts is None else {"layer": LayerActivity(np.asarray(counts, np.float32), NO_EVENTS)}
    spikes = None if spikes is None else np.asarray(spikes, np.float32)
    return SimulationChunk(first_step, np.asarray(outputs, np.float32), layers, spikes)


def test_wilson_interval_of_a_known_case():
    # 8 of 10: Newcombe (1998), Statistics in Medicine 17, gives 0.490 to 0.943 for Wilson's interval
    low, high = wilson_interval(8, 10)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)


@pytest.mark.parametrize(("right", "total"), [(0, 5), (5, 5), (0, 0)])
def test_wilson_interval_stays_within_0_and_1(right, total):
    low, high = wilson_interval(right, total)
    assert 0 <= low < high <= 1


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        ([0.1, 0.9, 0.9], 2),
        ([0.9, 0.9, 0.9], 1),
        ([0.9, 0.5, 0.9], 3),
        ([0.9, 0.9, 0.5], None),
        ([0.89, 0.88, 0.89], 3),
        ([], None),
    ],
)
def test_latency_is_the_first_step_from_which_accuracy_stays(accuracy, expected):
    assert latency_steps(accuracy, reference=0.9, points=1) == expected


def test_readout_last_is_the_output():
    outputs = [[[1.0, 2.0], [4.0, 3.0]]]
    scores = ReadoutState("last", 1).scores(chunk(0, outputs))
    assert np.array_equal(scores, outputs)
    assert classes(scores).tolist() == [[1, 0]]


def test_readout_mean_goes_on_across_chunks():
    state = ReadoutState("mean", 3)
    first = state.scores(chunk(0, [[[0.0], [2.0]]]))
    second = state.scores(chunk(2, [[[4.0], [6.0]]]))
    assert first.ravel().tolist() == [0, 1]
    assert second.ravel().tolist() == [2, 4]


def test_readout_spike_count_goes_on_across_chunks():
    state = ReadoutState("spike_count", 1)
    first = state.scores(chunk(0, [[[0.0], [0.0]]], spikes=[[[1], [2]]]))
    second = state.scores(chunk(2, [[[0.0]]], spikes=[[[3]]]))
    assert first.ravel().tolist() == [1, 3]
    assert second.ravel().tolist() == [6]


@pytest.mark.parametrize("total", [10, 100, 10_000])
def test_an_interval_ends_at_the_bounds_where_none_or_all_are_right(total):
    assert wilson_interval(0, total)[0] == 0
    assert wilson_interval(total, total)[1] == 1


def network(fan_out, macs=100):
    layer = NeuronLayer("layer", (len(fan_out),), None, Spiking(), 1.0, None, np.asarray(fan_out))
    return SpikingNetwork(None, None, None, (layer,), first_layer_macs=7, dense_macs=macs)


def evaluate(evaluation, labels, ann_classes, *chunks):
    batch = evaluation.batch(np.array(labels), ann_classes=np.array(ann_classes))
    for one in chunks:
        batch.add(one)
    evaluation.add(batch)


@pytest.mark.parametrize(
    ("outputs", "counts", "words"),
    [
        ([[[np.nan, 0]]], [[1, 0]], "outputs that are infinite or no numbers, in steps 0 to 0"),
        ([[[1, 0]]], [[np.nan, 0]], r"layer 'layer' \(LIF\), steps 0 to 0: its spikes are infinite or no numbers"),
        ([[[1, 0]]], [[1000, 0]], "a neuron has 1000 spikes, and its type says at most 1 a step: .* amplitude / dt"),
    ],
)
def test_figures_that_are_none_end_the_run(outputs, counts, words):
    layer = NeuronLayer("layer", (2,), None, nengo.LIF(), 1.0, None, np.array([1, 1]))
    own = SpikingNetwork(None, None, None, (layer,))
    evaluation = Evaluation(own, durations=[1], dt=0.001, readout="last", readout_steps=1, n_classes=2)
    with pytest.raises(SimulationError, match=words):
        evaluate(evaluation, [0], [0], chunk(0, outputs, counts=counts))


def test_evaluation_counts_to_the_integer():
    # two images, three steps in chunks of two and one; neuron 0 drives 10 synapses, neuron 1 drives 4
    evaluation = Evaluation(network([10, 4]), durations=[3], dt=0.001, readout="last", readout_steps=1, n_classes=2)
    first = chunk(0, [[[1, 0], [0, 1]], [[1, 0], [1, 0]]], counts=[[1, 0], [2, 0]])
    evaluation.batch(np.array([0, 1]), ann_classes=np.array([0, 0])).add(first)  # and is broken off
    evaluate(evaluation, [0, 1], [0, 0], first, chunk(2, [[[1, 0]], [[0, 1]]], counts=[[0, 0], [0, 3]]))
    metrics = evaluation.metrics()
    assert evaluation.counts.right_t.tolist() == [1, 0, 2]
    assert evaluation.counts.agree_t.tolist() == [2, 1, 1]
    assert metrics["snn/test_accuracy"] == 1.0
    assert metrics["snn/agreement"] == 0.5
    assert metrics["snn/accuracy_drop"] == 0.5 - 1.0
    assert metrics["snn/synops_per_image"] == (3 * 10 + 3 * 4) / 2
    assert metrics["snn/synops_per_dense_mac"] == 21 / 100
    assert metrics["snn/neuron_updates_per_image"] == 2 * 3
    assert metrics["snn/first_layer_macs"] == 7
    assert metrics["snn/first_layer_macs_every_step"] == 7 * 3
    assert metrics["ann/dense_macs"] == 100
    assert metrics["ann/activations"] == 2
    assert metrics["spikes_per_image/layer"] == metrics["snn/spikes_per_image"] == 3
    assert metrics["rate_hz/layer"] == pytest.approx(6 / (2 * 2 * 0.003))
    assert metrics["silent_fraction/layer"] == 0
    assert metrics["snn/latency_ms_to_1pt"] == 3
    outcome = evaluation.outcome()
    assert outcome.ann_confusion_cc.tolist() == [[1, 0], [1, 0]], "the ANN takes image 1 for class 0"
    assert outcome.snn_confusion_cc.tolist() == [[1, 0], [0, 1]]
    assert outcome.between_cc.tolist() == [[1, 1], [0, 0]]
    assert outcome.rates_hz["layer"] == pytest.approx([3 / (2 * 0.003), 3 / (2 * 0.003)])


def test_the_first_layer_is_counted_at_every_step_of_an_image_that_changes():
    evaluation = Evaluation(network([10, 4]), [1, 3], 0.001, "last", 1, n_classes=2, constant_input=False)
    first, second = chunk(0, [[[1, 0]]], counts=[[0, 0]]), chunk(1, [[[1, 0], [1, 0]]], counts=[[0, 0]])
    evaluate(evaluation, [0], [0], first, second)
    assert evaluation.metrics()["snn/first_layer_macs"] == evaluation.metrics()["snn/first_layer_macs_every_step"] == 21
    assert evaluation.metrics(1)["snn/first_layer_macs"] == 7
    assert evaluation.metrics(1)["snn/neuron_updates_per_image"] == 2


def test_rates_of_a_network_with_a_silent_neuron():
    evaluation = Evaluation(network([10, 4]), durations=[3], dt=0.001, readout="last", readout_steps=1, n_classes=2)
    evaluate(evaluation, [0, 1], [0, 0], chunk(0, [[[1, 0]] * 3] * 2, counts=[[2, 0], [4, 0]]))
    metrics = evaluation.metrics()
    assert metrics["snn/mean_rate_hz"] == metrics["rate_hz/layer"] == pytest.approx(500)
    assert metrics["snn/max_rate_hz"] == pytest.approx(1000)
    assert metrics["silent_fraction/layer"] == 1 / 2


def test_synops_and_energy_are_left_out_where_neurons_do_not_spike(monkeypatch):
    monkeypatch.setattr(Spiking, "spiking", False)
    evaluation = Evaluation(network([10, 4]), durations=[1], dt=0.001, readout="last", readout_steps=1, n_classes=2)
    evaluate(evaluation, [1], [1], chunk(0, [[[1, 0]]], counts=[[0.5, 0.5]]))
    metrics = evaluation.metrics()
    assert metrics["snn/neuron_updates_per_image"] == 2
    assert not [name for name in metrics if "synops" in name or name.startswith("energy/")]


def test_accuracy_and_cross_entropy_of_equal_logits():
    class Undecided:
        weights = ()

        def predict_on_batch(self, images):
            return np.zeros((len(images), 2), np.float32)

    class Images:
        batch_size = 3
        spec = DataSpec(input_shape=(1,), n_classes=2, n_test=4)

        def test_dataset(self, batch_size=None):
            return [(np.zeros((3, 1)), np.array([0, 0, 0])), (np.zeros((1, 1)), np.array([1]))]

    found = AnnPass.of(Undecided(), Images())
    assert found.metrics == {"ann/test_accuracy": 0.75, "ann/test_loss": pytest.approx(np.log(2))}
    assert found.classes.tolist() == [0, 0, 0, 0]


def test_images_per_second_of_an_epoch():
    assert epoch_metrics({"loss": 0.5, "val_accuracy": 0.9}, seconds=3.0, n_samples=1200) == {
        "fit/images_per_s": 400,
        "fit/loss": 0.5,
        "fit/val_accuracy": 0.9,
    }


def test_latency_is_left_out_where_it_is_never_reached():
    evaluation = Evaluation(network([1]), durations=[1], dt=0.001, readout="last", readout_steps=1, n_classes=2)
    evaluate(evaluation, [1], [1], chunk(0, [[[1, 0]]], counts=[[0]]))
    assert "snn/latency_ms_to_1pt" not in evaluation.metrics()
    assert evaluation.metrics()["silent_fraction/layer"] == 1


def events(*spikes):
    """Spikes as (image, step, neuron, count)."""
    return SpikeEvents(*(np.array([spike[i] for spike in spikes], np.int32) for i in range(4)))


def simulated(spikes, outputs=((1.0, 0.0),)):
    return SimulationChunk(0, np.array([outputs], np.float32), {"layer": LayerActivity(np.zeros((1, 3)), spikes)})


def test_a_spike_that_comes_a_step_later_is_one_moved_spike():
    verification = Verification()
    reference = simulated(events((0, 0, 1, 1), (0, 1, 1, 1), (0, 2, 2, 2)), [[1.0, 0.0], [4.0, 2.0]])
    found = simulated(events((0, 0, 1, 1), (0, 2, 1, 1), (0, 2, 2, 2)), [[1.0, 0.0], [3.0, 2.0]])
    verification.add([found], [reference])
    assert verification.metrics() == {
        "verify/images": 1,
        "verify/moved_spike_share": 1 / 4,
        "verify/output_difference": 1 / 4,
        "verify/same_class": 1,
    }


@pytest.mark.parametrize("lost", [0, 1])
def test_lost_and_made_spikes_count_too(lost):
    one, two = events((0, 0, 1, 1)), events((0, 0, 1, 1), (0, 3, 1, 5))
    verification = Verification()
    verification.add([simulated(one if lost else two)], [simulated(two if lost else one)])
    assert verification.moved == {"layer": 5}
    assert "layer 'layer'" in verification.problem(1e-3)


def test_outputs_that_differ_without_a_moved_spike_are_an_error():
    verification = Verification()
    verification.add([simulated(events((0, 0, 1, 3)), [[1.0, 0.5]])], [simulated(events((0, 0, 1, 3)), [[1.0, 0.4]])])
    assert "outputs of 1 samples differ" in verification.problem(1e-3)
    assert verification.problem(1e-2) is None


def test_outputs_that_are_no_numbers_are_an_error():
    verification = Verification()
    verification.add([simulated(events(), [[np.nan, 0.5]])], [simulated(events(), [[1.0, 0.4]])])
    assert np.isnan(verification.metrics()["verify/output_difference"])
    assert verification.problem(1e-2) is not None


def test_few_moved_spikes_are_no_error_in_a_short_run():
    verification = Verification()
    verification.add([simulated(events((0, 0, 1, 3)))], [simulated(events((0, 1, 1, 3)))])
    assert verification.problem(1e-3) is None


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (9, 1), (5, 5), (3, 12), (40, 17), (700, 600)])
def test_mcnemars_test_is_the_binomial_one(one, other):
    from scipy.stats import binomtest

    total = one + other
    exact = binomtest(one, total).pvalue if total else 1
    assert two_sided_p_value(one, other) == two_sided_p_value(other, one) == pytest.approx(exact)
    assert one_sided_p_value(one, other) == pytest.approx(
        binomtest(one, total, alternative="greater").pvalue if total else 1
    )


def test_the_documented_example_of_mcnemars_test():
    assert two_sided_p_value(9, 1) == 2 * (10 + 1) / 2**10


def test_curves_chart_against_milliseconds():
    curve = [0.1, 0.2, 0.3, 0.4]
    assert list(step_series({"a": curve}, 4, 0.001)) == [("snn/a_at_step", curve, 1)]
    assert list(step_series({"a": curve}, 3, 0.0005)) == [("snn/a_at_step", curve[:3], 1), ("snn/a_at_ms", [0.2], 1)]
    assert list(step_series({"a": curve, "b": curve[::-1]}, 2, 0.002)) == [
        ("snn/a_at_step", [0.1, 0.2], 1),
        ("snn/a_at_ms", [0.1, 0.1, 0.2], 2),
        ("snn/b_at_step", [0.4, 0.3], 1),
        ("snn/b_at_ms", [0.4, 0.4, 0.3], 2),
    ]
    assert list(step_series({"a": curve, "b": curve}, 4, 0.0001)) == [
        ("snn/a_at_step", curve, 1),
        ("snn/b_at_step", curve, 1),
    ]
    assert at_milliseconds(curve, 0.0015) == (2, [0.1, 0.2, 0.2, 0.3, 0.4])
    assert at_milliseconds(curve, 0.0001) == (1, [])
    assert at_milliseconds([0.1 * n for n in range(1, 11)], 0.0001) == (1, [pytest.approx(1.0)])


@pytest.mark.parametrize("tenths", [1, 11, 22, 41, 49])
def test_rounding_moves_no_value_to_another_millisecond(tenths):
    # ten steps of 4.1 ms end at 41 ms, and 41 / (0.0041 * 1000) is less than 10
    first, sampled = at_milliseconds(range(1, 31), tenths / 10_000)
    assert first == -(-tenths // 10)
    assert sampled == [10 * ms // tenths for ms in range(first, 3 * tenths + 1)]
