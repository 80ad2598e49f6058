"""What makes two trainings, or two runs, the same: everything that can change their result, and nothing else."""

import copy
import dataclasses
import importlib
import json
import sys
import types
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from configs import composed

from snnpipe import EarlyStopping, KerasTraining, Progress, TfdsDataModule
from snnpipe.run.fingerprint import fit_fingerprint, of_the_result, run_fingerprint
from snnpipe.testing import SPEC

FIT_PARTS = ("data", "model", "training", "seed")
WITHOUT_EFFECT = {"data.data_dir", "data.test_split", "data.max_test_images", "training.reuse", "training.resume"}


def fingerprint(config: Mapping[str, Any], **changes: Any) -> str:
    without = {"data": TfdsDataModule.without_effect_on_fit, "training": KerasTraining.without_effect_on_fit}
    return fit_fingerprint(config, changes.get("spec", SPEC), without, changes.get("callbacks", ()))


def leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from leaves(value, (*path, key))
    else:
        yield path


def changed(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return value + 1
    if isinstance(value, list):
        return [*value, 1]
    return f"{value}x"


def with_change(config: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    other = copy.deepcopy(dict(config))
    node = other
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = changed(node[path[-1]])
    return other


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["training=nengo_dl", "neuron@training.neuron=lif"],
        ["experiment=mnist_keras_to_snn/regularized", "data=digits"],
        ["model=lif_cnn", "training=nengo_dl", "conversion=identity", "encoder=poisson"],
    ],
)
def test_every_key_of_the_training_changes_the_fingerprint_and_no_other_does(overrides):
    config = composed(*overrides)
    own = fingerprint(config)
    assert own == fingerprint(copy.deepcopy(config))
    assert own == fingerprint(json.loads(json.dumps(config)))
    for path in leaves(config):
        key = ".".join(path)
        relevant = path[0] in FIT_PARTS and key not in WITHOUT_EFFECT
        assert (fingerprint(with_change(config, path)) != own) == relevant, key


def test_another_dataset_another_callback_and_another_version_are_another_training(monkeypatch):
    config = composed()
    own = fingerprint(config)
    for change in ({"digest": "x"}, {"version": "2.0.0"}, {"n_train": 21}):
        assert fingerprint(config, spec=dataclasses.replace(SPEC, **change)) != own
    for change in ({"n_test": 7}, {"source": "elsewhere"}):
        assert fingerprint(config, spec=dataclasses.replace(SPEC, **change)) == own
    assert EarlyStopping().changes_fit and not Progress().changes_fit
    assert fingerprint(config, callbacks=[{"patience": 3}]) != own
    monkeypatch.setattr("snnpipe.run.fingerprint.installed_version", lambda package: "0.0")
    assert fingerprint(config) != own


CONFIG = {
    "seed": 3,
    "data": {"_target_": "snnpipe.TfdsDataModule", "name": "digits", "data_dir": "/data"},
    "model": {"_target_": "own_nets.net.Net", "layers": [{"_target_": "tf_keras.layers.Dense", "units": 4}]},
    "training": {"epochs": 2, "reuse": True, "neuron": {"_target_": "nengo_dl.SoftLIFRate", "rate": 0.1}},
    "conversion": {"synapse": None},
}


@pytest.fixture
def own_nets(tmp_path, monkeypatch):
    """A package of a user's own, a module of which has two classes, and installed versions that do not change."""
    folder = tmp_path / "own_nets"
    folder.mkdir()
    (folder / "__init__.py").write_text("from own_nets.net import Net\n")
    (folder / "net.py").write_text("class Net:\n    pass\n\n\nclass Loss:\n    pass\n")
    (folder / "other.py").write_text("from own_nets.net import Net\n\n\nclass Other:\n    Net = Net\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("snnpipe.run.fingerprint.installed_version", lambda package: f"1.0 of {package}")
    for name in ("net", "other"):
        importlib.import_module(f"own_nets.{name}")
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "own_nets"]:
        del sys.modules[name]


def test_trainings_of_earlier_releases_are_found_again(own_nets):
    # what stores hold; where it has to change, so must _FORMAT
    assert fingerprint(CONFIG) == "b3b356b80b3d29897568a172fd240348"
    assert fingerprint(CONFIG, callbacks=[{"patience": 3, "mode": {"max"}}]) == "6e3055363f1a2980239cc30e8aa3c4ee"
    assert (
        fingerprint({"seed": None})
        == fingerprint({"model": None, "data": {}, "training": {}})
        == "761e8f547a3b1400ea6fe4ecc79e760e"
    )
    assert run_fingerprint(CONFIG) == "1cd9990b4f5fae2d8a97b694003f3508"
    assert run_fingerprint({"run_id": "x"}) == run_fingerprint({}) == "44136fa355b3678a1146ad16f7e8649e"


