"""Who may know whom, read from the sources (docs/design.md, "Who may know whom")."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from snnpipe.base.public import PUBLIC

SOURCE = Path(__file__).parent.parent / "src" / "snnpipe"
HYDRA_PLUGINS = SOURCE.parent / "hydra_plugins" / "snnpipe"
ORDER = (
    *("base", "settings", "frameworks", "neurons", "synapses", "values", "protocols"),
    *("encoders", "data", "models", "training", "conversion", "simulators"),
    *("metrics", "diagnosis", "bundle", "nir_files", "artifacts", "callbacks", "loggers"),
    *("run", "trainer", "spiking", "config", "sweeps", "commands", "testing"),
)
"""The rooms of the house: each imports those before it only, for types too."""
DOORS = ("__main__", "compare", "export", "predict", "review", "send", "serving")
"""What people type: a line each, into `commands`."""
FAMILIES = ("encoders", "data", "models", "training", "conversion", "simulators", "callbacks", "loggers")
HOMES = {
    "hydra": {"config", "sweeps", "commands.main", "hydra_plugins"},
    "omegaconf": {"config", "sweeps", "commands.main", "hydra_plugins"},
    "hydra_plugins": {"commands.main", "hydra_plugins"},
    "ray": {"hydra_plugins.snnpipe.ray_launcher"},
    "submitit": {"hydra_plugins.snnpipe.submitit_launcher"},
    "optuna": {"hydra_plugins.snnpipe.optuna_sweeper"},
    "mlflow": {"loggers.mlflow", "commands.served"},
    "nengo": {
        *("values", "frameworks", "neurons", "synapses", "conversion", "diagnosis", "bundle", "nir_files"),
        *("models.lif_cnn", "training.nengo_dl", "simulators.nengo_dl"),
    },
    "nengo_dl": {"frameworks", "neurons", "conversion", "training.nengo_dl", "simulators.nengo_dl"},
    "matplotlib": {"artifacts"},
    "numba": {"simulators.event_driven"},
    "safetensors": {"bundle"},
    "nir": {"nir_files"},
    "PIL": {"data.picture_files"},
    "scipy": {"frameworks", "conversion", "metrics.intervals", "diagnosis.brought", "simulators.event_driven"},
}
MODULES = sorted(
    str(p.relative_to(SOURCE).with_suffix("")).replace("/", ".").removesuffix(".__init__")
    for p in SOURCE.rglob("*.py")
    if p != SOURCE / "__init__.py"
)
PLUGIN_MODULES = sorted(
    ".".join(("hydra_plugins", "snnpipe", p.stem)).removesuffix(".__init__") for p in HYDRA_PLUGINS.glob("*.py")
)


def imports_of(module: str) -> set[str]:
    """Every module that a module imports, wherever in it, for types too."""
    path = (SOURCE.parent if module in PLUGIN_MODULES else SOURCE) / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def rooms_of(module: str) -> set[str]:
    """The rooms of snnpipe's that a module imports from."""
    inside = (name.removeprefix("snnpipe.").split(".")[0] for name in imports_of(module) if name.startswith("snnpipe."))
    return {room for room in inside if (SOURCE / room).is_dir() or (SOURCE / f"{room}.py").is_file()}


@pytest.mark.parametrize("module", MODULES + PLUGIN_MODULES)
def test_libraries_stay_in_their_homes(module):
    tops = {name.split(".")[0] for name in imports_of(module)}
    for library, homes in HOMES.items():
        at_home = any(f"{module}.".startswith(f"{home}.") for home in homes)
        assert library not in tops or at_home, f"{module} imports {library}"


def test_a_room_imports_those_before_it_only():
    rooms = {module: module.split(".")[0] for module in MODULES if module not in DOORS}
    assert set(rooms.values()) <= set(ORDER)
    later = {
        (module, other)
        for module, room in rooms.items()
        for other in rooms_of(module) - {room}
        if ORDER.index(other) > ORDER.index(room)
    }
    assert not later


@pytest.mark.parametrize("module", [m for m in MODULES if m.split(".")[0] in FAMILIES])
def test_plugin_families_do_not_import_one_another(module):
    assert not rooms_of(module) & set(FAMILIES) - {module.split(".")[0]}


def test_the_trainer_names_no_plugin():
    parts = {PUBLIC[name] for name in PUBLIC if PUBLIC[name].split(".")[0] in FAMILIES}
    assert not imports_of("trainer") & {f"snnpipe.{module}" for module in parts}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_at_most_400_lines(module):
    path = SOURCE / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("arguments", [["--help"], ["--cfg", "job"], ["--version"]])
def test_answers_without_a_run_load_nothing_heavy(arguments):
    program = (
        f"import sys; sys.argv[1:] = {arguments!r}\n"
        "from snnpipe.commands.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'tensorflow', 'nengo', 'nengo_dl', 'mlflow', 'matplotlib', 'sklearn', 'pandas', 'pydantic'}\n"
        "heavy |= {'numba', 'scipy', 'ray', 'submitit'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_importing_snnpipe_changes_nothing():
    program = (
        "import os, sys, signal, warnings, numpy\n"
        "before = dict(os.environ), list(warnings.filters), signal.getsignal(signal.SIGTERM)\n"
        "import snnpipe, snnpipe.trainer, snnpipe.data.tfds, snnpipe.training.keras\n"
        "assert before == (dict(os.environ), list(warnings.filters), signal.getsignal(signal.SIGTERM))\n"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
