"""Prepares the process for Keras 2 and NengoDL on today's TensorFlow. No other module does.

NengoDL 3.6 officially supports TensorFlow up to 2.11. It runs on TensorFlow 2.21 if tf.keras is tf_keras, and if the
Keras modules that it imports by name exist during its import.
"""

import importlib
import os
import subprocess
import sys
import types
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from snnpipe.base.cores import cores, threads
from snnpipe.base.errors import UserError
from snnpipe.base.quiet import without_startup_chatter

TESTED = {"tensorflow": "2.21", "tf-keras": "2.21", "nengo": "4.1", "nengo-dl": "3.6"}


def installed_version(package: str) -> str | None:
    """Return the version of a package; None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def choose_keras_2() -> None:
    """Set the environment so that the next import of TensorFlow has Keras 2 as ``tf.keras`` and logs less."""
    if "tensorflow" not in sys.modules:
        os.environ["TF_USE_LEGACY_KERAS"] = "1"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@cache
def import_tensorflow() -> Any:
    """Import TensorFlow with Keras 2 as ``tf.keras`` and return it.

    Raises
    ------
    SnnPipeError
        If TensorFlow was already imported with Keras 3.
    """
    if "tensorflow" in sys.modules and os.environ.get("TF_USE_LEGACY_KERAS") not in ("1", "true", "True"):
        raise UserError(
            "TensorFlow was imported with Keras 3 before snnpipe could choose Keras 2: import snnpipe before "
            "tensorflow, keras and nengo_dl, or set TF_USE_LEGACY_KERAS=1 in the environment"
        )
    choose_keras_2()
    _warn_about_versions()
    with without_startup_chatter():
        tf = importlib.import_module("tensorflow")
        if cores() < threads():
            tf.config.threading.set_intra_op_parallelism_threads(threads())
        tf.keras.layers  # noqa: B018  # tf.keras loads tf_keras at the first access
        tf.config.list_physical_devices()
    tf.get_logger().setLevel("ERROR")
    return tf


def import_tf_keras() -> Any:
    """Import TensorFlow in the form that NengoDL needs, and return ``tf_keras``."""
    import_tensorflow()
    return importlib.import_module("tf_keras")


def import_nengo_dl() -> Any:
    """Import NengoDL and return it. `snnpipe.frameworks.import_hook` runs the import in `as_nengo_dl_needs_it`."""
    return importlib.import_module("nengo_dl")


@contextmanager
def as_nengo_dl_needs_it() -> Iterator[None]:
    """Make an import of NengoDL work within the block."""
    tf = import_tensorflow()
    level = os.environ.get("TF_CPP_MIN_LOG_LEVEL")
    with _keras_as_nengo_dl_knows_it(), _gpu_looked_for_in_process(tf), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This version of NengoDL has not been tested with your Nengo")
        yield
    if level is not None:  # NengoDL sets it to 1
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = level


@contextmanager
def without_build_notes() -> Iterator[None]:
    """Silence warnings of NengoDL's simulator that do not matter here.

    They say that there is no GPU; that a LIF neuron's ``max_rates``, which nothing uses, cannot be derived from its
    gain; and that Keras's initialisers are called again for layers whose weights NengoDL then restores.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No GPU support detected")
        warnings.filterwarnings("ignore", message="Non-finite values detected in `(max_rates|intercepts)`")
        warnings.filterwarnings("ignore", category=RuntimeWarning, module=r"nengo\.neurons")
        warnings.filterwarnings("ignore", message="The initializer .* is unseeded and being called multiple times")
        yield


def start_afresh(seed: int) -> None:
    """Reset Keras's counters of names, and seed the global random generators of Python, NumPy and TensorFlow.

    For the rest of the process, TensorFlow's operations are deterministic, and layers that draw random numbers
    (dropout) keep their generator's state where it can be read and set.
    """
    tf = import_tensorflow()
    tf.keras.backend.clear_session()
    tf.keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()
    tf.keras.backend.experimental.enable_tf_random_generator()


@contextmanager
def _keras_as_nengo_dl_knows_it() -> Iterator[None]:
    """Within the block, replace ``keras.engine.functional`` and ``keras.layers`` by tf_keras, as before Keras 3."""
    functional = importlib.import_module("tf_keras.src.engine.functional")
    normalization = "tf_keras.src.layers.normalization"
    names: dict[str, Any] = {name: types.ModuleType(name) for name in ("keras", "keras.engine", "keras.layers")} | {
        "keras.engine.functional": functional
    }
    names["keras.layers"].BatchNormalizationV1 = importlib.import_module(
        f"{normalization}.batch_normalization_v1"
    ).BatchNormalization
    names["keras.layers"].BatchNormalizationV2 = importlib.import_module(
        f"{normalization}.batch_normalization"
    ).BatchNormalization
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "keras"}
    for name in before:
        del sys.modules[name]
    sys.modules.update(names)
    try:
        yield
    finally:
        for name in [n for n in sys.modules if n.split(".")[0] == "keras"]:
            del sys.modules[name]
        sys.modules.update(before)


@contextmanager
def _gpu_looked_for_in_process(tf: types.ModuleType) -> Iterator[None]:
    """Look for a GPU in this process. NengoDL would start a second Python with TensorFlow to look for it."""
    call = subprocess.call

    def answer(command: Any, *args: Any, **kwargs: Any) -> int:
        if isinstance(command, list) and "list_physical_devices" in str(command[-1]):
            with without_startup_chatter():
                return int(not tf.config.list_physical_devices("GPU"))
        return call(command, *args, **kwargs)

    subprocess.call = answer  # type: ignore[assignment]  # takes what NengoDL passes
    try:
        yield
    finally:
        subprocess.call = call


def _warn_about_versions() -> None:
    other = {
        name: installed
        for name, tested in TESTED.items()
        if not f"{(installed := version(name))}.".startswith(f"{tested}.")
    }
    if other:
        present = ", ".join(f"{name} {installed}" for name, installed in other.items())
        tested = ", ".join(f"{name} {v}" for name, v in TESTED.items())
        warnings.warn(f"snnpipe was tested with {tested}; installed: {present}", stacklevel=3)
