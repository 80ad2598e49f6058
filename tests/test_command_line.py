"""The command line: what it composes, refuses and prints."""

import inspect
import itertools
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import snnpipe.conf
from configs import composed, options

from snnpipe.config.check import check
from snnpipe.config.targets import build_node, locate

GROUPS = options()
FAST = ("debug=fast", "callbacks=none", "logger=csv")
UNTRAINED = (*FAST, "training.epochs=0")
PARTS = ["data", "model", "training", "conversion", "simulator", "encoder"]


# ---------------------------------------------------------------------- configs


def test_there_are_the_configs_that_users_look_for():
    datasets = {"digits", "mnist", "fashion_mnist", "kmnist", "cifar10", "cifar100", "svhn"}
    assert set(GROUPS["data"]) == datasets | {"arrays", "folder"}
    assert {"mlp", "cnn2d", "keras_to_snn"} <= set(GROUPS["model"])
    assert {"keras", "nengo_dl"} <= set(GROUPS["training"])
    assert {"auto", "clock_driven", "event_driven", "nengo_dl"} == set(GROUPS["simulator"])
    assert set(GROUPS["neuron"]) == {
        *("spiking_relu", "integrate_and_fire", "lif", "regular", "poisson", "stochastic", "rate")
    }


PINNED = """
seed experiment_name neuron encoder
data.name data.data_dir data.batch_size data.scaling data.max_train_images data.max_test_images
training.epochs training.learning_rate training.optimizer training.scale_firing_rates training.reuse
conversion.scale_firing_rates conversion.synapse conversion.allow_fallback
simulator.n_steps simulator.dt simulator.batch_size simulator.max_images simulator.readout simulator.verify_images
logger.tracking_uri paths.output_dir sweep.resume diagnosis.images
"""


def test_keys_that_people_script_against_stay():
    config = composed("training=nengo_dl")
    for key in PINNED.split():
        node = config
        for part in key.split("."):
            assert part in node, f"{key} is gone"
            node = node[part]


NEEDED = {
    "pretrained": ["training.checkpoint=x"],
    "file": ["model.path=x"],
    "arrays": ["data.path=x"],
    "folder": ["data.path=x"],
}
FROM_PYTHON = {"seed", "train", "validation", "test"}
"""Settings that no file gives: the run's seed, and arrays."""


@pytest.mark.parametrize("group", PARTS)
def test_config_files_and_constructors_have_the_same_keys(group):
    for option in GROUPS[group]:
        extra = NEEDED.get(option, [])
        node = composed(f"{group}={option}", *extra)[group]
        target = locate(node["_target_"])
        taken = {n for n in inspect.signature(target).parameters if not n.startswith("_")} - FROM_PYTHON
        assert taken <= set(node), f"{group}={option} lacks {taken - set(node)}"


VARIANTS = {
    "model=cnn2d_small": {"filters", "dense"},
    "data=digits": {"batch_size"},
    "model=resnet20": {"depth"},
    "model=vgg11": {"stages"},
    "training=nengo_dl": {"neuron"},  # None and nengo.RectifiedLinear are the same
}
"""Options that set other values than their class's defaults, and which."""


@pytest.mark.parametrize("group", [*PARTS, "callbacks", "logger"])
def test_config_files_and_constructors_have_the_same_defaults(group):
    for option in set(GROUPS[group]) - NEEDED.keys():  # which have no defaults, and want a path
        config = composed(f"{group}={option}")[group]
        parts = [config] if "_target_" in config else [node for node in config.values() if isinstance(node, Mapping)]
        own = VARIANTS.get(f"{group}={option}", set())
        assert not set.union(set(), *map(differences, parts)) - own - OF_A_RUN, f"{group}={option}"


OF_A_RUN = {"name", "seed", "folder", "tracking_uri", "spool", "experiment_name", "regularizer", "augment"}
"""Keys that take their value from the run, the dataset or another group."""


