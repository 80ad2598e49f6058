"""What a diagnosis suggests, worked out by hand: several changes at once, which comes first, and its words."""

import shlex
from dataclasses import replace

import nengo
import numpy as np
import pytest

from snnpipe import ConstantEncoder, NengoDLConverter, PoissonEncoder
from snnpipe.diagnosis.calibrated import later_steps, unchanged
from snnpipe.diagnosis.search import Trial, ranked
from snnpipe.diagnosis.situation import Candidate, Situation, changed, override
from snnpipe.diagnosis.suggestions import calmer, candidates, combinations, lengthened, livelier, rescaled
from snnpipe.diagnosis.wording import measured
from snnpipe.settings.per_layer import per_layer
from snnpipe.simulators.auto import AutoSimulator
from snnpipe.values.calibration import CalibrationOutcome
from snnpipe.values.diagnosis import LayerDiagnosis, Loss
from snnpipe.values.network import NeuronLayer
from snnpipe.values.simulation import SimulationSettings

RELU = nengo.SpikingRectifiedLinear()


def situation(
    scale=1.0, synapse=None, n_steps=10, level=2.0, strongest=3.0, neuron=RELU, bad="a", encoder=None, **found
):
    """Two layers of 1 ms steps, whose active neurons have a mean activation of `level` and one of `strongest`."""
    ann = np.array([0.0] * 5 + [2 * level - strongest, strongest], np.float32)
    measures = {
        "neurons": 7,
        "rate_hz": 3.0,
        "active_spikes": 0.02,
        "correlation": 0.1,
        "error": 0.9,
        "settled_ms": None,
        "saturated": 0.0,
        "sparsity": 0.99,
        "under_activated": 0.98,
        "ann": ann,
        "snn": ann,
    }
    scales = per_layer(scale, ["a", "b"], 1.0, "scale")
    layers = [NeuronLayer(name, (7,), None, neuron, scales[name], synapse, None) for name in scales]
    parts = {
        "conversion": NengoDLConverter(neuron=neuron, scale_firing_rates=scale, synapse=synapse),
        "simulator": AutoSimulator(n_steps=n_steps, readout="last"),
        "encoder": encoder or ConstantEncoder(),
    }
    return Situation(
        parts,
        None,
        SimulationSettings(n_steps=n_steps, readout="last"),
        layers,
        [LayerDiagnosis(name=layer.name, **(measures | found)) for layer in layers],
        [Loss(bad, bad in ("a", "b"), 0.1, 80.0, 0.0)],
    )


def overrides(found):
    return [candidate.override for candidate in found]


# ---------------------------------------------------------------------- what is worked out


@pytest.mark.parametrize(
    ("synapse", "n_steps", "spikes"),
    [
        (None, 10, 2 * 100 * 0.01),
        (0.01, 60, 2 * 100 * 0.02),
        (0.1, 60, 2 * 100 * 0.06),
        (nengo.Alpha(0.005), 60, 2 * 100 * 0.01),
    ],
)
def test_spikes_in_memory_follow_from_activation_scale_and_filter(synapse, n_steps, spikes):
    s = situation(100.0, synapse, n_steps)
    assert s.spikes_in_memory(*s.spiking[0]) == pytest.approx(spikes)


def test_of_neurons_with_a_refractory_period_what_was_measured_counts():
    s = situation(100.0, 0.01, 60, neuron=nengo.LIF(), active_spikes=3.0)
    assert s.spikes_in_memory(*s.spiking[0]) == pytest.approx(3 * 20 / 60)


def test_a_scale_gives_five_spikes_and_no_more_than_one_a_step():
    # 2 * 0.01 = 0.02 spikes in 10 ms; five are 250 times as many, and with 333 the strongest, 3, makes one a step
    assert "conversion.scale_firing_rates=200.0" in overrides(candidates(situation()))
    assert "conversion.scale_firing_rates=500.0" in overrides(candidates(situation(level=1.0, strongest=1.5)))


def test_each_change_is_worked_out_for_what_the_others_make():
    found = overrides(combinations(situation()))
    # 20 steps a layer: 40 ms, in which two filters of 5 ms settle; 10 ms of memory want 250, and 3 allows 200
    assert found[0] == "conversion.scale_firing_rates=200.0 simulator.readout=mean simulator.readout_steps=3"
    assert "conversion.synapse=0.001 conversion.scale_firing_rates=200.0" in found
    assert "simulator.n_steps=40 conversion.synapse=0.005 conversion.scale_firing_rates=200.0" in found
    together = "simulator.n_steps=40 conversion.synapse=0.005 conversion.scale_firing_rates=200.0"
    assert f"{together} simulator.readout=mean simulator.readout_steps=13" in found


