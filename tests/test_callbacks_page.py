"""The callback of docs/callbacks.md, as it stands there."""

import re
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_the_pages_callback_logs_and_writes(command, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "callbacks.md").read_text()
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (words,) = re.findall(r"```sh\npython -m snnpipe (.*?)\n```", page)
    (tmp_path / "my_callbacks.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    small = ("debug=fast", "model=mlp", "model.units=[8]", "callbacks=none", "logger=csv", "training.epochs=4")
    result = command(*small, *words.split())
    assert result.code == 0, result.err
    (table,) = Path("mlruns/outputs").glob("*/metrics.csv")
    norms = [line.split(",") for line in table.read_text().splitlines() if line.startswith("mine/norm")]
    assert [step for _, step, _ in norms] == ["2", "4"] and all(float(norm) > 0.5 for *_, norm in norms)
    assert (table.parent / "norms.txt").read_text().startswith("drop ")