def differences(node):
    """The keys of a config node whose value is not the default of the class's constructor."""
    given = build_node(node, "part")
    required = [p.name for p in inspect.signature(type(given)).parameters.values() if p.default is p.empty]
    default = type(given)(**{name: getattr(given, name) for name in required})
    defaults, as_given = ({key: as_lists(v) for key, v in vars(each).items()} for each in (default, given))
    return {key for key in node if key in defaults and as_given[key] != defaults[key]}


def as_lists(value):
    return [as_lists(item) for item in value] if isinstance(value, (tuple, list)) else value


# ---------------------------------------------------------------------- wrong input

WORDS = {
    "unknown config": (["data=mnits"], "data", "did you mean data=mnist"),
    "unknown group": (["modell=cnn2d"], "modell", "known"),
    "typo in a key": (["data.bach_size=3"], "data.bach_size", "did you mean 'batch_size'"),
    "key of the other training path": (["training.scale_firing_rates=3"], "no such key; training=nengo_dl has it"),
    "key of another network": (["model.units=[8]"], "model.units: no such key; model=mlp has it"),
    "key of a group without the group": (["epochs=3"], "epochs: no such key; did you mean training.epochs?"),
    "key of another group": (["training.batch_size=3"], "did you mean data.batch_size or simulator.batch_size?"),
    "key by its beginning": (["conversion.scale=3"], "did you mean 'scale_firing_rates'"),
    "key by the word of others": (["lr=3"], "did you mean training.learning_rate?"),
    "decimal comma": (["training.learning_rate=0,01"], "training.learning_rate: got '0,01': several values are for -m"),
    "braces that a shell split": (
        ["conversion.scale_firing_rates={conv2d:", "20.0}"],
        "quote the whole: 'conversion.scale_firing_rates={conv2d: 20.0}'",
    ),
    "blanks around the sign": (["model.filters", "=", "[8,8]"], "quote the whole: 'model.filters=[8,8]'"),
    "name with a blank": (["run_name=my", "run"], "'run' is no override", "quote both: 'run_name=my run'"),
    "option without its group": (["mnist"], "'mnist' is no override: did you mean data=mnist?"),
    "no sign": (["data", "mnist"], "'data' is no override: write data=mnist"),
    "dataset that has no config": (["data=imagnet"], "data: there is no config 'imagnet'", "data.name=NAME takes any"),
    "option in capitals": (["neuron=LIF"], "did you mean neuron=lif?"),
    "key of another simulator": (["simulator.merge_steps=2"], "simulator.merge_steps", "simulator=clock_driven has it"),
    "checkpoint not given": (["training=pretrained"], "training.checkpoint", "missing"),
    "null for a group": (["model=null"], "model: got 'null'", "one of its options"),
    "callback that was not chosen by its key": (
        ["callbacks.early_stopping.patience=3"],
        "callbacks.early_stopping: no such key; choose callbacks=early_stopping first",
    ),
    "a word like an option": (["--epochs", "3"], "--epochs", "key=value"),
    "a setting with dashes": (["--model=mlp"], "--model=mlp: no such option", "without dashes: model=mlp"),
    "typo in a group": (["simulater.n_steps=3"], "simulater", "did you mean 'simulator'"),
    "option for a place that is not there": (["neuron@training.neuron=lif"], "neuron@training.neuron", "--cfg job"),
    "unknown experiment in a folder": (
        ["experiment=mnist_keras_to_snn/scale_7"],
        "did you mean experiment=mnist_keras_to_snn/scale_5?",
        "scale_10",
    ),
    "brackets without quotes": (["data.train_split=train[:50]"], "quoted twice: 'data.train_split=\"train[:50]\"'"),
    "experiment that is not there": (["experiment=mnist_nengodl"], "experiment", "did you mean", "mnist_nengo_dl"),
    "sweep that is not there": (["sweep=foo"], "sweep", "mnist_keras_to_snn"),
    "not an override": (["data.batch_size"], "data.batch_size", "key=value"),
}
"""What does not compose."""

