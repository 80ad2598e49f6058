"""Multi-runs as answers: every duration from one simulation, the front that Optuna finds, the best settings."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from multiruns import FAST, client_of, runs_of, wait_for

from snnpipe.metrics.front import pareto_front
from snnpipe.sweeps.results import best_settings, results_table
from snnpipe.values.run import SweepJob


def study_of(folder: Path):
    import optuna

    storage = f"sqlite:///{folder}/mlruns/optuna.db"
    (name,) = optuna.get_all_study_names(storage)
    return optuna.load_study(study_name=name, storage=storage)


# ---------------------------------------------------------------------- one simulation, every duration


@pytest.mark.slow
def test_a_grid_over_durations_simulates_once(command, tmp_path):
    folder = tmp_path / "work"
    one = (*FAST, "model.units=[16]", "conversion.scale_firing_rates=50")
    one += ("+metrics.counting._target_=metric_plugins.Counting",)
    words = ("-m", *one, "simulator.n_steps=6,4,10")
    result = command(*words)
    assert result.code == 0, result.err
    (parent,), children = runs_of(folder)
    assert "simulator.n_steps=6,4,10" in parent.data.params["command"]
    by_steps = {run.data.params["simulator.n_steps"]: run for run in children}
    assert set(by_steps) == {"4", "6", "10"}
    simulated = [run for run in children if "simulate/images_per_s" in run.data.metrics]
    assert simulated == [by_steps["10"]]
    assert {by_steps[n].data.tags["simulation.run_id"] for n in ("4", "6")} == {by_steps["10"].info.run_id}
    assert all("| SNN accuracy | " in run.data.tags["mlflow.note.content"] for run in children)
    curve = client_of(folder).get_metric_history(by_steps["6"].info.run_id, "snn/accuracy_at_step")
    assert [point.step for point in curve] == [1, 2, 3, 4, 5, 6]

    alone = command(*one, "simulator.n_steps=6")
    assert alone.code == 0, alone.err
    parents, _ = runs_of(folder)
    of_its_own = parents[-1].data
    # MLflow keeps the newest value of a series among the metrics, too
    measured = {name for name in of_its_own.metrics if not name.startswith("simulate/")}
    assert {"own/images", "own/right", "own/spikes/dense"} <= measured
    assert len({run.data.metrics["own/spikes/dense"] for run in children}) == 3
    assert all("| own accuracy | " in run.data.tags["mlflow.note.content"] for run in children)
    assert {name: by_steps["6"].data.metrics.get(name) for name in measured - {"fit/images_per_s"}} == {
        name: of_its_own.metrics[name] for name in measured - {"fit/images_per_s"}
    }
    assert by_steps["6"].data.tags["run.fingerprint"] != by_steps["4"].data.tags["run.fingerprint"]

    again = command(*words, "sweep.resume=true")
    assert again.code == 0, again.err
    assert again.out.count("is done already") == 3
    assert len(runs_of(folder)[1]) == 3


@pytest.mark.slow
def test_a_duration_that_cannot_be_is_a_failed_job_of_its_own(command, tmp_path):
    words = (
        "-m",
        *FAST,
        "training.epochs=0",
        "simulator.readout=mean",
        "simulator.readout_steps=5",
        "conversion.scale_firing_rates=50",
        "simulator.n_steps=2,8,10",
    )
    result = command(*words, "logger=csv")
    assert result.code == 2
    assert result.error_lines == [
        "snnpipe: error: simulator.readout_steps: got 5, which is more than simulator.n_steps=2: the mean can take at "
        "most all steps"
    ]
    rows = list(csv.DictReader(next(tmp_path.glob("work/mlruns/multirun/*/sweep.csv")).open()))
    assert [(row["simulator.n_steps"], row["status"]) for row in rows] == [
        ("2", "FAILED"),
        ("8", "FINISHED"),
        ("10", "FINISHED"),
    ]


@pytest.mark.slow
def test_a_duration_that_cannot_be_logged_is_a_failed_job_of_its_own(command, tmp_path, monkeypatch):
    (tmp_path / "fragile_store.py").write_text(
        "from snnpipe.loggers.mlflow.logger import MLflowLogger\n"
        "class Fragile(MLflowLogger):\n"
        "    def start(self, name, params, tags, parent=None, resumed=None):\n"
        "        self.steps = params.get('simulator.n_steps')\n"
        "        super().start(name, params, tags, parent, resumed)\n"
        "    def log_metrics(self, metrics, step=None):\n"
        "        if self.steps == 4:\n"
        "            raise RuntimeError('the store is on fire')\n"
        "        super().log_metrics(metrics, step)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    store = "logger.mlflow._target_=fragile_store.Fragile"
    result = command(
        "-m", *FAST, "training.epochs=0", store, "conversion.scale_firing_rates=50", "simulator.n_steps=2,4,10"
    )
    assert result.code == 1
    assert "the store is on fire" in result.err and "1 of 3 jobs did not finish" in result.err
    _, children = runs_of(tmp_path / "work")
    found = [(run.data.tags["sweep.duration"], run.info.status) for run in children]
    assert sorted(found) == [("10", "FINISHED"), ("2", "FINISHED"), ("4", "FAILED"), ("4", "KILLED")]


@pytest.mark.slow
def test_values_that_are_no_durations_are_told_as_mistakes(command, tmp_path):
    result = command("-m", *FAST, "training.epochs=0", "logger=csv", "simulator.n_steps=-1,2")
    assert result.code == 2
    assert result.error_lines[0].startswith("snnpipe: error: simulator.n_steps: got -1")
    assert "1 of 2 jobs did not finish" in result.err


# ---------------------------------------------------------------------- results


SHARED = ("~callbacks.progress", "seed=1")


def finished(overrides, drop, latency, synops, accuracy=0.95):
    metrics = {"snn/test_accuracy": accuracy, "snn/accuracy_drop": drop, "snn/synops_per_image": synops}
    return SweepJob(overrides, metrics | ({} if latency is None else {"snn/latency_ms_to_1pt": latency}))


def test_best_settings_are_named_by_what_they_are_best_at():
    jobs = [
        finished([*SHARED, "conversion.synapse=0.01"], 0.005, 30.0, 500.0),
        finished([*SHARED, "conversion.synapse=0.02"], 0.000, 40.0, 900.0, accuracy=0.955),
        finished([*SHARED, "conversion.synapse={conv*: 0.02}"], 0.010, 10.0, 800.0),
        finished([*SHARED, "conversion.synapse=null"], 0.4, None, 100.0, accuracy=0.5),
        SweepJob([*SHARED, "conversion.synapse=-1"], error="no"),
    ]
    best = best_settings(jobs)
    assert {name: entry["settings"] for name, entry in best.items()} == {
        "most accurate": "synapse=0.02",
        "fewest SynOps within 1 point of the ANN": "synapse=0.01",
        "fastest within 1 point of the ANN": "synapse={conv*: 0.02}",
    }
    command = best["fastest within 1 point of the ANN"]["command"]
    assert command == "python -m snnpipe '~callbacks.progress' seed=1 'conversion.synapse={conv*: 0.02}'"
    command = best_settings(jobs, "python -m snnpipe -m --config-dir conf seed=1,2")["most accurate"]["command"]
    assert command.startswith("python -m snnpipe --config-dir conf '~callbacks.progress' seed=1")
    header, rows = results_table(jobs)
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["on_front"] for row in table] == [True, True, True, True, False]
    assert [row["status"] for row in table] == ["FINISHED"] * 4 + ["FAILED"]
    assert table[3]["snn/latency_ms_to_1pt"] is None
    assert best_settings(jobs[-1:]) == {}


def test_the_front_of_a_worked_example():
    # the last is dominated by the first, the two alike by none, and what was never reached is on it by its other side
    costs = [[1, 5], [2, 2], [2, 2], [0.5, np.inf], [1, 6]]
    assert pareto_front(costs).tolist() == [True, True, True, True, False]
    assert pareto_front([]).tolist() == []


@given(
    arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 3)), elements=st.sampled_from([0, 1, 2, np.inf]))
)
def test_the_front_is_what_nothing_dominates(costs):
    def dominated(point):
        return any((other <= point).all() and (other < point).any() for other in costs)

    assert pareto_front(costs).tolist() == [not dominated(point) for point in costs]


# ---------------------------------------------------------------------- Optuna


@pytest.mark.slow
def test_the_pareto_sweep_ends_in_its_front_and_goes_on(command, tmp_path, monkeypatch):
    folder = tmp_path / "work"
    words = ("sweep=pareto", "training.epochs=8", "callbacks=none", "diagnosis.images=0", "model=mlp")
    words += ("model.units=[32]", "data.max_train_images=640", "data.max_test_images=100")
    first = command(*words, "hydra.sweeper.n_trials=3")
    assert first.code == 0, first.err
    assert " as configured " in first.out
    study = study_of(folder)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 3

    more = command(*words, "hydra.sweeper.n_trials=4", "sweep.resume=true")
    assert more.code == 0, more.err
    assert more.out.count("is done already") == 1, "the configuration's own settings are not run again"
    study = study_of(folder)
    assert len(study.trials) == 4
    (parent,), children = runs_of(folder)
    assert len(children) == 5
    assert sum(run.data.tags["fit.reused"] == "false" for run in children) == 1

    client = client_of(folder)
    path = client.download_artifacts(parent.info.run_id, "tables/sweep.csv")
    rows = list(csv.DictReader(Path(path).read_text().splitlines()))
    key = "conversion.calibration.spikes_per_step"
    front = {row[key] for row in rows[1:] if row["on_front"] == "True"}
    ours = {trial.params[key] for trial in study.best_trials}
    assert front <= {repr(spikes) for spikes in ours}, "what the configured point dominates is on Optuna's front alone"
    assert {file.path for file in client.list_artifacts(parent.info.run_id, "plots")} == {"plots/pareto.png"}
    best = yaml.safe_load(Path(client.download_artifacts(parent.info.run_id, "best.yaml")).read_text())
    assert best["most accurate"]["run_id"] in {run.info.run_id for run in children}
    assert "sweep=pareto" not in best["most accurate"]["command"]
    assert parent.data.metrics["sweep/jobs"] == 5 and parent.data.metrics["sweep/failed"] == 0
    table = json.loads(Path(client.download_artifacts(parent.info.run_id, "tables/sweep.json")).read_text())
    assert len(table["data"]) == 5 and table["columns"][0] == "job"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/mlruns/mlflow.db")
    assert len(client.load_table("1", "tables/sweep.json", run_ids=[parent.info.run_id])) == 5


@pytest.mark.long
def test_failed_trials_do_not_stop_a_search_and_do_not_count(command, tmp_path):
    result = command(
        *("-m", "hydra/sweeper=optuna", *FAST, "hydra.sweeper.n_trials=2", "hydra.sweeper.sampler=random"),
        *("hydra.sweeper.maximize=[snn/test_accuracy]", "hydra.sweeper.minimize=[snn/latency_ms_to_1pt]"),
        "training.learning_rate=interval(-0.12,0.08)",
    )
    assert result.code == 2, result.err
    states = [trial.state.name for trial in study_of(tmp_path / "work").trials]
    assert states.count("COMPLETE") == 2 and states.count("FAIL") >= 1
    assert f"{states.count('FAIL')} of {len(states)} jobs did not finish" in result.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["hydra.sweeper.n_trials=0"], "hydra.sweeper.n_trials: got 0"),
        (["hydra.sweeper.sampler=guess"], "hydra.sweeper.sampler: got 'guess'"),
        (["hydra.sweeper.minimize=[]"], "hydra.sweeper.minimize: nothing to search for"),
        (["hydra.sweeper.minimize=[snn/accuracy]"], "no such metric 'snn/accuracy'; did you mean 'snn/"),
        (
            ["hydra.sweeper.minimize=[snn/test_accuracy]"],
            "got 'snn/test_accuracy', whose higher values are better: name it in hydra.sweeper.maximize",
        ),
        (
            ["hydra.sweeper.minimize=[own/right]", "+metrics.own._target_=metric_plugins.Counting"],
            "got 'own/right', whose higher values are better: name it in hydra.sweeper.maximize",
        ),
        (["hydra.sweeper.objectives=[]"], "hydra.sweeper.objectives: no such key; known: "),
        (["+hydra.sweeper.trials=3"], "hydra.sweeper.trials: no such"),
        (["training.epochs=1"], "hydra.sweeper.params: nothing to search"),
        (["hydra.sweeper.storage=sqlite:////proc/no/optuna.db"], "hydra.sweeper.storage: cannot open"),
        (["model.units=range(5,1)"], "model.units: got range(5,1): there is no value in that range"),
        (["training.learning_rate=tag(log, interval(0,1))"], "training.learning_rate: got tag(log, interval(0,1))"),
    ],
)
def test_mistakes_in_a_search_are_one_line(command, words, says):
    searched = () if "epochs" in words[0] else ("training.epochs=1,2",)
    result = command("-m", "hydra/sweeper=optuna", *FAST, "logger=csv", *searched, *words)
    assert result.code == 2
    assert len(result.error_lines) == 1, result.err
    assert says in result.error_lines[0]
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_a_study_is_not_mixed_with_another_search(command):
    words = ("-m", "hydra/sweeper=optuna", *FAST, "training.epochs=0", "logger=csv", "hydra.sweeper.study_name=mine")
    first = command(*words, "hydra.sweeper.n_trials=1", "conversion.synapse=null,0.01")
    assert first.code == 0, first.err
    turned = command(*words, "conversion.synapse=null,0.01", "hydra.sweeper.minimize=[ann/test_loss]")
    assert turned.code == 2
    assert "has other objectives (minimize snn/accuracy_drop): give another name" in turned.err
    other = command(*words, "conversion.synapse=null,0.02")
    assert other.code == 2
    assert "has searched other values of conversion.synapse" in other.err


def test_a_metric_that_is_no_number_counts_as_the_worst():
    from hydra_plugins.snnpipe.optuna_sweeper import OptunaSweeper

    sweeper = OptunaSweeper(["fit/loss"], ["fit/accuracy"], 1, 1, {}, "tpe", 0, "", None, False)
    assert sweeper._value({"fit/loss": float("nan")}, "fit/loss") == float("inf")
    assert sweeper._value({"fit/accuracy": float("nan")}, "fit/accuracy") == float("-inf")


@pytest.mark.long
def test_a_search_that_is_killed_goes_on_with_the_trial_it_was_at(process, tmp_path):
    folder = tmp_path / "process"
    words = (
        *("-m", "hydra/sweeper=optuna", *FAST, "training.epochs=40", "data.max_train_images=1400"),
        *("hydra.sweeper.n_trials=3", "conversion.scale_firing_rates=tag(log, interval(1, 100))"),
    )
    running = process(*words)
    wait_for(lambda: list(folder.glob("mlruns/outputs/*/metrics.csv")))
    running.kill()
    running.communicate()
    asked = study_of(folder).trials[-1]
    assert asked.state.name == "RUNNING"
    out, err = process(*words, "sweep.resume=true").communicate(timeout=300)
    trials = study_of(folder).trials
    assert [trial.state.name for trial in trials] == ["FAIL", *["COMPLETE"] * 3], err
    assert trials[1].params == asked.params
    _, children = runs_of(folder)
    assert "RUNNING" not in {run.info.status for run in children}
