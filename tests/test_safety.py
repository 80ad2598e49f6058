"""Nothing of a run's files is executed, nothing leads out of its folder, and no password is kept or printed."""

import ast
import os
import pickle
import sys
from pathlib import Path

import pytest
import yaml
from configs import composed

from snnpipe.base.errors import ConfigError, LoggingError
from snnpipe.base.masking import is_secret, mask, masked, to_environment
from snnpipe.config.build import build
from snnpipe.config.check import check

SOURCE = Path(__file__).parent.parent / "src"
FAST = ("debug=fast", "model=mlp", "model.units=[8]", "logger=csv", "callbacks=none", "training.epochs=0")
EVIL = "evil_package_of_the_test"

# ---------------------------------------------------------------------- what the sources do

FORBIDDEN_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "pty", "code", "codeop"}
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path", "runpy.run_module"),
    *("yaml.load", "yaml.full_load", "yaml.unsafe_load", "torch.load", "pandas.read_pickle", "np.fromfile"),
}
MAY_IMPORT_BY_NAME = {
    "snnpipe/__init__.py": "its own modules, as they are asked for",
    "snnpipe/frameworks/compat.py": "TensorFlow, Keras and NengoDL",
    "snnpipe/data/tfds_builder.py": "tensorflow_datasets and its own dataset",
    "snnpipe/config/targets.py": "what a configuration names",
}
MAY_BUILD = {"snnpipe/config/targets.py": "what a configuration names, by Hydra"}