VALUES = {
    "unknown key, appended": (["+data.colour=blue"], "data.colour", "no such key"),
    "unknown root key, appended": (["+colour=blue"], "colour", "no such key"),
    "wrong type": (["training.epochs=many"], "training.epochs", "'many'"),
    "negative epochs": (["training.epochs=-1"], "training.epochs", "greater than or equal to 0"),
    "zero steps": (["simulator.n_steps=0"], "simulator.n_steps", "greater than or equal to 1"),
    "negative synapse": (["conversion.synapse=-0.1"], "conversion.synapse", "greater than 0"),
    "synapse in ms": (
        ["conversion.synapse=10"],
        "conversion.synapse: got 10: should be less than 1, in seconds",
        "0.01",
    ),
    "a layer's synapse in ms": (["conversion.synapse={conv2d: 5}"], "conversion.synapse", "5 ms are 0.005"),
    "step in ms": (["simulator.dt=1"], "simulator.dt: got 1: should be less than 1, in seconds: 1 ms are 0.001"),
    "membrane in ms": (["neuron=lif", "neuron.tau_rc=20"], "neuron.tau_rc: got 20", "20 ms are 0.02"),
    "unit behind a number": (["simulator.dt=1ms"], "simulator.dt: got '1ms': takes a number of seconds"),
    "word for a list": (["model.filters=abc"], "model.filters: got 'abc': takes a list of whole numbers", "[32,64]"),
    "number for a list": (["model.filters=32"], "model.filters: got 32: takes a list of whole numbers", "[32,64]"),
    "word for a number": (
        ["conversion.scale_firing_rates=abc"],
        "conversion.scale_firing_rates: got 'abc': takes a number above 0, 'auto' for scales from data, or one",
        "'{conv*: 20.0}'",
    ),
    "no whole number": (["simulator.n_steps=1e3"], "simulator.n_steps: got 1000.0: should be a whole number"),
    "word for null": (["simulator.max_images=all"], "should be a whole number, or null"),
    "number for a name": (["run_name=5"], "run_name: got 5: should be text, or null, as in 'run_name=\"5\"'"),
    "infinite scale": (["conversion.scale_firing_rates=inf"], "conversion.scale_firing_rates", "inf"),
    "synapse by a bare name": (["conversion.synapse=alpha"], "conversion.synapse", "a Nengo synapse"),
    "synapse that is none": (
        ["+conversion.synapse={_target_: nengo.LIF}"],
        "conversion.synapse",
        "a Nengo synapse",
    ),
    "unknown precision": (["simulator.precision=float16"], "simulator.precision", "'float64'"),
    "negative verification": (["simulator.verify_images=-1"], "simulator.verify_images", "greater than or equal to 0"),
    "no thread": (["simulator.threads=0"], "simulator.threads", "greater than or equal to 1"),
    "unknown readout": (["simulator.readout=first"], "simulator.readout", "'spike_count'"),
    "unknown scaling": (["data.scaling=half"], "data.scaling", "'zero_to_one'"),
    "window longer than the run": (
        ["simulator.readout=mean", "simulator.n_steps=5", "simulator.readout_steps=9"],
        "simulator.readout_steps",
        "simulator.n_steps=5",
    ),
    "negative diagnosis": (["diagnosis.images=-1"], "diagnosis.images", "greater than or equal to 0"),
    "no diagnosis": (["diagnosis=null"], "diagnosis", "images"),
    "negative seed": (["seed=-1"], "seed", "greater than or equal to 0"),
    "target that is not there": (["model._target_=my.own.Net"], "model._target_", "my"),
    "target's name misspelt": (["model._target_=snnpipe.models.mlp.Mpl"], "model._target_", "did you mean 'Mlp'"),
    "setting that a neuron lacks": (["+neuron.speed=3"], "neuron.speed", "amplitude"),
    "setting that a neuron refuses": (["neuron=lif", "neuron.tau_rc=-1"], "tau_rc", "-1"),
    "callback that was not chosen": (["+callbacks.early_stopping.patience=3"], "callbacks.early_stopping", "_target_"),
    "unknown key of the logger": (["+logger.trackinguri=x"], "logger.trackinguri", "no such logger"),
    "regularizer by a bare name": (["training.regularizer=foo"], "training.regularizer", "training/regularizer="),
    "neuron by a bare name": (["conversion.neuron=lif"], "conversion.neuron", "neuron="),
    "no neuron but a synapse": (
        ["neuron=spiking_relu", "neuron._target_=nengo.Lowpass", "+neuron.tau=0.01"],
        "neuron: got Lowpass(tau=0.01)",
        "a Nengo neuron type",
    ),
    "stopping early without validation": (
        ["callbacks=early_stopping", "data.validation_share=0"],
        "callbacks.early_stopping.monitor",
        "data.validation_share",
    ),
}
"""What composes, and does not pass the check of the configuration."""
CROSS = {"window longer than the run", "stopping early without validation"}
"""Keys that do not fit each other."""

