"""Experiment files of a user's own: any group can be overridden in them, and what is wrong in one is said of it."""

import pytest

GLOBAL = "# @package _global_\n"


@pytest.fixture
def experiment(command, tmp_path):
    """Run the command with an experiment file of some content."""
    folder = tmp_path / "conf" / "experiment"
    folder.mkdir(parents=True)

    def run(content: str, *words: str):
        (folder / "mine.yaml").write_text(content)
        return command("experiment=mine", *words, "--config-dir", str(folder.parent))

    return run


def overriding(**groups: str) -> str:
    lines = [f"  - override /{group.replace('__', '/')}: {option}" for group, option in groups.items()]
    return "\n".join([GLOBAL + "defaults:", *lines, ""])


@pytest.mark.parametrize(
    ("group", "option", "shows"),
    [
        ("debug", "fast", "max_train_images: 64"),
        ("neuron", "lif", "_target_: nengo.LIF"),
        ("training__regularizer", "firing_rate_l1", "_target_: snnpipe.FiringRateL1"),
        ("logger", "csv", "_target_: snnpipe.CsvLogger"),
        ("callbacks", "none", "callbacks: {}"),
        ("simulator", "nengo_dl", "_target_: snnpipe.NengoDLSimulator"),
    ],
)
def test_a_group_of_the_run_is_overridden_in_an_experiment_file(experiment, group, option, shows):
    result = experiment(overriding(**{group: option}), "--cfg", "job")
    assert result.code == 0, result.err
    assert shows in result.out


@pytest.mark.parametrize(
    ("group", "option", "shows"),
    [
        ("sweep", "seeds", "mode: MULTIRUN"),
        ("sweep", "pareto", "_target_: hydra_plugins.snnpipe.optuna_sweeper.OptunaSweeper"),
        ("hydra__launcher", "slurm", "_target_: hydra_plugins.snnpipe.submitit_launcher.SubmititLauncher"),
        ("hydra__sweeper", "optuna", "_target_: hydra_plugins.snnpipe.optuna_sweeper.OptunaSweeper"),
    ],
)
def test_a_group_of_hydra_is_overridden_in_an_experiment_file(experiment, group, option, shows):
    result = experiment(overriding(**{group: option}), "--cfg", "hydra")
    assert result.code == 0, result.err
    assert shows in result.out


def test_several_groups_before_and_after_the_experiment_are_overridden_together(experiment):
    content = overriding(debug="fast", neuron="lif", sweep="seeds", callbacks="early_stopping")
    job = experiment(content + "simulator: {n_steps: 7}\nseed: 3\n", "--cfg", "job").out
    assert "nengo.LIF" in job and "EarlyStopping" in job and "seed: 3" in job
    assert "n_steps: 5" in job, "what debug sets counts for more than an experiment"
    assert "- neuron=rate" not in job
    chosen = experiment(content, "neuron=rate", "--cfg", "job").out
    assert "nengo.RectifiedLinear" in chosen and "max_train_images: 64" in chosen, "the command line counts for more"


def test_an_experiment_builds_on_another(experiment):
    shown = experiment(GLOBAL + "defaults:\n  - /experiment/mnist_nengo_dl\n  - _self_\nseed: 9\n", "--cfg", "job")
    assert "name: mnist" in shown.out and "seed: 9" in shown.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (overriding(experiment="mnist_nengo_dl"), "experiment/mine: 'override /experiment: mnist_nengo_dl' would"),
        (overriding(nope="x"), "experiment/mine: nope: no such config group"),
        (overriding(debug="slow"), "debug: there is no config 'slow'; it takes fast"),
        (GLOBAL + "defaults:\n  - override debug: fast\n", "group begins with a slash: 'override /debug: ...'"),
        (GLOBAL + "defaults:\n  - override neuron: lif\n", "begins with a slash: 'override /neuron: ...'"),
        (GLOBAL + "defaults:\n  - /debug: fast\n", "write 'override /debug: ...' there"),
        (GLOBAL + "defaults:\n  - /neuron: lif\n", "write 'override /neuron: ...' there"),
        ("defaults:\n  - override /debug: fast\n", "experiment/mine: it overrides /debug for itself alone: begin"),
        ("training: {epochs: 2}\n", "experiment: no key; a file of that group begins with the line '# @package _glo"),
        (GLOBAL + "training: {epoch: 2}\n", "training.epoch: no such key; did you mean 'epochs'?"),
    ],
)
def test_a_mistake_in_an_experiment_file_is_one_line_with_the_cure(experiment, content, says):
    result = experiment(content)
    assert result.code == 2
    (line,) = result.error_lines
    assert says in line
    assert result.err.strip() == line


def test_a_sweep_file_without_its_package_is_told_so(command, tmp_path):
    (tmp_path / "conf" / "sweep").mkdir(parents=True)
    (tmp_path / "conf" / "sweep" / "mine.yaml").write_text("hydra: {mode: MULTIRUN}\n")
    (line,) = command("sweep=mine", "--config-dir", str(tmp_path / "conf")).error_lines
    assert "sweep.hydra: no key; a file of that group begins with the line '# @package _global_'" in line