def test_filters_that_are_too_long_are_shortened_or_given_time():
    found = overrides(combinations(situation(5.0, 0.01, 30)))
    # 5 * 20 ms of two filters; or 60 ms with two of 5 ms
    assert "simulator.n_steps=100 conversion.scale_firing_rates=250.0" in found
    assert "simulator.n_steps=60 conversion.synapse=0.005 conversion.scale_firing_rates=250.0" in found


def test_nothing_is_combined_where_a_rule_has_nothing_to_say():
    settled = situation(200.0, 0.005, 60, settled_ms=20.0)
    assert not [o for o in overrides(combinations(settled)) if "scale" in o and "200" not in o.split("scale")[1]]
    assert len(set(overrides(combinations(situation())))) <= 11


def test_other_neurons_come_with_the_scale_that_they_need():
    found = overrides(combinations(situation(neuron=nengo.LIF(), active_spikes=0.0)))
    assert "neuron=integrate_and_fire conversion.scale_firing_rates=200.0" in found


def test_a_mapping_of_patterns_is_added_to():
    by_pattern = situation(scale={"*": 1.0})
    found = overrides(candidates(by_pattern))
    assert '"++conversion.scale_firing_rates={a: 200.0, b: 1.0}"' in found
    named = overrides(candidates(situation(scale={"a": 1.0, "b": 1.0})))
    assert '"conversion.scale_firing_rates={a: 200.0, b: 1.0}"' in named


def test_changes_of_two_candidates_are_one():
    first, second = Candidate("x", {"a.b": 1, "a.c": 2}), Candidate("y", {"a.c": 3, "d.e": {"k": 1.0, "*": 2.0}})
    both = second.after(first)
    assert both.override == 'a.b=1 a.c=3 "d.e={k: 1.0, *: 2.0}"' and both.reason == "x; y"


@pytest.mark.parametrize(
    "name", ["conv2d", "tf.nn.relu", "block/a-1 b", "a(1)", "a:b", "schicht_ä", "1", "true", "it's"]
)
def test_an_override_names_layers_of_any_name(name):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    scales = {"*": 2.0, name: 100.0, "other": 5.0}
    (word,) = shlex.split(override("conversion.scale_firing_rates", scales))
    (parsed,) = OverridesParser.create().parse_overrides([word])
    read = {str(key): value for key, value in parsed.value().items()}
    names = [name, "other", "third"]
    assert per_layer(read, names, 1.0, "x") == dict(zip(names, (100.0, 5.0, 2.0), strict=True))


# ---------------------------------------------------------------------- several spikes in a step, and none


def test_a_lower_scale_or_shorter_steps_end_several_spikes_a_step():
    found = list(calmer(situation(100.0, encoder=PoissonEncoder()), {"a": 5.2, "b": 0.4}))
    # 100 * 0.5 / 5.2 = 9.6, rounded down to 5; ten parts of a step are the next that are enough for 5.2
    assert overrides(found) == [
        '"conversion.scale_firing_rates={a: 5.0, b: 100.0}"',
        "simulator.dt=0.0001 simulator.n_steps=100",
    ]
    parts = changed({"encoder": PoissonEncoder(), "simulator": AutoSimulator(n_steps=10)}, found[1].changes)
    assert parts["encoder"].dt == parts["simulator"].dt == 0.0001
    assert not list(calmer(situation(), {"a": 1.0, "b": 0.4}))
    assert len(list(calmer(situation(), {"a": 500.0}))) == 1, "so many steps cost more than the spikes"


def test_the_strongest_activation_is_to_spike_every_other_step():
    (found,) = livelier(situation(), {"a": 4.0, "b": 0.03})
    assert found.changes == {"conversion.scale_firing_rates": {"a": 100.0, "b": 10000.0}}


# ---------------------------------------------------------------------- which comes first


def trial(right, spikes=1000.0, n_steps=60, **changes):
    of = np.zeros(100, bool)
    of[:right] = True
    return Trial(Candidate("", dict.fromkeys(changes, 1)), of, spikes, n_steps, 0.0)


