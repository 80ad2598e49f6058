"""The software versions and the machine of a run. Environment variables are left out."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from snnpipe.base.cores import cores
from snnpipe.frameworks.compat import installed_version

_PACKAGES = (
    "snnpipe",
    "tensorflow",
    "tf-keras",
    "nengo",
    "nengo-dl",
    "numpy",
    "numba",
    "hydra-core",
    "mlflow",
    "tensorflow-datasets",
    "scikit-learn",
    "matplotlib",
)


def describe_environment() -> dict[str, Any]:
    """Return the versions of Python and of packages, and a description of the machine."""
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": cores(),
        "packages": {name: installed_version(name) for name in _PACKAGES},
    }


def git_commit() -> str | None:
    """Return the commit of snnpipe's checkout, with ``-dirty`` if it has changes; None if there is no checkout."""
    folder = Path(__file__).parent
    try:
        commit = subprocess.run(
            ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        tracked = subprocess.run(
            ["git", "-C", str(folder), "ls-files", "--error-unmatch", __file__],
            capture_output=True,
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit.stdout.strip() if tracked.returncode == 0 else None