RUNS = {
    "unknown dataset": (["data.name=no_such_dataset"], "data.name", "no_such_dataset"),
    "unknown version": (["data.version=9.9.9"], "data.version", "9.9.9"),
    "dataset that is not here": (["data=kmnist"], "kmnist", "python -m tensorflow_datasets build kmnist"),
    "neurons that events do not know": (
        ["simulator=event_driven", "neuron=poisson"],
        "layer 'conv2d' has neurons of type PoissonSpiking",
        "simulator=clock_driven",
    ),
    "rate neurons and events": (["simulator=event_driven", "neuron=rate"], "RectifiedLinear", "simulator=clock_driven"),
    "synapse that events do not know": (
        ["simulator=event_driven", "+conversion.synapse={_target_: nengo.Alpha, tau: 0.01}"],
        "Alpha(tau=0.01)",
        "simulator=clock_driven",
    ),
    "a native network, converted": (
        ["model=lif_cnn", "model.filters=[4]", "training=nengo_dl"],
        "conversion=nengo_dl converts Keras models",
        "take conversion=identity",
    ),
    "a Keras model, not converted": (["conversion=identity"], "this is a Keras model", "take conversion=nengo_dl"),
    "a native network, trained in Keras": (
        ["model=lif_cnn", "model.filters=[4]", "conversion=identity"],
        "training=keras trains Keras models",
        "take training=nengo_dl",
    ),
    "biases, by hand": (["model=mlp", "conversion=lif_by_hand"], "it has biases", "model.use_bias=false"),
    "random neurons, verified": (
        ["neuron=poisson", "simulator.verify_images=3"],
        "simulator.verify_images",
        "without randomness",
    ),
    "batch larger than the split": (["data.batch_size=99999"], "data.batch_size", "data.batch_size=1295"),
    "unknown split": (["data.test_split=testing"], "testing", "train"),
    "empty split": (["data.test_split='test[:0]'"], "test[:0]", "no samples"),
    "layer that is not there": (
        ["conversion.scale_firing_rates={conv9: 2.0}"],
        "conversion.scale_firing_rates",
        "conv2d_1",
    ),
    "regularized layer that is not there": (
        ["training/regularizer=activity_l1", "training.regularizer.layers=[conv9]"],
        "training.regularizer.layers",
        "conv2d_1",
    ),
    "what nengo_dl cannot train": (["training=nengo_dl", "model.dropout=0.5"], "dropout", "training=keras"),
    "too many poolings": (["model.filters=[4,4,4,4]"], "model.filters", "3 times"),
    "initialiser that Keras lacks": (["model.initializer=he_unifrom"], "model.initializer", "he_uniform"),
    "no checkpoint": (["training=pretrained", "training.checkpoint=nowhere"], "nowhere", "checkpoint.json"),
    "nothing to convert": (["model=mlp", "model.units=[]"], "model", "ReLU"),
    "counting spikes of a linear output": (
        ["simulator.readout=spike_count"],
        "simulator.readout",
        "'last', 'mean', 'later_three_quarters' or 'later_half'",
    ),
    "option that the optimizer lacks": (["training.optimizer_options={mass: 3}"], "training.optimizer_options", "adam"),
    "spikes of a layer that is not there": (
        ["callbacks.spike_artifacts.layers=[conv9]"],
        "callbacks.spike_artifacts.layers",
        "conv2d_1",
    ),
}
"""What shows when dataset and model are looked at."""

