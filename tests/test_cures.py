"""Every setting that a message recommends is followed, and works."""

import ast
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import ROOT

QUICK = ["debug=fast", "logger=csv", "callbacks=none", "diagnosis.images=0", "training.epochs=0", "simulator.n_steps=5"]
_GROUPS = "data|model|training|conversion|neuron|encoder|simulator|callbacks|logger|experiment|sweep|diagnosis|paths"
_OVERRIDE = re.compile(rf"(?<![\w.@/{{'\"])((?:{_GROUPS})(?:[./@][a-z_]+)*)=([^\s;:,)`\"'{{]+)")

FOLLOWED = {
    "conversion.allow_fallback=true": ["model=swished"],
    "conversion=identity": ["model=lif_cnn", "model.filters=[4]", "training=nengo_dl"],
    "conversion=nengo_dl": ["model=mlp", "conversion=identity"],
    "model.use_bias=false": ["model=mlp", "conversion=lif_by_hand"],
    "training=keras": ["model=dropped", "training=nengo_dl"],
    "training=nengo_dl": ["model=lif_cnn", "model.filters=[4]", "conversion=identity"],
    "simulator=nengo_dl": ["simulator=clock_driven", "neuron=lif", "neuron._target_=nengo.AdaptiveLIF"],
    "simulator=clock_driven": ["model=mlp", "simulator=event_driven", "neuron=poisson"],
    "simulator.xla=false": ["model=mlp", "simulator=clock_driven", "simulator.xla=true", "neuron=poisson"],
    "data.batch_size=18": ["model=mlp", "data.max_train_images=20", "data.batch_size=30"],
    "callbacks=early_stopping": ["model=mlp", "+callbacks.early_stopping.patience=3"],
    "logger=mlflow": ["training.resume=true"],
    "training.optimizer=sgd": ["model=mlp", "training.optimizer=adamw", "training.weight_decay=0.1"],
    "training.weight_decay=0.0": ["model=mlp", "training.weight_decay=0.1", "training.weight_decay_exclude=['*']"],
    "model.activation=quantised": ["model=mlp", "model.levels=4"],
    "training/regularizer=activity_l1": [
        *("model=mlp", "training/regularizer=firing_rate_l1", "conversion.scale_firing_rates=auto"),
    ],
    "training.regularizer.scale_firing_rates=100": [
        *("model=mlp", "training/regularizer=firing_rate_l1", "training.regularizer.scale_firing_rates=auto"),
    ],
}
"""Settings that messages name, and a command that is refused with each as the cure."""

ELSEWHERE = {
    "conversion.scale_firing_rates=auto": "test_calibration.py: a clipped activation",
    "neuron=spiking_relu": "test_brought_models.py: neurons that cannot do it; test_suggestions.py",
    "neuron=integrate_and_fire": "the default; test_nir.py: what NIR cannot say",
    "neuron=IntegrateAndFire(": "an argument in Python; test_nir.py",
    "neuron=IntegrateAndFire(max_spikes=1": "an argument in Python; test_nir.py",
    "simulator.verify_images=0": "test_fidelity.py",
    "simulator.xla=true": "test_own_neurons.py: names what was chosen",
    "conversion.max_pooling=average": "test_nir.py: where NIR has no maximum",
    "conversion.initial_voltage=drawn": "test_calibration.py: where no voltage may be drawn",
    "simulator.precision=float64": "test_simulation.py: rounding; it shows the cause, and is no cure",
    "sweep.resume=true": "test_resume.py, test_sweeps.py",
    "training.reuse=false": "test_fits.py",
    "training.resume=false": "test_resume.py",
    "training.resume=true": "test_resume.py",
    "data.scaling=standardised": "test_samples.py",
    "data.scaling=none": "test_remarks.py: pixels that are scaled twice",
    "data.axes=auto": "test_arrays.py",
    "data.scaling=auto": "names what was chosen",
    "data.scaling=zero_to_one": "test_arrays.py",
    "data.test_share=0.2": "test_arrays.py",
    "data.size=[": "test_folder.py",
    "data.channels=1": "test_folder.py",
    "data.channels=3": "test_folder.py",
    "data/augment=none": "test_augmentation.py: keys of an augmentation go with it",
    "model=mlp": "test_samples.py",
    "model=file": "test_keras3.py; the file is the user's",
    "training=pretrained": "test_weight_files.py",
    "model.logits_initializer=zeros": "needs a new training, which a diagnosis only names",
    "diagnosis.images=0": "says what was not done",
    "training.epochs=3": "how a setting is written; test_command_line.py",
    "data.name=NAME": "how any dataset is chosen; test_data.py",
    "conversion=lif_by_hand": "names what was chosen",
    "simulator=event_driven": "names what was chosen",
    "training=True": "an argument of Keras's",
}
"""Settings that messages name, where they are followed or why they are none."""


