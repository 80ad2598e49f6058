"""Writes the report of a run: one page with the cost of the conversion, its place, and what to try."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from snnpipe.artifacts.drawing import pictures_of
from snnpipe.callbacks.base import Callback
from snnpipe.metrics.energy import OperationCounts, energy_estimates
from snnpipe.values.run import FitProgress, RunState


@dataclass
class Report(Callback):
    """Draw pictures for the review of a run, and put them into ``report.html``.

    This must be the last callback, so that the report has the pictures of the other callbacks too.
    """

    _epochs: list[FitProgress] = field(default_factory=list, init=False)

    def on_fit_start(self, state: RunState) -> None:
        """Forget an earlier training."""
        self._epochs = []

    def on_epoch_end(self, state: RunState, progress: FitProgress) -> None:
        """Keep the epoch's metrics for the training curves."""
        self._epochs.append(progress)

    def state_dict(self) -> Mapping[str, Any]:
        """Return the epochs so far."""
        return {"epochs": [asdict(epoch) for epoch in self._epochs]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the epochs so far."""
        self._epochs = [FitProgress(**epoch) for epoch in state["epochs"]]

    def on_simulation_end(self, state: RunState) -> None:
        """Draw the pictures of the training and the simulation."""
        draw(state, Path(state.output_dir, "plots"), self._epochs)

    def on_evaluate_end(self, state: RunState) -> None:
        """Draw the picture of the diagnosis, and write the page."""
        from snnpipe.artifacts.report import run_page
        from snnpipe.artifacts.tables import write_text

        folder = Path(state.output_dir)
        _draw_diagnosis(state, folder / "plots")
        pictures_of(state).wait()
        page = write_text(folder / "report.html", run_page(state, folder))
        state.log_artifact(page, "")
        state.address["report"] = str(page)


def draw(state: RunState, folder: Path, epochs: Sequence[FitProgress] = ()) -> None:
    """Draw the pictures of a run after its simulation.

    Parameters
    ----------
    state
        The run.
    folder
        Folder of the pictures.
    epochs
        Epochs of its training.
    """
    assert state.spec is not None and state.network is not None and state.outcome is not None
    outcome, pictures = state.outcome, pictures_of(state)
    if epochs:
        numbers, metrics = [p.epoch for p in epochs], [p.metrics for p in epochs]
        path = folder / "training_curves.png"
        pictures.draw("review_plots.training_curves", path, epochs=numbers, metrics=metrics)
    spiking = {layer.name for layer in state.network.layers if layer.spiking}
    rates = {name: rate_n for name, rate_n in outcome.rates_hz.items() if name in spiking}
    if rates:
        pictures.draw("review_plots.rate_histograms", folder / "rate_histograms.png", rates_hz=rates)
    pictures.draw(
        "review_plots.confusion_matrices",
        folder / "confusion.png",
        ann_cc=outcome.ann_confusion_cc,
        snn_cc=outcome.snn_confusion_cc,
        between_cc=outcome.between_cc,
        class_names=state.spec.class_names,
        sample_word=state.sample_word,
    )
    m, counts = state.results, OperationCounts.of(state.results)
    estimates = energy_estimates(counts) if counts else ()
    pictures.draw(
        "review_plots.cost_summary",
        folder / "costs.png",
        accuracy=(m["snn/test_accuracy"], m["snn/accuracy_ci_low"], m["snn/accuracy_ci_high"]),
        ann_accuracy=outcome.ann_accuracy,
        latency_ms=m.get("snn/latency_ms_to_1pt"),
        shown_ms=1000 * outcome.dt * len(outcome.accuracy_t),
        sample_word=state.sample_word,
        energies_j={e.device.name: (e.snn_low_j, e.snn_high_j, e.ann_j) for e in estimates},
    )


def _draw_diagnosis(state: RunState, folder: Path) -> None:
    layers = [layer for layer in state.diagnosis.layers if len(layer.ann)] if state.diagnosis else []
    if layers:
        pictures_of(state).draw(
            "review_plots.rate_against_activation",
            folder / "rate_against_activation.png",
            layers={layer.name: (layer.ann, layer.snn) for layer in layers},
            correlations=[layer.correlation for layer in layers],
        )