OTHER_RUNS = {
    *("unknown version", "rate neurons and events", "synapse that events do not know", "random neurons, verified"),
    *("a Keras model, not converted", "a native network, trained in Keras", "unknown split", "empty split"),
    *("regularized layer that is not there", "what nengo_dl cannot train", "initialiser that Keras lacks"),
    *("option that the optimizer lacks", "spikes of a layer that is not there"),
}
"""Those of them that tests of the part have too."""

STORES = {
    "folder that cannot be written": (["paths.output_dir=/proc/nowhere"], "paths.output_dir", "/proc/nowhere"),
    "server without http": (["logger.tracking_uri=localhost:5000"], "logger.tracking_uri", "http://localhost:5000"),
    "store that cannot be opened": (["logger.tracking_uri=nonsense://x"], "logger.tracking_uri", "nonsense"),
}


def test_a_runs_id_may_be_a_number():
    config = composed("run_id=12345")
    check(config, trusted=None)
    assert config["run_id"] == "12345"


def refused(command, wrong):
    """Run a command line with mistakes, which are told in a line each and leave nothing; return the lines."""
    result = command(*(word for overrides, *_ in wrong for word in overrides))
    assert result.code == 2, result.err
    lines = result.error_lines
    assert result.err.strip() == "\n".join(lines), "something else was printed"
    for _, *says in wrong:
        assert any(all(word in line for word in says) for line in lines), (says, lines)
    assert not list(Path.cwd().iterdir()), "something was left behind"
    return lines


def one_of_a_key(wrong):
    """Return lists of mistakes that one command line can have, since each is at a key of its own.

    Keys that do not fit each other are told where each is right by itself, so they are one list.
    """
    batches = [([name for name in wrong if name in CROSS], [""])]
    for name in (name for name in wrong if name not in CROSS):
        keys = [word.partition("=")[0].lstrip("+").removesuffix("._target_") for word in wrong[name][0]]
        keys += ["conversion"] if keys[0].startswith("neuron") else []  # which holds the neuron
        free = (batch for batch in batches if not any(_holds(a, b) for a in keys for b in batch[1]))
        names, taken = next(free, ([], []))
        if not names:
            batches.append((names, taken))
        names.append(name)
        taken += keys
    return [names for names, _ in batches]


def _holds(one, other):
    return not one or not other or f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


@pytest.mark.parametrize("name", WORDS)
def test_wrong_words_are_one_line_and_leave_nothing(command, name):
    assert len(refused(command, [WORDS[name]])) == 1


@pytest.mark.parametrize("names", one_of_a_key(VALUES), ids=", ".join)
def test_wrong_values_are_a_line_each_all_at_once_and_leave_nothing(command, names):
    assert len(refused(command, [VALUES[name] for name in names])) == len(names)


@pytest.mark.slow
@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in OTHER_RUNS else n for n in RUNS])
def test_what_data_and_model_do_not_fit_is_one_line_and_leaves_nothing(command, name):
    lines = refused(command, [RUNS[name]])
    assert len(lines) == (4 if name == "biases, by hand" else 1), "a line a layer, and what cures all"


