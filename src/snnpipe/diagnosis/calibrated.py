"""Suggestions for a run whose scales were taken from data: they change what the scales aim at, and fix no scale."""

from collections.abc import Iterator
from typing import Any

from snnpipe.diagnosis.situation import OFFSETS, SCALES, Candidate, Situation
from snnpipe.settings.domains import LEFT_OUT
from snnpipe.values.calibration import CalibrationOutcome

_FACTORS = 2.0, 4.0


def unchanged(s: Situation) -> Candidate:
    """Return the change of nothing. It prints the scales, so that other changes are not calibrated once more."""
    if s.calibration is None:
        return Candidate("")
    return Candidate("", printed=_settings(s.calibration, _spikes_per_step(s, s.calibration)))


def more_spikes(s: Situation, calibration: CalibrationOutcome) -> Iterator[Candidate]:
    """Yield two and four times the spikes per step."""
    now = _spikes_per_step(s, calibration)
    for factor in _FACTORS:
        reason = (
            f"{factor * now:.3g} spikes a step of the strongest activations, in place of {now:.3g}, are less coarse"
        )
        scales = {layer.name: factor * layer.scale_firing_rates for layer in s.layers}
        yield Candidate(
            reason, {SCALES: scales} | _smaller_offsets(s, factor), printed=_settings(calibration, factor * now)
        )


def more_steps(s: Situation) -> Iterator[Candidate]:
    """Yield twice the steps with as many spikes per step."""
    steps = 2 * s.settings.n_steps
    reason = f"{steps} steps with as many spikes in each average over more of them"
    yield Candidate(reason, {"simulator.n_steps": steps} | _smaller_offsets(s, 2.0))


def later_steps(s: Situation) -> Iterator[Candidate]:
    """Yield means over the later part of the steps, if the run reads the mean over all of them."""
    if s.settings.readout == "mean" and s.settings.readout_steps is None and len(s.spiking) > 1:
        for readout in LEFT_OUT:
            part = readout.removeprefix("later_").replace("_", " ")
            verb = "leave" if part.endswith("s") else "leaves"
            reason = f"the first steps carry what has not yet come through all layers: the later {part} {verb} them out"
            yield Candidate(reason, {"simulator.readout": readout})


def _smaller_offsets(s: Situation, factor: float) -> dict[str, Any]:
    """Return the change of offsets of biases that so many times the spikes entail: errors of rounding shrink alike.

    A run with the suggested settings determines its offsets by itself.
    """
    offsets = s.value(OFFSETS) if s.takes(OFFSETS) else None
    if not offsets:
        return {}
    return {OFFSETS: {name: [value / factor for value in own] for name, own in offsets.items()}}


def _spikes_per_step(s: Situation, calibration: CalibrationOutcome) -> float:
    """Return the spikes per step that the present scales stand for."""
    layer = s.layers[0]
    return calibration.spikes_per_step * layer.scale_firing_rates / calibration.scales[layer.name]


def _settings(calibration: CalibrationOutcome, spikes_per_step: float) -> dict[str, str]:
    """Return, by the key of the scales, the overrides with which a calibration gives the scales of so many spikes."""
    settings = {
        "spikes_per_step": f"{spikes_per_step:.4g}",
        "channels": str(calibration.channels).lower(),
        "balance": str(calibration.balance).lower(),
        "bias_correction": str(calibration.bias_correction).lower(),
        "drawn_voltages": str(calibration.drawn_voltages).lower(),
        **({} if calibration.max_drop is None else {"max_drop": "null"}),
    }
    return {SCALES: " ".join(f"conversion.calibration.{name}={value}" for name, value in settings.items())}
