"""The published recipes: every experiment composes, each recipe runs; a multi-run ends in one table."""

import json
from pathlib import Path

import pytest
from configs import composed
from hydra import compose, initialize_config_module

from snnpipe.config import check
from snnpipe.sweeps import sweep_table

CONF = Path(__file__).parent.parent / "conf"
EXPERIMENTS = sorted(
    str(path.relative_to(CONF / "experiment").with_suffix("")) for path in (CONF / "experiment").rglob("*.yaml")
)
SMALL = {
    "mnist_nengo_dl": ["model.filters=[4,4]", "model.dense=16"],
    "cifar10_keras": ["model.filters=[4,4]", "model.dense=16"],
    "mnist_lif_native": ["model.filters=[4,4]"],
    "mnist_poisson_lif": ["model.units=[16]"],
    "mnist_keras_to_snn": ["model.filters=[4,4]"],
}
"""What makes a recipe's network fit the digits, and quick."""


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_and_begins_with_its_command(experiment):
    check(composed(f"experiment={experiment}"))
    lines = (CONF / "experiment" / f"{experiment}.yaml").read_text().splitlines()
    assert lines[:2] == ["# @package _global_", f"# python -m snnpipe experiment={experiment}"]
    assert lines[2].startswith("# "), "an experiment says what to expect"


def test_every_sweep_composes_and_names_experiments_that_are_there():
    for path in (CONF / "sweep").glob("*.yaml"):
        assert path.read_text().splitlines()[1] == f"# python -m snnpipe sweep={path.stem}"
        with initialize_config_module("snnpipe.conf", version_base="1.3"):
            hydra = compose("config", overrides=[f"sweep={path.stem}"], return_hydra_config=True).hydra
        assert hydra.mode.name == "MULTIRUN"
        named = [name.strip() for name in hydra.sweeper.params.experiment.split(",")]
        assert set(named) <= set(EXPERIMENTS)
        assert {name for name in EXPERIMENTS if name.startswith(f"{path.stem}/")} == set(named)


def test_every_recipe_is_small_here():
    assert set(SMALL) == {name for name in EXPERIMENTS if "/" not in name}


@pytest.mark.parametrize("recipe", SMALL)
def test_every_recipe_runs_in_a_fast_mode(command, recipe):
    result = command(f"experiment={recipe}", "debug=fast", "data=digits", *SMALL[recipe], "logger=csv")
    assert result.code == 0, result.err
    assert "SNN accuracy" in result.out


def test_a_multi_run_ends_in_one_table(command, tmp_path):
    result = command(
        *("-m", "debug=fast", "model=mlp", "model.units=[8]", "logger=csv", "callbacks=none"),
        "conversion.scale_firing_rates=1,50",
    )
    assert result.code == 0, result.err
    table = result.out.rpartition("SynOps per image")[2].splitlines()
    assert [line.split()[0] for line in table[1:3]] == ["1", "50"]
    kept = sorted(tmp_path.glob("work/mlruns/multirun/*/*/result.json"))
    assert [json.loads(path.read_text())["overrides"][-1] for path in kept] == [
        "conversion.scale_firing_rates=1",
        "conversion.scale_firing_rates=50",
    ]


def test_a_failed_job_is_a_line_of_the_table():
    metrics = {
        "ann/test_accuracy": 0.98,
        "snn/test_accuracy": 0.95,
        "snn/accuracy_drop": 0.03,
        "snn/latency_ms_to_1pt": 12.0,
        "snn/synops_per_image": 1234567.0,
    }
    shared = ["data=mnist", "seed=1"]
    lines = sweep_table(
        [
            {"overrides": [*shared, "conversion.synapse=0.01", f"experiment={'long' * 30}"], "metrics": metrics},
            {"overrides": [*shared, "conversion.synapse=0.02"], "metrics": None},
        ]
    ).splitlines()
    assert max(map(len, lines)) == 100
    assert "conversion.synapse=0.01" in lines[2] and "..." in lines[2]
    assert lines[2].split()[-7:] == ["98.00", "%", "95.00", "%", "+3.00", "12", "ms", "1,234,567"][-7:]
    assert lines[3].split() == ["conversion.synapse=0.02", "failed"]
