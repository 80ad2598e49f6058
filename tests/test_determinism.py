"""The same configuration, seed and machine give the same weights, spikes and metrics, to the bit, whatever runs beside.

`test_resume.py` has the runs that were stopped.
"""

import hashlib

import pytest
from multiruns import OF_THE_MACHINE, client_of, runs_of

WORDS = ("model=cnn2d", "training.epochs=2", "training.reuse=false", "diagnosis.images=0", "data.max_test_images=100")
SCALES = ["10", "20", "50", "100"]


def left_by(folder, run):
    outputs = folder / run.data.params["paths.output_dir"]
    files = [*outputs.glob("checkpoint/*.npz"), *outputs.glob("spikes/*.npz"), *outputs.glob("tables/*.csv")]
    digests = {str(path.relative_to(outputs)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return digests, {name: value for name, value in run.data.metrics.items() if name not in OF_THE_MACHINE}


@pytest.mark.long
def test_a_run_alone_and_one_of_four_at_once_are_the_same(process, tmp_path):
    folder = tmp_path / "process"
    scales = f"conversion.scale_firing_rates={','.join(SCALES)}"
    beside = process("-m", "hydra/launcher=processes", "hydra.launcher.n_jobs=4", *WORDS, scales)
    _, err = beside.communicate(timeout=600)
    assert beside.returncode == 0, err
    _, jobs = runs_of(folder)
    found = {job.data.params["conversion.scale_firing_rates"]: left_by(folder, job) for job in jobs}
    assert sorted(found, key=float) == SCALES
    assert len({digests["checkpoint/weights.npz"] for digests, _ in found.values()}) == 1
    alone = process(*WORDS, "conversion.scale_firing_rates=50", f"paths.mlruns={folder}/alone")
    _, err = alone.communicate(timeout=300)
    assert alone.returncode == 0, err
    (run,) = client_of(folder, "alone").search_runs(["1"])
    assert left_by(folder, run) == found["50"]