def _texts(tree: ast.AST) -> Iterator[str]:
    """Yield the texts of a module, docstrings apart; of one with values in it, the fixed parts."""
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef)
    documents = {
        id(n.body[0].value) for n in ast.walk(tree) if isinstance(n, holders) and isinstance(n.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documents:
            yield node.value


def named() -> set[str]:
    """The settings that the sources name in their texts."""
    sources = (ROOT / "src").rglob("*.py")
    found = {
        match[0]
        for path in sources
        for text in _texts(ast.parse(path.read_text()))
        for match in _OVERRIDE.finditer(text)
    }
    return {each.rstrip(".") for each in found}


def test_every_setting_that_a_message_names_is_followed():
    assert named() - FOLLOWED.keys() - ELSEWHERE.keys() == set()
    assert ELSEWHERE.keys() - named() == set(), "no message names these"


@pytest.fixture
def own_models(command, tmp_path) -> list[str]:
    folder = Path("conf", "model")
    folder.mkdir(parents=True)
    for name in ("swished", "dropped"):
        (folder / f"{name}.yaml").write_text(f"_target_: brought.{name}\n")
    return ["--config-dir", "conf"]


def followed(command, cure: str, overrides: list[str]) -> None:
    """Run what is refused, then the same with the cure in place of what was there, then with what else is named."""
    tried = list(overrides)
    for _ in range(4):
        result = command(*tried)
        if result.code == 0:
            assert cure in tried, "the command was not refused"
            return
        assert result.code == 2, result.err
        message = " ".join(result.error_lines)
        own = [match[0] for match in _OVERRIDE.finditer(message) if match[0] not in tried]
        if cure not in tried:
            assert cure in own, message
            own = [cure]
        assert own, f"{shlex.join(tried)}: no cure: {message}"
        key = own[0].partition("=")[0]
        tried = [each for each in tried if each.lstrip("+").partition("=")[0] != key] + [own[0]]
    raise AssertionError(f"{shlex.join(tried)}: still refused")


_LONG = (
    "conversion.allow_fallback=true",
    "simulator=nengo_dl",
    "training=nengo_dl",
    "conversion=identity",
    "logger=mlflow",
    "callbacks=early_stopping",
    "simulator=clock_driven",
)
_SLOW = (
    "training=keras",
    *("training.optimizer=sgd", "training.weight_decay=0.0", "conversion=nengo_dl", "data.batch_size=18"),
    *("model.activation=quantised", "training/regularizer=activity_l1", "training.regularizer.scale_firing_rates=100"),
)


def _marked(cure):
    marks = [pytest.mark.long] * (cure in _LONG) + [pytest.mark.slow] * (cure in _SLOW)
    return pytest.param(cure, marks=marks)


@pytest.mark.slow
@pytest.mark.parametrize("cure", map(_marked, FOLLOWED))
def test_what_a_message_says_to_take_works(cure, command, own_models):
    followed(command, cure, [*own_models, *QUICK, *FOLLOWED[cure]])
