"""``import nengo_dl``, ``tensorflow`` and ``keras`` in modules of one's own, before and after snnpipe."""

import os
import subprocess
import sys

import pytest

from snnpipe.config.targets import locate
from snnpipe.frameworks import import_hook
from snnpipe.frameworks.compat import import_nengo_dl


def test_there_is_one_finder_however_often_it_is_installed():
    import_hook.install()
    import_hook.install()
    assert len([finder for finder in sys.meta_path if type(finder).__module__ == "snnpipe.frameworks.import_hook"]) == 1
    finder = sys.meta_path[0]
    assert finder.find_spec("json", None) is None
    assert finder.find_spec("nengo_dl", None).origin == import_nengo_dl().__file__


@pytest.mark.parametrize("first", ["import nengo_dl", "import tensorflow as tf\nimport tf_keras", "import keras"])
def test_a_module_that_a_config_names_may_import_them(tmp_path, monkeypatch, first):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "with_imports.py").write_text(f"{first}\n\n\ndef net(spec):\n    return None\n")
    try:
        assert locate("with_imports.net").__module__ == "with_imports"
    finally:
        sys.modules.pop("with_imports", None)


def lines(program: str, tmp_path) -> list[str]:
    """Return what a program prints that is started without the choice of Keras that this process has made."""
    environment = {name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"}
    call = [sys.executable, "-c", program]
    done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path, check=False, env=environment)
    return (done.stdout + done.stderr).splitlines()


AFTER = """
import snnpipe, sys
assert not {"tensorflow", "nengo_dl", "numpy"} & set(sys.modules)
import nengo_dl, tensorflow, keras
from nengo_dl import converter
assert tensorflow.keras.Model.__module__.startswith("tf_keras") and keras.__version__[0] == "3"
assert nengo_dl.__version__ and snnpipe.NativeNetwork
print("all there")
"""
BEFORE = """
try:
    import nengo_dl
except ModuleNotFoundError as error:
    print(error)
import snnpipe
from snnpipe.base.errors import UserError
try:
    import nengo_dl
except UserError as error:
    print(error)
"""


@pytest.mark.slow  # 20 s each
def test_a_script_imports_them_after_snnpipe(tmp_path):
    assert "all there" in lines(AFTER, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("program", [BEFORE, "import tensorflow, snnpipe\nimport nengo_dl"])
def test_in_another_order_one_line_says_what_to_do(tmp_path, program):
    (line,) = [line for line in lines(program, tmp_path) if "Keras 3" in line]
    assert "import snnpipe before tensorflow, keras and nengo_dl, or set TF_USE_LEGACY_KERAS=1" in line
