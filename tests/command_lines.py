"""Command lines that are wrong in their form: what is typed, and the key that the error must name."""

import random
from pathlib import Path

STOP = "training.epochs=-1"
"""Goes with every one of them, so that none begins to train."""

_WRONG: dict[str, list[str]] = {
    "data.batch_size": [
        *("data.batch_size=[1", "data.batch_size={a", "data.batch_size='", 'data.batch_size="a', "data.batch_size==3"),
        *("data.batch_size=a=b", "data.batch_size=1)", "data.batch_size=${", "data.batch_size=${data.batch_size}"),
        *("data.batch_size=???", "+data.batch_size=3", "data.batch_size.x=3"),
        *("data.batch_size=" + "[" * 3000, "data.batch_size=" + "[" * 3000 + "]" * 3000),
    ],
    "seed": [
        *("seed=", "seed=1e5", "seed=nan", 'seed="\n"', "seed=null", "seed=[1]", "seed={a: 1}", "seed=" + "9" * 5000),
        *("seed=cast(x)", "seed=int(x)", "seed=1,2", "seed=range(3)", "seed=\udcff", "seed=\x1b[31m", "seed.x=1"),
        *("seed=${nope}", "seed=${seed}", "seed=${oc.env:NOT_THERE_AT_ALL}", "seed=${nope:1}"),
    ],
    "data": [
        *("data=nope", "data=", "data=null", "data=5", "data=[mnist,nope]", "data=../../x", "data={a: b}", "data=???"),
        *("+data=mnist", "~data=mnist", "data@x=mnist", "data=/etc/passwd", "~data", "data.", ".data=3", "data[0]=3"),
        *("data", "data..batch_size=3", "data.name=???"),
    ],
    "data.nope": ["data.nope=3", "~data.nope", "++data.nope=1", "+data.nope=1"],
    "model.filters": ["model.filters.0=x", "model.filters=3"],
    "model._target_": ["model._target_=os.system", "model._target_=snnpipe.ConstantEncoder"],
    "model._partial_": ["+model._partial_=true"],
    "training.regularizer": ["training.regularizer={weight: 3}", "+training.regularizer.weight=3"],
    "training/regularizer": ["training/regularizer=nope"],
    "neuron._target_": ["neuron._target_=nengo.Nothing"],
    "hydra": ["hydra.mode=foo", "hydra.job.num=x", "hydra.callbacks=3", "hydra.sweep.dir=null"],
    "hydra/": ["hydra/launcher=nope", "hydra/sweeper=null"],
    "hydra.callbacks.sweep": ["hydra.callbacks.sweep._target_=nope.nope"],
    "hydra.sweeper.params": ["hydra.sweeper.params={nope: 1}"],
    "": ["+a.b.c=1", "nope=1", "~nope", "=3", "+", "~", "x" * 100_000 + "=1"],
}
WRONG = [(word, key) for key, words in _WRONG.items() for word in words]

TOGETHER: dict[tuple[str, ...], str] = {
    ("data.max_train_images=20",): "data.batch_size",
    ("training=pretrained", "training.checkpoint=nowhere"): "no checkpoint at nowhere",
    ("callbacks=early_stopping", "data.validation_share=0"): "callbacks.early_stopping.monitor",
    ("simulator.readout=mean", "simulator.readout_steps=99"): "simulator.readout_steps",
    ("encoder=poisson", "encoder.dt=0.002"): "encoder.dt",
    ("model=lif_cnn", "model.max_rates=1000"): "model.max_rates",
    ("+training.regularizer._target_=snnpipe.ConstantEncoder",): "training.regularizer",
    ("conversion.synapse={dense: foo}",): "conversion.synapse",
}
"""What is right by itself and does not fit the rest, as far as neither dataset nor model is needed to tell."""

OPTIONS: dict[tuple[str, ...], str] = {
    ("--epochs", "3"): "--epochs",
    ("--cfg",): "--cfg",
    ("--cfg", "foo"): "--cfg",
    ("-x",): "-x",
    ("--resolve",): "--resolve",
    ("--shell-completion", "x"): "--shell-completion",
    ("--config-name", "nope"): "--config-name",
    ("--config-dir", "/nope"): "--config-dir",
    ("--config-path", "/nope"): "--config-path",
    ("--experimental-rerun", "nope"): "--experimental-rerun",
}