def calls():
    """Yield every call in the sources: file, dotted name as it is written, the call."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                yield str(path.relative_to(SOURCE)), ast.unparse(node.func), node


MAY_IMPORT = {"snnpipe/artifacts/drawing.py": {"pickle"}}
"""A run and its own process that draws talk through a pipe. Nothing that was read from a file goes through it."""


def test_no_module_that_executes_data_is_imported():
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            allowed = MAY_IMPORT.get(str(path.relative_to(SOURCE)), set())
            assert not {name.split(".")[0] for name in names} & FORBIDDEN_MODULES - allowed, path


def test_nothing_is_executed_that_was_read():
    seen = 0
    for file, name, call in calls():
        seen += 1
        options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert name not in FORBIDDEN_CALLS, f"{file} calls {name}"
        assert options.get("shell", "False") == "False", f"{file} gives {name} to a shell"
        if name in ("np.load", "numpy.load"):
            assert options.get("allow_pickle") == "False", f"{file}: {name} may read pickles"
        if name.endswith("import_module"):
            assert file in MAY_IMPORT_BY_NAME, f"{file} imports by name"
        if name == "instantiate":
            assert file in MAY_BUILD, f"{file} builds from a configuration"
    assert seen > 2000


# ---------------------------------------------------------------------- configurations from elsewhere


@pytest.fixture
def evil(tmp_path, monkeypatch) -> Path:
    """A package on the path that leaves a file when it is imported; returns the file."""
    trace = tmp_path / "executed"
    (tmp_path / f"{EVIL}.py").write_text(
        f"from pathlib import Path\nPath({str(trace)!r}).touch()\nfrom snnpipe import Mlp, ConstantEncoder\n"
        "class Thing(Mlp): pass\nclass Encoder(ConstantEncoder): pass\ndef function(*a, **k): return Mlp()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield trace
    sys.modules.pop(EVIL, None)


PLACES = {
    "a part": ("model", {"_target_": f"{EVIL}.Thing"}),
    "a function": ("model", {"_target_": f"{EVIL}.function"}),
    "a logger": ("logger.mine", {"_target_": f"{EVIL}.Thing"}),
    "a callback": ("callbacks.progress", {"_target_": f"{EVIL}.Thing"}),
    "a neuron": ("conversion.neuron", {"_target_": f"{EVIL}.Thing"}),
    "a layer's neuron": ("conversion.neuron", {"dense": {"_target_": f"{EVIL}.Thing"}}),
    "a list": ("training.optimizer_options", {"a": [{"b": [{"_target_": f"{EVIL}.Thing"}]}]}),
    "an argument": ("encoder", {"_target_": "snnpipe.ConstantEncoder", "_args_": [{"_target_": f"{EVIL}.x"}]}),
    "an unused key": ("neuron", {"_target_": f"{EVIL}.Thing"}),
    "what a module of ours imports": (
        "encoder",
        {"_target_": "snnpipe.frameworks.compat.subprocess.run", "args": ["id"]},
    ),
    "what Nengo imports": ("encoder", {"_target_": "nengo.utils.paths.sys.exit"}),
    "a function of ours": ("encoder", {"_target_": "snnpipe.commands.main.main"}),
    "a name alike": ("encoder", {"_target_": "snnpipe_evil.Thing"}),
    "no name": ("encoder", {"_target_": ["snnpipe.ConstantEncoder"]}),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("function", [check, build])
def test_a_configuration_from_elsewhere_runs_no_code_of_other_packages(evil, place, function):
    key, node = PLACES[place]
    config = composed("logger=csv")
    *path, last = key.split(".")
    owner = config
    for word in path:
        owner = owner[word]
    owner[last] = node
    with pytest.raises(ConfigError, match="is no class of snnpipe, nengo, nengo_dl, tf_keras") as error:
        function(config)
    assert all(problem.startswith(f"{key}.") or problem.startswith(f"{key}[") for problem in error.value.problems)
    assert not evil.exists()


def test_a_configuration_from_elsewhere_reads_no_variables(monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "in-the-environment")
    config = composed("logger=csv")
    config["logger"]["csv"]["folder"] = "${oc.env:SOME_TOKEN}"
    for function in (check, build):
        with pytest.raises(ConfigError, match=r"logger\.csv\.folder: got .* takes no interpolations"):
            function(config)


def test_packages_that_are_named_are_trusted(evil):
    config = composed("logger=csv") | {"encoder": {"_target_": f"{EVIL}.Encoder"}}
    check(config, trusted=("snnpipe", "nengo", EVIL))
    assert evil.exists()
    assert type(build(config, trusted=None).encoder).__name__ == "Encoder"


@pytest.mark.slow
def test_the_command_line_is_the_users_own(evil, command):
    result = command(*FAST, f"encoder._target_={EVIL}.Encoder", "simulator=event_driven")
    assert result.code == 0, result.err
    assert evil.exists()


@pytest.mark.slow
def test_what_a_run_records_of_its_configuration_is_built_again(command):
    assert command(*FAST, "data.max_train_images=40", "data.batch_size=16").code == 0
    (recorded,) = Path.cwd().glob("mlruns/outputs/*/config.yaml")
    config = yaml.safe_load(recorded.read_text())
    check(config)
    assert build(config).data.max_train_images == 40


def test_hydras_ways_to_take_in_files_that_run_code_are_refused(command, tmp_path):
    class Dropped:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    (tmp_path / "job.pickle").write_bytes(pickle.dumps(Dropped()))
    (tmp_path / "config.yaml").write_text(
        "hydra:\n  callbacks:\n    a:\n      _target_: pathlib.Path.touch\n      self: executed\n"
    )
    for words in (
        ("--experimental-rerun", str(tmp_path / "job.pickle")),
        (f"--experimental-rerun={tmp_path / 'job.pickle'}",),
        ("--config-path", str(tmp_path)),
        ("-cp", str(tmp_path)),
        (f"-cp={tmp_path}",),
    ):
        result = command(*words)
        assert result.code == 2 and len(result.error_lines) == 1, result.err
        assert words[0].partition("=")[0].replace("-cp", "--config-path") in result.err
    assert not (tmp_path / "executed").exists() and not list(Path.cwd().iterdir())


# ---------------------------------------------------------------------- names stay in their folder


@pytest.mark.slow
def test_names_of_layers_and_classes_lead_nowhere(digits, tmp_path):
    import dataclasses

    import nengo

    from snnpipe import (
        ConstantEncoder,
        CsvLogger,
        EventDrivenSimulator,
        KerasTraining,
        MLflowLogger,
        NengoDLConverter,
        SpikeArtifacts,
        Trainer,
    )
    from snnpipe.callbacks.report import Report
    from snnpipe.models.function import FunctionArchitecture
    from snnpipe.models.layers import keras

    names = (
        "../../evil",
        "$x_{$",
        "<script>a()</script>",
        "a|b",
        "/etc/passwd",
        "{{ 7*7 }}",
        "%s",
        "..",
        "",
        "a\nb",
    )
    data = digits(max_train_images=64, max_test_images=12)
    data._opened["spec"] = dataclasses.replace(data.spec, class_names=names)
    data.setup = lambda: None

    def network(spec):
        layers = keras().layers
        image = layers.Input(spec.input_shape)
        x = layers.Dense(6, activation="relu", name="../../../../evil")(layers.Flatten()(image))
        x = layers.Dense(6, activation="relu", name=".../evil")(x)
        return keras().Model(image, layers.Dense(spec.n_classes)(x))

    inside = tmp_path / "a" / "b" / "run"
    inside.mkdir(parents=True)
    trainer = Trainer(
        data=data,
        architecture=FunctionArchitecture(network),
        training=KerasTraining(epochs=0),
        converter=NengoDLConverter(neuron=nengo.SpikingRectifiedLinear(), scale_firing_rates=100.0, synapse=None),
        simulator=EventDrivenSimulator(n_steps=4),
        encoder=ConstantEncoder(),
        callbacks=[SpikeArtifacts(sample_images=2), Report()],
        loggers=[CsvLogger(str(inside)), MLflowLogger(folder=str(tmp_path / "a" / "mlruns"))],
        diagnosed_images=4,
        output_dir=inside,
        name="../../name\n<b>",
    )
    trainer.run()
    assert {path.name for path in tmp_path.iterdir()} == {"a"}
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"b", "mlruns"}
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"run"}
    assert len(list(inside.glob("spikes/*.npz"))) == 2 and len(list(inside.glob("plots/raster_*.png"))) == 2
    page = (inside / "report.html").read_text()
    assert (
        "<script>alert" not in page
        and "<b>" not in page.partition("<h2>")[0].partition("<h1>")[2].partition("</h1>")[0]
    )


# ---------------------------------------------------------------------- passwords

ADDRESSES = [
    "postgresql+psycopg2://user:{}@db.example.org:5432/mlflow",
    "http://user:{}@127.0.0.1:9",
    "https://{}@127.0.0.1:9",
    "mysql://u:{}@h/db?ssl=1",
    "sqlite:///a.db?password={}&mode=ro",
    "s3://bucket?aws_secret_access_key={}",
]
SECRETS = ["s3cr3t", "pa@ss", "p/a:s", "%40%2F", "ünter", "a'b"]


HIDDEN = [
    (address, secret)
    for address in ADDRESSES
    for secret in SECRETS
    if not ("?" in address and "'" in secret)  # would end there
    and not (address.startswith("https") and set(":@/") & set(secret))  # would be no user's name
]


@pytest.mark.parametrize(("address", "secret"), HIDDEN)
def test_a_password_is_masked_wherever_it_stands(address, secret, monkeypatch):
    given = address.format(secret)
    for text in (given, f"cannot open {given} (refused): set it", f"logger.tracking_uri={given}", f"'{given}'"):
        assert secret not in mask(text) and "***" in mask(text)
        assert mask(mask(text)) == mask(text)
    assert secret not in str(masked({"a": [{"b": given}], "c": (given,)}))
    assert secret not in str(LoggingError(f"cannot open {given}"))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    moved = to_environment(given)
    assert secret not in moved and mask(moved) == moved
    (name,) = (name for name in os.environ if name.startswith("SNNPIPE_PASSWORD_"))
    assert os.environ[name] == secret and moved == address.format(f"${{oc.env:{name}}}")
    assert to_environment(moved) == moved


@pytest.mark.parametrize(
    "text",
    [
        *(
            "http://${oc.env:USER}@h",
            "http://127.0.0.1:5000/#/experiments/1",
            "sqlite:////home/a/mlflow.db",
            "postgresql://user@host/db",
        ),
        *("max_tokens=5", "tokenizer=x", "data.name=mnist", "12:30 is the time @ noon", "a: b", "seed=1,2"),
    ],
)
def test_what_is_no_password_stays(text):
    assert mask(text) == text == to_environment(text)


def test_keys_of_passwords_are_masked():
    config = {"password": "x", "my_token": "y", "api_key": None, "deep": [{"DB_PASSWORD": "z"}], "tokens": 3, "pwd": ""}
    hidden = {
        "password": "***",
        "my_token": "***",
        "api_key": None,
        "deep": [{"DB_PASSWORD": "***"}],
        "tokens": 3,
        "pwd": "",
    }
    assert masked(config) == hidden
    assert is_secret("MLFLOW_TRACKING_PASSWORD", "x") and is_secret("MLFLOW_TRACKING_URI", "http://u:p@h")
    assert not is_secret("MLFLOW_TRACKING_URI", "http://h") and not is_secret("TFDS_DATA_DIR", "/a")


def holds(secret: str, folder: Path) -> list[Path]:
    """Return the files in a folder that hold a text, or have it in their name."""
    return [p for p in folder.rglob("*") if secret in p.name or (p.is_file() and secret.encode() in p.read_bytes())]


@pytest.fixture
def secrets(monkeypatch) -> list[str]:
    """Passwords in the environment, and one for the command line."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "in-the-environment-1")
    monkeypatch.setenv("SOME_TOKEN", "in-the-environment-2")
    for name in [name for name in os.environ if name.startswith("SNNPIPE_PASSWORD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("SNNPIPE_PASSWORD_1", "in-the-environment-3")
    yield ["in-the-environment-1", "in-the-environment-2", "in-the-environment-3", "on-the-command-line", "in-a-file"]
    for name in [name for name in os.environ if name.startswith("SNNPIPE_PASSWORD_")]:
        monkeypatch.delenv(name)


GIVEN = "+logger.tracking_uri=http://user:on-the-command-line@127.0.0.1:9"


@pytest.mark.slow
def test_a_run_keeps_no_password(command, secrets):
    result = command(*FAST, GIVEN, "hydra.output_subdir=.hydra", "callbacks=default")
    assert result.code == 0, result.err
    for secret in secrets:
        assert not holds(secret, Path.cwd()) and secret not in result.out + result.err
    (params,) = Path.cwd().glob("mlruns/outputs/*/params.json")
    assert '"http://user:***@127.0.0.1:9"' in params.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("sweeper", [pytest.param("basic", marks=pytest.mark.long), "optuna"])
def test_a_multi_run_keeps_no_password(command, secrets, tmp_path, sweeper):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nlogger:\n  tracking_uri: postgresql://user:in-a-file@127.0.0.1:9/db\n"
    )
    words = ["-m", "--config-dir", str(tmp_path / "conf"), "experiment=mine", *FAST]
    words += [f"hydra/sweeper={sweeper}", "seed=1,2" if sweeper == "optuna" else "seed=1"]
    words += ["hydra.sweeper.n_trials=1", "hydra.sweeper.storage=study.log"] if sweeper == "optuna" else []
    given = GIVEN.replace("+", "++")
    for more in ([given],) if sweeper == "optuna" else ([], [given]):
        result = command(*words, *more)
        assert result.code == 0, result.err
        for secret in secrets:
            assert not holds(secret, Path.cwd()) and secret not in result.out + result.err
    recorded = [path.read_text() for path in Path.cwd().glob("mlruns/outputs/*/params.json")]
    assert sweeper == "optuna" or any('"postgresql://user:***@127.0.0.1:9/db"' in text for text in recorded)
    assert any('"http://user:***@127.0.0.1:9"' in text for text in recorded)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["logger.tracking_uri=http://user:on-the-command-line@127.0.0.1:9"],
        ["logger.tracking_uri=nonsense://user:on-the-command-line@127.0.0.1:9/db"],
        ["data.name=http://user:on-the-command-line@h"],
        ["data.nope=http://user:on-the-command-line@h"],
        ["data.batch_size=[http://user:on-the-command-line@h"],
        ["data.batch_size=http://user:on-the-command-line@h"],
        ["+model.token=on-the-command-line"],
        ["+data.password=on-the-command-line"],
        [
            "-m",
            "logger=csv",
            "hydra/sweeper=optuna",
            "seed=1,2",
            "hydra.sweeper.storage=nonsense://u:on-the-command-line@h",
        ],
        ["-m", "logger.tracking_uri=http://user:on-the-command-line@127.0.0.1:9", "seed=1,2"],
    ],
)
def test_no_message_shows_a_password(command, secrets, words):
    result = command(*words)
    assert result.code == 2, result.err
    assert result.error_lines
    assert not [secret for secret in secrets if secret in result.out + result.err]


