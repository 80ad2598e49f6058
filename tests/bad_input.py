"""Bad input tried on the configuration's checks, in the process: what is refused, and what is said of it."""

import copy
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

from configs import composed, options
from domains import belongs, keys, settings_of
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from snnpipe.base.errors import ConfigError, UserError
from snnpipe.config import check as configuration
from snnpipe.config import multirun
from snnpipe.config.build import build
from snnpipe.config.check import check
from snnpipe.config.multirun import check_sweep
from snnpipe.config.targets import locate

NEEDED = {
    "pretrained": ["training.checkpoint=somewhere"],
    "file": ["model.path=somewhere"],
    "arrays": ["data.path=somewhere"],
    "folder": ["data.path=somewhere"],
    **{
        name: ["training.regularizer.scale_firing_rates=100.0"]
        for name in ("firing_rate_l1", "firing_rate_l2", "firing_rate_target")
    },
}
CROSS = ("they must be the same", "the mean can take at most all steps", "nothing is held out")
"""What is said where keys that are right by themselves do not fit each other."""


@cache
def compositions() -> dict[str, dict[str, Any]]:
    """Return the configuration with each option of each group in turn."""
    found = {"": composed()}
    for group, names in options().items():
        for name in names:
            found[f"{group}={name}"] = composed(f"{group}={name}", *NEEDED.get(name, []))
    found["neuron@training.neuron=lif"] = composed("training=nengo_dl", "neuron@training.neuron=lif")
    return found


@cache
def all_keys() -> list[tuple[str, str, Any]]:
    """Return every key of every configuration once for each domain that it has: composition, key, domain."""
    found: dict[tuple[str, str], tuple[str, str, Any]] = {}
    for name, config in compositions().items():
        for key, domain in keys(config):
            found.setdefault((key, repr(domain)), (name, key, domain))
    return list(found.values())