def test_of_settings_that_are_as_good_the_cheaper_one_comes_first():
    dear, cheap, worse = trial(97, 10_000, a=1), trial(95, 500, b=1), trial(60, 10, c=1)
    # two images are lost and none is won: 1 / 4 by chance; of 37, none would be
    assert ranked([dear, worse, cheap]) == [cheap, dear, worse]
    assert ranked([dear, trial(94, 500, b=1)])[0] is dear, "three are one in eight"
    assert ranked([trial(97, 100, 600, a=1), short := trial(97, 200, 60, b=1)])[0] is short


def test_what_changes_more_for_nothing_is_left_out():
    one, both, other = trial(97, 500, a=1), trial(97, 600, a=1, b=1), trial(90, 100, b=1)
    assert ranked([both, one, other]) == [one, other]
    assert ranked([one, replace(both, spikes=10)])[0].candidate.changes.keys() == {"a", "b"}


# ---------------------------------------------------------------------- in words


def test_what_was_measured_is_a_sentence():
    words = "a: an active neuron spikes 0.02 times in 10 ms, 98 % of the active ones do not spike, "
    assert measured(situation()) == words + "it has no filter"
    late = situation(5.0, 0.01, 30, active_spikes=0.3, under_activated=0.0)
    assert measured(late) == "a: an active neuron spikes 0.3 times in 30 ms, its filter of 10 ms has not settled"
    settled = situation(5.0, 0.01, 30, active_spikes=0.3, under_activated=0.0, settled_ms=12.0)
    assert measured(settled).endswith("its filter of 10 ms has settled after 12 ms")
    filters = (
        "the filters' time constants are 20 ms together, and in 30 ms a has not settled; a: an active neuron spikes "
    )
    assert measured(situation(5.0, 0.01, 30, bad="filters")) == filters + "0.02 times in 30 ms"
    leaky = measured(situation(neuron=nengo.LIF(), bad="rate neurons", saturated=0.4))
    assert "the rate curve of LIF is not a ReLU, and 40 % of a layer fire at their limit" in leaky
    assert "what was converted is not what the ANN computes" in measured(situation(bad="rate neurons"))
    assert measured(situation(bad="input")) == "rate neurons lose it to the encoder's draws in 10 ms"
    unknown = situation(active_spikes=None, under_activated=None, ann=np.empty(0), snn=np.empty(0))
    assert measured(unknown) == "a: a neuron fires at 3 Hz, it has no filter"


def test_settings_of_a_simulator_are_changed_by_their_keys():
    s = situation().assuming({"simulator.n_steps": 40, "conversion.synapse": {"a": 0.005}})
    assert s.settings.n_steps == s.parts["simulator"].n_steps == 40
    assert [layer.synapse.plain for layer in s.layers] == [0.005, None]
    assert s.unsettled() is None and s.assuming({"conversion.synapse": 0.02}).unsettled() == "a"


# ---------------------------------------------------------------------- scales from data


def test_scales_from_data_stay_so():
    outcome = CalibrationOutcome(
        samples=9,
        digest="",
        channels=False,
        balance=True,
        spikes_per_step=0.5,
        spikes_of_layers={},
        scales={"a": 50, "b": 9},
    )
    s = replace(situation(scale={"a": 100.0, "b": 18.0}), calibration=outcome)
    mean = replace(s, settings=replace(s.settings, readout="mean"))
    kept = unchanged(s)
    rest = "conversion.calibration.channels=false conversion.calibration.balance=true"
    rest += " conversion.calibration.bias_correction=false conversion.calibration.drawn_voltages=false"
    assert kept.override == f"conversion.calibration.spikes_per_step=1 {rest}" and not kept.changes
    assert overrides(candidate.after(kept) for candidate in rescaled(s)) == [
        f"conversion.calibration.spikes_per_step={spikes} {rest}" for spikes in (2, 4)
    ]
    assert next(rescaled(s)).changes == {"conversion.scale_firing_rates": {"a": 200, "b": 36}}
    assert overrides(candidate.after(kept) for candidate in lengthened(s)) == [f"simulator.n_steps=20 {kept.override}"]
    later = ["simulator.readout=later_three_quarters", "simulator.readout=later_half"]
    assert overrides(later_steps(mean)) == later and not list(later_steps(s))
    assert unchanged(situation()).override == ""
    converter = replace(s.parts["conversion"], bias_offsets={"a": [0.2, -0.1]})
    corrected = replace(s, parts={**s.parts, "conversion": converter})
    (more, *_), (longer,) = rescaled(corrected), lengthened(corrected)
    assert more.changes["conversion.bias_offsets"] == longer.changes["conversion.bias_offsets"] == {"a": [0.1, -0.05]}
    assert more.override == next(rescaled(s)).override and longer.override == "simulator.n_steps=20"