def test_the_order_of_keys_is_not_part_of_a_fingerprint(own_nets):
    turned = {
        key: dict(reversed(node.items())) if isinstance(node, dict) else node for key, node in reversed(CONFIG.items())
    }
    assert list(turned["data"]) != list(CONFIG["data"])
    assert fingerprint(turned) == fingerprint(CONFIG)
    assert run_fingerprint(turned) == run_fingerprint(CONFIG)


@pytest.mark.parametrize("package", ["snnpipe", "tensorflow", "tf-keras", "nengo", "nengo-dl", "numpy"])
def test_the_version_of_each_package_that_computes_is_part_of_a_training(package, monkeypatch):
    monkeypatch.setattr("snnpipe.run.fingerprint.installed_version", lambda name: "1.0")
    own = fingerprint(CONFIG)
    monkeypatch.setattr("snnpipe.run.fingerprint.installed_version", lambda name: "2.0" if name == package else "1.0")
    assert fingerprint(CONFIG) != own


@pytest.mark.parametrize(
    ("model", "matters"),
    [
        ({"_target_": "own_nets.net.Net"}, True),
        ({"_target_": "own_nets.Net"}, True),
        ({"_target_": "own_nets.net.Net.Inner"}, True),
        ({"_target_": "own_nets.other.Net"}, True),
        ({"_target_": "snnpipe.Mlp", "loss": {"_target_": "own_nets.net.Loss"}}, True),
        ({"_target_": "own_nets.other.Other", "of": [1, {"_target_": "own_nets.net.Net"}]}, True),
        ({"layers": ({"units": ({"_target_": "own_nets.net.Net"},)},)}, True),
        ({"_target_": "own_nets.other.Other"}, False),
        ({"name": "own_nets.net.Net", "_target_": 3}, False),
    ],
)
def test_the_source_of_each_class_that_is_no_packages_is_part_of_a_training(own_nets, model, matters):
    config = CONFIG | {"model": model}
    own = fingerprint(config)
    (own_nets / "net.py").write_text("class Net:\n    units = 3\n")
    assert (fingerprint(config) != own) == matters


@pytest.mark.parametrize("target", ["not_imported.Net", "Net", "fingerprinted_namespace.Net", "fingerprinted_zip.Net"])
def test_a_class_without_a_source_file_has_its_name_in_the_fingerprint(own_nets, target, monkeypatch):
    monkeypatch.setitem(sys.modules, "fingerprinted_namespace", types.ModuleType("fingerprinted_namespace"))
    zipped = types.ModuleType("fingerprinted_zip")
    zipped.__file__ = str(own_nets.parent / "packages.zip" / "fingerprinted_zip.py")
    monkeypatch.setitem(sys.modules, "fingerprinted_zip", zipped)
    config = CONFIG | {"model": {"_target_": target}}
    assert fingerprint(config) == fingerprint(copy.deepcopy(config)) != fingerprint(CONFIG)


NOT_THE_RESULT = {"run_id", "run_name", "experiment_name", "logger", "paths", "sweep"}


def test_every_key_of_a_run_but_where_and_how_it_is_recorded_changes_its_fingerprint():
    config = composed("experiment=mnist_keras_to_snn/regularized", "run_name=a", "run_id=b")
    config |= {"sweep": {"parent": "x"}}
    own = run_fingerprint(config)
    assert set(config) >= NOT_THE_RESULT
    for path in leaves(config):
        key = ".".join(path)
        same = path[0] in NOT_THE_RESULT or key in ("training.reuse", "training.resume")
        assert (run_fingerprint(with_change(config, path)) == own) == same, key


def test_a_run_is_the_same_with_another_password():
    one, other, none = ({"data": {"token": word, "source": f"http://me:{word}x@host"}} for word in ("a", "b", ""))
    assert of_the_result(one) == {"data": {"token": "***", "source": "http://me:***@host"}}
    assert run_fingerprint(one) == run_fingerprint(other) != run_fingerprint(none)
    assert of_the_result({"training": "none", "reuse": 1, "run_id": 2}) == {"training": "none", "reuse": 1}
