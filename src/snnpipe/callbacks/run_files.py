"""The files that every logged run leaves: how it was made, and its results."""

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from snnpipe.artifacts.drawing import pictures_of
from snnpipe.artifacts.environment import describe_environment
from snnpipe.artifacts.predictions import Predictions
from snnpipe.artifacts.tables import write_csv, write_diagnosis, write_energy, write_json, write_plan, write_text
from snnpipe.base.errors import StorageError, UserError, one_line
from snnpipe.base.masking import masked_traceback
from snnpipe.bundle.converted import Converted
from snnpipe.callbacks.base import Callback
from snnpipe.metrics.energy import OperationCounts, energy_estimates
from snnpipe.settings.describe import to_yaml
from snnpipe.values.calibration import CalibrationOutcome
from snnpipe.values.network import ConversionPlan
from snnpipe.values.outcome import Outcome
from snnpipe.values.run import RunState


class RunFiles(Callback):
    """Writes a run's files and hands them to the loggers.

    At the start: environment, configuration and conversion plan. After the conversion: calibration, and the network as
    one file (`snnpipe.load`). At the end: predictions, accuracy over time, energy and diagnosis. A fault in the program
    leaves its traceback. A run that is not logged leaves nothing.
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
        """Write the network, what a calibration gave, and the plan with its scales."""
        if not state.is_logged:
            return
        folder = Path(state.output_dir) / "conversion"
        _network(state, folder / "network.snn")
        if state.calibration is None:
            return
        state.log_artifact(write_json(folder / "calibration.json", state.calibration.plain()), "conversion")
        if state.plan is not None:
            _log(state, write_plan(folder, state.plan), "conversion")
        if state.calibration.tried:
            _search(state, state.calibration)

    def on_simulation_end(self, state: RunState) -> None:
        """Write and draw accuracy and agreement over time."""
        if state.is_logged:
            _curves(state, Path(state.output_dir))

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
        writers: tuple[Callable[[RunState, Path], None], ...] = (_predictions, _energy, _diagnosis)
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


def _network(state: RunState, path: Path) -> None:
    """Write the network to a file. If it cannot be one, the log says why."""
    from snnpipe.bundle.bundle import write_bundle

    if state.network is None or state.samples is None or state.spec is None or state.settings is None:
        return
    converted = Converted(
        name=state.run_name,
        network=state.network,
        settings=state.settings,
        encoder=state.encoder,
        seed=state.seed,
        input_shape=state.spec.input_shape,
        class_names=state.spec.class_names,
        plan=state.plan or ConversionPlan(()),
        pixels=state.pixels,
        calibration=state.calibration,
        made_from=_made_from(state),
    )
    try:
        state.log_artifact(write_bundle(path, converted, state.samples), "conversion")
    except StorageError:
        raise
    except (UserError, MemoryError) as reason:  # the run's figures are worth more than the file
        if not state.one_of_several:
            tqdm.write(f"snnpipe: the run leaves no conversion/{path.name}: {one_line(reason)}", file=sys.stderr)


def _made_from(state: RunState) -> dict[str, str]:
    data = "" if state.spec is None else f"{state.spec.name} {state.spec.version}".strip()
    made_from = {"run": state.run_name, "run_id": state.run_id, "command": state.command, "data": data}
    return {name: text for name, text in (made_from | {"commit": state.commit}).items() if text}


def _search(state: RunState, calibration: CalibrationOutcome) -> None:
    folder = Path(state.output_dir)
    columns = tuple(asdict(calibration.tried[0]))
    rows = [tuple(asdict(one).values()) for one in calibration.tried]
    state.log_artifact(write_csv(folder / "tables" / "calibration.csv", columns, rows), "tables")
    path = folder / "plots" / "calibration.png"
    pictures_of(state).draw("plots.calibration_search", path, outcome=calibration, sample_word=state.sample_word)


def _predictions(state: RunState, folder: Path) -> None:
    if state.outcome is not None:
        path = Predictions(*state.outcome.classes_3i).write(folder / "tables")
        state.log_artifact(path, "tables")


def _curves(state: RunState, folder: Path) -> None:
    if state.outcome is not None:
        state.log_artifact(_curve_table(state.outcome, folder / "tables" / "accuracy_over_time.csv"), "tables")
        draw_curves(state, folder / "plots")


def draw_curves(state: RunState, folder: Path) -> None:
    """Draw accuracy and agreement over time."""
    assert state.outcome is not None
    outcome = state.outcome
    pictures_of(state).draw(
        "plots.accuracy_over_time",
        folder / "accuracy_over_time.png",
        accuracy=outcome.accuracy_t.tolist(),
        agreement=outcome.agreement_t.tolist(),
        ann_accuracy=outcome.ann_accuracy,
        n_samples=outcome.images,
        sample_word=state.sample_word,
        dt=outcome.dt,
    )


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