def test_a_faults_traceback_shows_no_password(command, secrets, tmp_path, monkeypatch):
    (tmp_path / "faulty_of_the_test.py").write_text(
        "from dataclasses import dataclass\nfrom snnpipe import KerasTraining\n"
        "@dataclass(frozen=True, kw_only=True)\nclass Faulty(KerasTraining):\n    address: str\n"
        "    def fit(self, *_):\n        raise RuntimeError(f'cannot reach {self.address}')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    address = "http://user:on-the-command-line@127.0.0.1:9"
    result = command(*FAST, "training._target_=faulty_of_the_test.Faulty", f"+training.address={address}")
    assert result.code == 1 and "RuntimeError: cannot reach http://user:***@127.0.0.1:9" in result.err
    (kept,) = Path.cwd().glob("mlruns/outputs/*/traceback.txt")
    assert "http://user:***@" in kept.read_text()
    for secret in secrets:
        assert not holds(secret, Path.cwd()) and secret not in result.out + result.err


@pytest.mark.parametrize("tool", ["compare", "review"])
def test_tools_show_no_password(tool, capsys, monkeypatch, tmp_path):
    from importlib import import_module

    from snnpipe.commands.shared import end_with

    monkeypatch.chdir(tmp_path)
    for address in (
        "http://user:hidden@127.0.0.1:9",
        "postgresql://user:hidden@127.0.0.1:9/db",
        "nonsense://u:hidden@h",
    ):
        monkeypatch.setattr(sys, "argv", [tool, *(("a", "b") if tool == "compare" else ()), "--tracking-uri", address])
        with pytest.raises(SystemExit) as end:
            end_with(import_module(f"snnpipe.{tool}").main)
        out, err = capsys.readouterr()
        assert (end.value.code, out) == (2, "") and err.count("\n") == 1
        assert "hidden" not in err and "***@" in err


def test_an_address_to_open_has_no_password():
    from snnpipe import MLflowLogger

    server = MLflowLogger(tracking_uri="https://user:hidden@example.org:5000/mlflow/").address
    assert server["review"].startswith("https://example.org:5000/mlflow/#/experiments/")
    assert server["review"].endswith("?workflowType=machine_learning")
    assert "hidden" not in str(MLflowLogger(tracking_uri="postgresql+psycopg2://user:hidden@example.org/db").address)


@pytest.mark.long  # 40 s: a server
def test_a_server_gets_the_password_and_its_store_does_not(command, secrets, tmp_path):
    from team_store import mlflow_server

    with mlflow_server(f"sqlite:///{tmp_path}/server.db", tmp_path / "server", workers=1) as address:
        given = address.replace("http://", "http://user:on-the-command-line@")
        words = [*FAST, "logger=default", f"logger.tracking_uri={given}"]
        for more in ([], ["-m", "seed=1,2"]):
            result = command(*more, *words)
            assert result.code == 0, result.err
            for secret in secrets:
                assert secret not in result.out + result.err and not holds(secret, tmp_path)
        from mlflow import MlflowClient

        runs = MlflowClient(address).search_runs(["1"])
        assert len(runs) == 4
        assert "http://user:***@127.0.0.1" in runs[-1].data.params["logger.tracking_uri"]