def with_value(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Return a configuration with another value at a key."""
    changed = copy.deepcopy(config)
    *path, last = key.split(".")
    node = changed
    for word in path:
        node = node[word]
    node[last] = value
    return changed


def problems_of(config: Any, building: bool = False) -> tuple[str, ...]:
    """Return what the checks say of a configuration, and where they say nothing, what building it does.

    Whatever else they raise is a fault.
    """
    try:
        check(config, trusted=None)
        if building:
            build(config, trusted=None)
    except UserError as error:
        return getattr(error, "problems", (str(error),))
    return ()


def names(problem: str, key: str) -> bool:
    """Whether a line begins with a key, or with one inside of it."""
    told = problem.partition(": ")[0]
    return told == key or told.startswith((f"{key}.", f"{key}["))


def try_value(composition: str, key: str, domain: Any, value: Any) -> bool:
    """Give a key a value; return whether it is outside of its domain.

    Raises
    ------
    AssertionError
        If a value outside is let pass or not told by its key, or one inside is refused.
    """
    problems = problems_of(with_value(compositions()[composition], key, value), "_target_" in repr(value))
    for problem in problems:
        assert len(problem) < 5000, f"a line of {len(problem)} characters"
    if belongs(value, domain):
        real = [p for p in problems if not any(rule in p for rule in CROSS)]
        assert not real, f"{composition} {key}={value!r:.200}: {real}"
        return False
    assert problems, f"{composition} {key}={value!r:.200} was let pass"
    assert all(names(problem, key) for problem in problems), f"{composition} {key}={value!r:.200}: {problems}"
    return True


# ---------------------------------------------------------------------- structure

TARGETS = [
    *("os.system", "subprocess.run", "builtins.eval", "snnpipe", "", ".", "..", "a.b", "snnpipe.", ".snnpipe", "a b.c"),
    *(
        "snnpipe.models.mlp.Mpl",
        "snnpipe.models.mlp",
        "snnpipe.settings.domains.Readout",
        "snnpipe.settings.domains.PositiveInt.x",
        "1.2",
        "ä.ö",
    ),
    *(
        "snnpipe.base.errors.UserError",
        "snnpipe.frameworks.compat.subprocess.run",
        "snnpipe.Mlp.build.x",
        "a\0b.c",
        "ä.ö",
    ),
    *("nengo.Lowpass", "nengo.Nothing", "snnpipe.settings.schema.check_fields.x", "math.pi", "snnpipe.Mlp.__init__"),
    *(None, 5, 1.5, True, [], {}, ["snnpipe.Mlp"], {"_target_": "a.b"}),
]
FUNCTIONS = ("subprocess.run", "snnpipe.frameworks.compat.subprocess.run")
"""Any function may build a model: what it returns tells."""


def nodes(config: Any, path: str = "") -> Iterator[str]:
    """Yield the keys under which something is built."""
    if isinstance(config, dict):
        if "_target_" in config:
            yield path
        for name, value in config.items():
            yield from nodes(value, f"{path}.{name}".lstrip("."))


def broken(rng: random.Random) -> tuple[str, str, dict[str, Any], str]:
    """Return a configuration whose structure is wrong: composition, what was done, configuration, and key to name."""
    composition = rng.choice(list(compositions()))
    config = copy.deepcopy(compositions()[composition])
    where = rng.choice([key for key in nodes(config) if not key.startswith("neuron")])
    node = config
    for word in where.split("."):
        node = node[word]
    way = rng.choice(["target", "unknown", "misspelt", "no name", "hydra", "group", "root", "lost"])
    if way == "target":
        node["_target_"] = rng.choice(TARGETS if where != "model" else [t for t in TARGETS if t not in FUNCTIONS])
        return composition, way, config, where
    if way == "unknown":
        name = rng.choice(["colour", "_x_", "a.b", "a b", "", "ä", "__init__", "self", "\n", "_target"])
        node[name] = rng.choice([1, None, "x", [], {}])
        return composition, way, config, f"{where}.{name}"
    if way == "misspelt" and (known := [name for name in node if not name.startswith("_")]):
        name = rng.choice(known)
        node[f"{name}s"] = node.pop(name)
        return composition, way, config, f"{where}.{name}s"
    if way == "no name":
        name = rng.choice([1, 1.5, None, True, b"x"])
        node[name] = 1
        return composition, way, config, f"{where}.{name}"
    if way == "hydra":
        name = rng.choice(["_partial_", "_args_", "_recursive_", "_convert_"])
        node[name] = rng.choice(["x", 5, {"a": 1}, [[1]] * 30])
        return composition, way, config, f"{where}.{name}"
    if way == "lost":
        group = rng.choice([*("data", "model", "training", "conversion", "simulator", "encoder", "paths", "diagnosis")])
        del config[group]
        return composition, way, config, group
    group = rng.choice([key for key in config if key not in configuration._SCALARS])
    if way == "root":
        config[f"{group}s"] = config[group]
        return composition, way, config, f"{group}s"
    config[group] = rng.choice([5, "x", [1], True, ["x"], {"a": 1}, [[]], 1.5])
    return composition, "group", config, group


ENGINES = {
    "hydra.sweeper": ["hydra/sweeper=basic", "hydra/sweeper=optuna"],
    "hydra.launcher": ["hydra/launcher=processes", "hydra/launcher=ray", "hydra/launcher=slurm"],
}


@cache
def engine_keys() -> list[tuple[str, str, Any]]:
    """Return the settings of every sweeper and launcher: choice, key, domain."""
    found = []
    for key, choices in ENGINES.items():
        for choice in choices:
            target = OmegaConf.select(composed_with_hydra(choice), f"{key}._target_")
            domains = dict(multirun._ENGINES.get(target, {}))
            if target.startswith("hydra_plugins.snnpipe."):
                domains |= dict(settings_of(locate(target)))
            found += [(choice, f"{key}.{name}", domain) for name, domain in domains.items()]
    return found


@cache
def composed_with_hydra(choice: str) -> DictConfig:
    """Return the configuration of a multi-run with a sweeper or launcher."""
    with initialize_config_module("snnpipe.conf", version_base="1.3"):
        return compose("config", overrides=[choice], return_hydra_config=True)


def try_engine_value(choice: str, key: str, domain: Any, value: Any) -> bool:
    """Give a setting of a sweeper or launcher a value, as `try_value` does."""
    config = copy.deepcopy(composed_with_hydra(choice))
    node, _, name = key.rpartition(".")
    try:
        with open_dict(config):
            OmegaConf.update(config, key, value, merge=False)
    except OmegaConfBaseException:  # what Hydra declares the types of is refused before
        return True
    try:
        fits = belongs(OmegaConf.to_container(OmegaConf.select(config, node), resolve=True)[name], domain)
    except OmegaConfBaseException:  # an interpolation that leads nowhere
        fits = False
    problems: tuple[str, ...] = ()
    try:
        check_sweep(config)
    except ConfigError as error:
        problems = error.problems
    assert bool(problems) is not fits, f"{choice} {key}={value!r:.200}: {problems}"
    assert all(names(problem, key) for problem in problems), f"{choice} {key}={value!r:.200}: {problems}"
    return bool(problems)


def try_structure(rng: random.Random) -> str:
    """Break the structure of a configuration; return what was done. An `AssertionError` says where that passed."""
    composition, way, config, key = broken(rng)
    problems = problems_of(config, way == "target")
    assert problems, f"{composition}: {way} at {key} was let pass: {config}"
    assert any(names(problem, key) for problem in problems), f"{composition}: {way} at {key}: {problems}"
    return way
