"""Who may know whom, read from the sources (docs/design.md, "Who may know whom")."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "snnpipe"
HYDRA_PLUGINS = SOURCE.parent / "hydra_plugins" / "snnpipe"
PLUGINS = {
    "hydra_plugins.snnpipe",
    "hydra_plugins.snnpipe.defaults_list",
    *(f"hydra_plugins.snnpipe.{name}" for name in ("cluster", "optuna_sweeper", "ray_launcher", "submitit_launcher")),
}
FAMILIES = {"data", "models", "training", "conversion", "simulators", "encoders", "callbacks", "loggers"}
SWEEPS = {"sweeps.durations", "sweeps.jobs", "sweeps.recorder", "sweeps.repeats"}
HOMES = {
    "hydra": {"cli", "config", "hydra_errors", "override_text", "targets", *SWEEPS, *PLUGINS},
    "omegaconf": {"cli", "config", "hydra_errors", "override_text", "targets", *SWEEPS, *PLUGINS},
    "hydra_plugins": {"cli", *PLUGINS},
    "ray": {"hydra_plugins.snnpipe.ray_launcher"},
    "submitit": {"hydra_plugins.snnpipe.submitit_launcher"},
    "optuna": {"hydra_plugins.snnpipe.optuna_sweeper"},
    "mlflow": {
        f"loggers.{name}" for name in ("mlflow", "mlflow_experiment", "mlflow_runs", "mlflow_store", "mlflow_writes")
    },
    "nengo": {
        *(
            "diagnosis.hybrids",
            "diagnosis.suggestions",
            "native",
            "models.lif_cnn",
            "training.nengo_dl",
            "simulators.nengo_dl",
        ),
        *("neurons.choice", "neurons.clipped", "conversion.nengo_dl_layers"),
        *(f"conversion.{name}" for name in ("nengo_dl", "native_layers", "nengo_objects", "lif_by_hand")),
    },
    "nengo_dl": {
        *("neurons.clipped", "conversion.nengo_dl", "conversion.nengo_dl_layers", "conversion.refusals"),
        *("training.nengo_dl", "simulators.nengo_dl"),
    },
    "matplotlib": {"artifacts.plots", "artifacts.review_plots", "artifacts.sweep_plots"},
    "numba": {"simulators.event_kernel"},
    "scipy": {
        *("pooling", "conversion.nengo_dl_layers", "conversion.connections", "conversion.synapses"),
        *("metrics.intervals", "simulators.event_program", "simulators.event_rows", "simulators.linear_maps"),
    },
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
    """Every module that a module imports, wherever in it, types apart."""
    path = (SOURCE.parent if module in PLUGIN_MODULES else SOURCE) / Path(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = set()
    for node in ast.walk(_without_type_checking(ast.parse(path.read_text()))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _without_type_checking(tree: ast.Module) -> ast.Module:
    tree.body = [n for n in tree.body if not (isinstance(n, ast.If) and "TYPE_CHECKING" in ast.dump(n.test))]
    return tree


def family_of(module: str) -> str | None:
    first = module.removeprefix("snnpipe.").split(".")[0]
    return first if first in FAMILIES else None


@pytest.mark.parametrize("module", MODULES + PLUGIN_MODULES)
def test_libraries_stay_in_their_homes(module):
    tops = {name.split(".")[0] for name in imports_of(module)}
    for library, homes in HOMES.items():
        assert library not in tops or module in homes, f"{module} imports {library}"


@pytest.mark.parametrize("module", [m for m in MODULES if family_of(m)])
def test_plugin_families_do_not_import_one_another(module):
    others = {family_of(name) for name in imports_of(module) if name.startswith("snnpipe.")}
    assert others <= {None, family_of(module)}


def test_trainer_names_no_plugin():
    assert not {name for name in imports_of("trainer") if name.startswith("snnpipe.") and family_of(name)}


@pytest.mark.parametrize(
    "module", ["masking", "errors", "schema", "types", "files", "checked_files", "identity", "layer_values", "describe"]
)
def test_the_base_knows_no_part_above_it(module):
    inside = {name.split(".")[1] for name in imports_of(module) if name.startswith("snnpipe.")}
    assert inside <= {"masking", "errors", "schema", "types", "files", "identity"}


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