@pytest.mark.parametrize("name", STORES)
def test_a_folder_or_store_that_cannot_be_opened_is_one_line(command, name):
    overrides, *says = STORES[name]
    result = command(*overrides)
    (line,) = result.error_lines
    assert result.code == 2 and result.err.strip() == line and all(word in line for word in says)
    assert not Path("mlruns", "mlflow.db").exists()


def test_all_mistakes_are_told_at_once(command):
    result = command("training.epochs=-1", "simulator.n_steps=0", "data.batch_size=0", "seed=-1")
    assert len(result.error_lines) == 4


@pytest.mark.long  # 15 s: three runs
def test_seed_0_is_a_seed(command):
    small = (*FAST, "model=mlp", "model.units=[8]")
    first, second, other = (command(*small, f"seed={seed}") for seed in (0, 0, 1))
    assert first.code == second.code == other.code == 0

    def answer(result):
        own = ("  simulated", "  files", "  report")
        return [line for line in result.out.splitlines() if not line.startswith(own)]

    assert answer(first) == answer(second)
    assert answer(first) != answer(other)


# ---------------------------------------------------------------------- runs

ARCHITECTURES = {
    "mlp": ["model=mlp", "model.units=[8]"],
    "cnn2d": ["model=cnn2d", "model.filters=[4,4]", "model.dense=8"],
    "cnn2d_small": ["model=cnn2d_small"],
    "keras_to_snn": ["model=keras_to_snn", "model.filters=[4,4]"],
    "vgg": ["model=vgg", "model.stages=[[4],[4]]", "model.flatten=true", "model.batch_normalization=false"],
}


PATHS = ("keras", "nengo_dl")
COMBINATIONS = [
    (
        model,
        path,
        GROUPS["training/regularizer"][(m + p) % len(GROUPS["training/regularizer"])],
        GROUPS["neuron"][(len(PATHS) * m + p) % len(GROUPS["neuron"])],
    )
    for m, model in enumerate(ARCHITECTURES)
    for p, path in enumerate(PATHS)
]
"""Each architecture and each regularizer on each training path, and each neuron."""


def _marked(n, combination):
    return combination if n == 1 else pytest.param(*combination, marks=SLOW if n in {0, 4, 8} else pytest.mark.long)


SLOW = pytest.mark.slow