MULTIRUNS: dict[tuple[str, ...], str] = {
    ("hydra/launcher=processes", "hydra.launcher.n_jobs=0"): "hydra.launcher.n_jobs",
    ("hydra/launcher=ray", "hydra.launcher.num_cpus=1.5"): "hydra.launcher.num_cpus",
    ("hydra/launcher=slurm", "hydra.launcher.folder=null"): "hydra.launcher.folder",
    ("hydra.launcher=null",): "hydra.launcher",
    ("hydra.sweeper.max_batch_size=0",): "hydra.sweeper.max_batch_size",
    ("hydra/sweeper=optuna", "hydra.sweeper.n_trials=0"): "hydra.sweeper.n_trials",
    ("hydra/sweeper=optuna", "seed=interval(1,3)", "hydra.sweeper.minimize=[]"): "hydra.sweeper.minimize",
    ("hydra/sweeper=optuna", '+hydra.sweeper.params.seed="["'): "seed",
    ("hydra.sweep.subdir=..",): "hydra.sweep.subdir",
    ("hydra.sweep.dir=/proc/x",): "hydra.sweep.dir",
    ("sweep.resume=maybe",): "sweep.resume",
    ("sweep.durations=[0]",): "sweep.durations",
    ("seed=range(0)",): "seed",
    ("seed=interval(0,1)",): "seed",
    ("data=mnist,nope",): "data",
}

FILES: dict[str, bytes] = {
    "duplicate": b"_target_: snnpipe.Mlp\nunits: [1]\nunits: [2]\n",
    "unclosed": b"_target_: [\n",
    "tab": b"a:\n\t- b\n",
    "list": b"- a\n- b\n",
    "word": b"hello\n",
    "empty": b"",
    "no_text": b"\xff\xfe\x00\x01",
    "itself": b"a: &a [*a]\n",
    "tag": b'a: !!python/object/apply:os.system ["touch executed"]\n',
    "defaults": b"defaults: 5\n",
    "defaults_of_itself": b"defaults:\n  - defaults_of_itself\n  - _self_\n",
    "number_as_key": b"_target_: snnpipe.Mlp\n1: 2\n",
    "null_as_key": b"_target_: snnpipe.Mlp\n~: 2\n",
    "set": b"_target_: snnpipe.Mlp\nunits: !!set {1, 2}\n",
    "long_number": b"_target_: snnpipe.Mlp\nunits: [" + b"9" * 6000 + b"]\n",
    "deep": b"_target_: snnpipe.Mlp\nunits: " + b"[" * 2000 + b"]" * 2000 + b"\n",
    "missing": b"_target_: ???\n",
}
"""Configurations of a model in a folder of the user's."""


def write_files(folder: Path) -> None:
    """Write `FILES` as options of the group ``model``."""
    (folder / "model").mkdir(parents=True)
    for name, content in FILES.items():
        (folder / "model" / f"{name}.yaml").write_bytes(content)


_ALPHABET = "abz019 _-+.,:;=~@/\\|<>()[]{}$'\"!?*&%#\n\t\0äß€𝄞\u202e\ufeff"
_KEYS = [
    "seed",
    "data",
    "data.batch_size",
    "model.filters",
    "conversion.synapse",
    "neuron",
    "hydra.mode",
    "run_name",
    "x.y",
]


def random_override(rng: random.Random) -> tuple[str, str]:
    """Return an override that somebody's cat typed, and its key."""
    key = rng.choice(_KEYS)
    text = "".join(rng.choices(_ALPHABET, k=rng.randrange(12)))
    return rng.choice(["", "", "", "+", "++", "~"]) + key + rng.choice(["=", "=", "=", "=", "", "@", "/"]) + text, key


def complaint(code: int, out: str, err: str, key: str, *, other: str = "training.epochs") -> str:
    """Return what is wrong with how a command line ended that was to be refused; empty if nothing is.

    ``other`` is named by lines that are there for a mistake besides.
    """
    lines = err.splitlines()
    if code != 2 or out:
        return f"exit code {code}, {out[:200]!r} printed, {err[-300:]!r}"
    if not lines or not all(line.startswith("snnpipe: error: ") and line.isprintable() for line in lines):
        return f"not lines of errors alone: {err[-500:]!r}"
    if any(len(line) > 2100 for line in lines):
        return "a line that is too long"
    real = [line for line in lines if f"error: {other}: " not in line]
    if key and not any(key in line for line in real):
        return f"no line names {key}: {err[-500:]!r}"
    return ""
