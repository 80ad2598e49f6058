"""The report of an evaluation in memory: the page of a run, as far as it is known."""

import tempfile
from pathlib import Path

from snnpipe.artifacts.report import run_page
from snnpipe.artifacts.tables import write_text
from snnpipe.bundle.converted import Converted
from snnpipe.callbacks.report import draw
from snnpipe.callbacks.run_files import draw_curves
from snnpipe.spiking.results import Evaluation
from snnpipe.values.data import DataSpec
from snnpipe.values.run import RunState
from snnpipe.values.simulation import input_over_time


def write_page(path: Path, converted: Converted, evaluation: Evaluation) -> Path:
    """Write an evaluation as a page that needs no other file, and return its path."""
    spec = DataSpec(
        input_shape=converted.input_shape,
        n_classes=len(converted.class_names),
        class_names=converted.class_names,
        n_test=evaluation.outcome.images,
    )
    state = RunState(
        converted.seed,
        "",
        lambda path, folder: None,
        spec=spec,
        plan=converted.plan,
        network=converted.network,
        settings=converted.settings,
        results=dict(evaluation.metrics),
        outcome=evaluation.outcome,
        calibration=converted.calibration,
        remarks=converted.calibration.remarks() if converted.calibration is not None else (),
        run_name=converted.name,
        input_over_time=input_over_time(converted.encoder),
    )
    with tempfile.TemporaryDirectory() as folder:
        plots = Path(folder) / "plots"
        draw(state, plots)
        draw_curves(state, plots)
        page = run_page(state, Path(folder))
    return write_text(path, page)