def test_the_combinations_have_each_option():
    models, _, _, neurons = zip(*COMBINATIONS, strict=True)
    others = {"lif_cnn", "file"}  # tests/test_native.py, tests/test_keras3.py
    others |= {"resnet", "resnet20", "vgg11"}  # tests/test_deep_models.py; NengoDL trains no normalization
    assert set(GROUPS["model"]) == {*models} | others
    assert set(GROUPS["neuron"]) == set(neurons)
    of_path = {(path, regularizer) for _, path, regularizer, _ in COMBINATIONS}
    assert of_path == set(itertools.product(PATHS, GROUPS["training/regularizer"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "training", "regularizer", "neuron"),
    [_marked(n, combination) for n, combination in enumerate(COMBINATIONS)],
)
def test_every_architecture_and_regularizer_on_every_training_path_and_every_neuron(
    command, model, training, regularizer, neuron
):
    choices = [f"training={training}", f"training/regularizer={regularizer}", f"neuron={neuron}"]
    if regularizer.startswith("firing_rate"):
        choices.append("training.regularizer.scale_firing_rates=100")
    result = command(*FAST, *ARCHITECTURES[model], *choices)
    assert result.code == 0, result.err
    assert "SNN accuracy" in result.out


@pytest.mark.slow  # 10 s
def test_training_in_nengo_dl_with_another_neuron(command):
    other = ("training=nengo_dl", "neuron=lif", "neuron@training.neuron=lif")
    result = command(*FAST, "model=mlp", "model.units=[8]", *other)
    assert result.code == 0, result.err


@pytest.mark.long
def test_the_closing_table_answers(command):
    small = ("debug=fast", "model=mlp", "model.units=[8]")
    result = command(*small)
    assert result.code == 0
    for label in (
        "ANN accuracy",
        "SNN accuracy",
        "accuracy drop",
        "agreement",
        "latency",
        "mean firing rate",
        "SynOps per image",
        "energy per image",
        "simulated",
        "run id",
        "review",
        "report",
    ):
        assert f"  {label} " in result.out
    lines = [line for line in result.out.splitlines() if not line.startswith(("  review", "  files", "  report"))]
    assert max(map(len, lines)) <= 100
    stages = ("training on ", "converting", "taking scales from ", "simulating ")
    lines = [line for line in result.err.splitlines() if "compiling" not in line]  # once on a machine
    for line, stage in zip(lines, stages, strict=True):
        assert line.startswith(f"snnpipe: {stage}"), "a line a stage, where stderr is no terminal"
    (report,) = (line.split()[-1] for line in result.out.splitlines() if line.startswith("  report"))
    assert "spiking" in Path(report).read_text()
    assert f"-m snnpipe.review --tracking-uri sqlite:///{Path.cwd()}/mlruns/mlflow.db\n" in result.out
    elsewhere = command(*small, "callbacks=none", "logger.tracking_uri=sqlite:///other/mlflow.db")
    assert f"-m snnpipe.review --tracking-uri sqlite:///{Path.cwd()}/other/mlflow.db\n" in elsewhere.out
    assert "  report" not in elsewhere.out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["+neuron=lif"], "neuron: it is chosen already: write neuron=lif, without +"),
        (["=3"], "'=3' is no override: an override is written key=value"),
        (["=lif", "seed=1"], "'=lif' is no override"),
        (["--config-name", "experiment/mine"], "write --config-dir DIR experiment=mine"),
        (["--config-name=mine.yaml", "seed=1"], "write --config-dir DIR experiment=mine"),
    ],
)
def test_what_is_written_in_another_form_is_answered_with_the_right_one(command, words, line):
    result = command(*words)
    assert result.code == 2 and result.err.count("\n") == 1
    assert line in result.err


def test_the_help_names_each_launcher_and_sweeper(command):
    listed = re.findall(r"^hydra/(launcher|sweeper): ([\w, ]+?)   ", command("--help").out, re.MULTILINE)
    there = {
        group: ["basic", *sorted(path.stem for path in Path(snnpipe.conf.__path__[0], "hydra", group).glob("*.yaml"))]
        for group in ("launcher", "sweeper")
    }
    assert {group: options.split(", ") for group, options in listed} == there


@SLOW  # 6 s, and tests/test_sweeps.py has more of it
def test_a_job_that_fails_does_not_stop_the_others(command):
    result = command("-m", *FAST, "model=mlp", "training.epochs=-1,0", "model.units=[4]")
    assert result.code == 2
    assert len(result.error_lines) == 1
    assert result.out.count(": ANN ") == 1


