"""The files that every logged run leaves: how it was made, and its results."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from snnpipe.artifacts.environment import describe_environment
from snnpipe.artifacts.predictions import Predictions
from snnpipe.artifacts.tables import write_csv, write_diagnosis, write_energy, write_json, write_plan, write_text
from snnpipe.base.errors import StorageError, UserError
from snnpipe.base.masking import masked_traceback
from snnpipe.callbacks.base import Callback
from snnpipe.metrics.energy import OperationCounts, energy_estimates
from snnpipe.settings.describe import to_yaml
from snnpipe.values.calibration import CalibrationOutcome
from snnpipe.values.outcome import Outcome
from snnpipe.values.run import RunState


class RunFiles(Callback):
    """Writes a run's files and hands them to the loggers.

    At the start: environment, configuration and conversion plan. At the end: predictions, accuracy over time, energy
    and diagnosis. A fault in the program leaves its traceback. A run that is not logged leaves nothing.
    """

    def on_run_start(self, state: RunState) -> None:
        """Write the environment, the configuration and the plan.

        Raises
        ------
        StorageError
            If one of them cannot be written.
        """
        folder = Path(state.output_dir)
        state.log_artifact(write_json(folder / "environment.json", describe_environment()), "")
        state.log_artifact(write_text(folder / "config.yaml", to_yaml(state.config)), "")
        if state.plan is not None:
            _log(state, write_plan(folder / "conversion", state.plan), "conversion")

    def on_convert_end(self, state: RunState) -> None:
        """Write what a calibration gave, and the plan with its scales."""
        if state.calibration is None or not state.is_logged:
            return
        folder = Path(state.output_dir) / "conversion"
        state.log_artifact(write_json(folder / "calibration.json", state.calibration.plain()), "conversion")
        if state.plan is not None:
            _log(state, write_plan(folder, state.plan), "conversion")
        if state.calibration.tried:
            _search(state, state.calibration)

    def on_evaluate_end(self, state: RunState) -> None:
        """Write the results, each kind of file whether or not the others can be written.

        Raises
        ------
        StorageError
            If some cannot be written: the first problem.
        """
        if not state.is_logged:
            return
        problems: list[StorageError] = []
        writers: tuple[Callable[[RunState, Path], None], ...] = (_predictions, _curves, _energy, _diagnosis)
        for write in writers:
            try:
                write(state, Path(state.output_dir))
            except StorageError as error:
                problems.append(error)
        if problems:
            raise problems[0]

    def on_exception(self, state: RunState, error: BaseException) -> None:
        """Write the traceback of an error that is no mistake of the user's."""
        if state.is_logged and isinstance(error, Exception) and not isinstance(error, UserError):
            path = write_text(Path(state.output_dir) / "traceback.txt", masked_traceback(error))
            state.log_artifact(path, "")


def _log(state: RunState, paths: list[Path], folder: str) -> None:
    for path in paths:
        state.log_artifact(path, folder)


def _search(state: RunState, calibration: CalibrationOutcome) -> None:
    from snnpipe.artifacts.plots import calibration_search

    folder = Path(state.output_dir)
    columns = tuple(asdict(calibration.tried[0]))
    rows = [tuple(asdict(one).values()) for one in calibration.tried]
    state.log_artifact(write_csv(folder / "tables" / "calibration.csv", columns, rows), "tables")
    state.log_artifact(
        calibration_search(folder / "plots" / "calibration.png", calibration, state.sample_word), "plots"
    )


def _predictions(state: RunState, folder: Path) -> None:
    if state.outcome is not None:
        path = Predictions(*state.outcome.classes_3i).write(folder / "tables")
        state.log_artifact(path, "tables")


def _curves(state: RunState, folder: Path) -> None:
    from snnpipe.artifacts.plots import accuracy_over_time

    outcome = state.outcome
    if outcome is None:
        return
    state.log_artifact(_curve_table(outcome, folder / "tables" / "accuracy_over_time.csv"), "tables")
    path = folder / "plots" / "accuracy_over_time.png"
    accuracy_over_time(
        path,
        accuracy=outcome.accuracy_t.tolist(),
        agreement=outcome.agreement_t.tolist(),
        ann_accuracy=outcome.ann_accuracy,
        n_samples=outcome.images,
        sample_word=state.sample_word,
        dt=outcome.dt,
    )
    state.log_artifact(path, "plots")


def _curve_table(outcome: Outcome, path: Path) -> Path:
    curves = zip(outcome.accuracy_t.tolist(), outcome.agreement_t.tolist(), strict=True)
    rows = [(step, round(step * outcome.dt * 1000, 9), *values) for step, values in enumerate(curves, start=1)]
    return write_csv(path, ("step", "time_ms", "accuracy", "agreement"), rows)


def _energy(state: RunState, folder: Path) -> None:
    if counts := OperationCounts.of(state.results):
        path = write_energy(folder / "tables" / "energy.csv", energy_estimates(counts))
        state.log_artifact(path, "tables")


def _diagnosis(state: RunState, folder: Path) -> None:
    if state.diagnosis is not None:
        _log(state, write_diagnosis(folder / "diagnosis", state.diagnosis), "diagnosis")
