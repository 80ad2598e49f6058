"""The published recipes: every experiment composes, each recipe runs."""

from pathlib import Path

import pytest
from configs import composed
from hydra import compose, initialize_config_module

from snnpipe.config.check import check

CONF = Path(__file__).parent.parent / "conf"
EXPERIMENTS = sorted(
    str(path.relative_to(CONF / "experiment").with_suffix("")) for path in (CONF / "experiment").rglob("*.yaml")
)
SMALL = {
    "mnist_nengo_dl": ["model.filters=[4,4]", "model.dense=16"],
    "cifar10_keras": ["model.filters=[4,4]", "model.dense=16"],
    "cifar10_quantised": ["model.filters=[4,4]", "model.dense=16"],
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
        named = {name.strip() for name in hydra.sweeper.params.get("experiment", "").split(",")} - {""}
        assert named <= set(EXPERIMENTS)
        assert {name for name in EXPERIMENTS if name.startswith(f"{path.stem}/")} == named


def test_every_recipe_is_small_here():
    assert set(SMALL) == {name for name in EXPERIMENTS if "/" not in name}


_LONG = {"cifar10_keras", "mnist_lif_native", "mnist_keras_to_snn"}  # others are like them


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=pytest.mark.long) if name in _LONG else name for name in SMALL]
)
def test_every_recipe_runs_in_a_fast_mode(command, recipe):
    result = command(f"experiment={recipe}", "debug=fast", "data=digits", *SMALL[recipe], "logger=csv")
    assert result.code == 0, result.err
    assert "SNN accuracy" in result.out