OF_A_USER = """
import snnpipe


class Vectors:
    def __init__(self, spread: float = 1.0, slip: str = ""):
        self.spread = spread


class Counts(snnpipe.Callback):
    def on_evaluation_end(self, state):
        pass


class Plain:
    pass
"""


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("data.slip=x", "data.slip: the chosen config does not list it: write +data.slip=..., or add it to that file"),
        ("data.slib=x", "data.slib: no such key"),
        ("metrics.mine._target_=m.M", "what is not chosen yet is added with +: write +metrics.mine._target_=m.M"),
        ("+callbacks.mine._target_=of_a_user.Plain", "derive it from snnpipe.Callback, whose hooks do nothing"),
        ("+callbacks.mine._target_=of_a_user.Counts", "Counts.on_evaluation_end is no hook; did you mean 'on_evaluate"),
    ],
)
def test_slips_with_parts_of_ones_own_name_the_cure(command, tmp_path, monkeypatch, override, line):
    (tmp_path / "of_a_user.py").write_text(OF_A_USER)
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "vectors.yaml").write_text("_target_: of_a_user.Vectors\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    data = ["data=vectors"] if override.startswith("data") else []
    result = command("--config-dir", str(tmp_path / "conf"), *data, override)
    assert result.code == 2 and len(result.error_lines) == 1, result.err
    assert line in result.err


@pytest.mark.slow
def test_a_users_own_function_and_config(command, tmp_path, monkeypatch):
    (tmp_path / "mynet.py").write_text(
        "from snnpipe.models.layers import keras\n"
        "class Net:\n"
        "    def __init__(self, units: int = 4):\n"
        "        self.units = units\n"
        "    def build(self, spec):\n"
        "        layers = keras().layers\n"
        "        return keras().Sequential([layers.Input(spec.input_shape), layers.Flatten(),\n"
        "            layers.Dense(self.units, activation='relu'), layers.Dense(spec.n_classes)])\n"
        "def build_net(spec, units=4):\n"
        "    return Net(units).build(spec)\n"
    )
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text("_target_: mynet.Net\nunits: 6\n")
    (tmp_path / "conf" / "model" / "function.yaml").write_text("_target_: mynet.build_net\nunits: 6\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    own = ("--config-dir", str(tmp_path / "conf"))
    result = command(*own, "model=function", *UNTRAINED)
    assert result.code == 0, result.err
    assert "_target_: mynet.Net" in command(*own, "model=mine", "--cfg", "job").out
    wrong = command(*own, "model=mine", "model.units=six")
    assert wrong.code == 2
    assert wrong.error_lines[0].startswith("snnpipe: error: model.units: got 'six'")


def test_a_config_of_ones_own_is_not_passed_over_for_one_of_the_same_name(command, tmp_path):
    own = tmp_path / "conf" / "data" / "mnist.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("_target_: mine.Data\n")
    refused = command("--config-dir", str(tmp_path / "conf"), "data=mnist")
    assert refused.code == 2 and f"--config-dir: {own} has the name of a config of snnpipe's" in refused.error_lines[0]
    own.write_text((Path(snnpipe.conf.__path__[0]) / "data" / "mnist.yaml").read_text())
    assert command("--config-dir", str(tmp_path / "conf"), "data=mnist", "--cfg", "job").code == 0


@pytest.mark.long
def test_a_process_tells_how_it_ended(process):
    done = process("debug=fast", "logger=csv", "model=mlp")
    out, err = done.communicate(timeout=120)
    stages = ["training on 58 images", "converting", "taking scales from up to 1,000 images", "simulating 20 images"]
    assert (done.returncode, err.splitlines()) == (0, [f"snnpipe: {stage}" for stage in stages])


@pytest.mark.slow
def test_a_process_that_is_refused_tells_so(process):
    wrong = process("training.epochs=-1")
    out, err = wrong.communicate(timeout=60)
    assert (wrong.returncode, out) == (2, "")
    assert err.count("\n") == 1


def printed(program: str) -> str:
    """What a program prints in a process of its own."""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_a_process_ends_without_a_last_search_for_garbage():
    program = (
        "import atexit, gc\n"
        "from snnpipe.base.garbage import search_seldom\n"
        "atexit.register(lambda: print(gc.get_freeze_count() > 0))  # runs after what is registered later\n"
        "search_seldom()"
    )
    assert printed(program) == "True\n"


def test_later_searches_for_garbage_skip_what_the_first_imports_made():
    program = (
        "import gc\n"
        "from snnpipe.base.garbage import importing\n"
        "with importing():\n"
        "    enabled, kept = gc.isenabled(), [[] for _ in range(1000)]\n"
        "first = gc.get_freeze_count()\n"
        "with importing():\n"
        "    more = [[] for _ in range(1000)]\n"
        "print(enabled, gc.isenabled(), first > 1000, gc.get_freeze_count() == first)"
    )
    assert printed(program) == "False True True True\n"
