"""The README's examples are run, and its commands composed."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from snnpipe.config.check import check
from snnpipe.config.compose import resolve

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = sorted(
    {
        found.group(1).partition("#")[0].strip()
        for page in PAGES
        for block in re.findall(r"```(?:sh|text|)\n(.*?)```", page.read_text(), re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if (found := re.search(r"python -m snnpipe(?!\.)(.*)", line))
    }
)


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, pytest.param(20, marks=pytest.mark.long)])
def test_python_examples_run(epochs, tmp_path, data_dir, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    readme = ROOT / "README.md"
    (accuracy,) = re.findall(r"SNN accuracy +([\d.]+) %", readme.read_text())
    for block in python_blocks(readme):
        assert "epochs=20" in block
        exec(compile(block.replace("epochs=20", f"epochs={epochs}"), "README.md", "exec"), {})
        shown = capsys.readouterr().out
        if "Trainer(" in block and epochs == 20:
            assert float(shown.partition("%")[0]) == pytest.approx(float(accuracy), abs=2), (
                "the command's result, but for another machine's rounding"
            )
    assert (tmp_path / "net.snn").exists()


@pytest.mark.slow
def test_the_way_from_a_model_to_a_picture_is_as_its_page_says(tmp_path, monkeypatch, capsys):
    from PIL import Image

    from snnpipe.commands.predict import main

    page, space = ROOT / "docs" / "own_model.md", {}
    monkeypatch.chdir(tmp_path)
    for block in python_blocks(page):
        exec(compile(block, "own_model.md", "exec"), space)
    shown = capsys.readouterr().out
    for printed in re.findall(r"```text\n((?:SpikingModel|8 references).*?)```", page.read_text(), re.DOTALL):
        assert printed in shown
    for i in range(5):
        Image.fromarray((255 * space["x_test"][i, :, :, 0]).astype(np.uint8)).save(f"{i}.png")
    monkeypatch.setattr("sys.argv", ["predict", "digits.snn", *(f"{i}.png" for i in range(5))])
    main()
    rows = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    given = [int(row[1].partition(" ")[0]) for row in rows]
    assert sum(own == wanted for own, wanted in zip(given, space["y_test"], strict=False)) >= 4
    assert rows[0][1] == f"{given[0]} (the digit {given[0]})"


def _first_value(override: Override) -> str:
    """Return an override that gives a key several values with one of them."""
    if not override.is_sweep_override():
        return override.input_line or ""
    value = override.value().start if override.is_interval_sweep() else next(override.sweep_string_iterator())
    return f"{override.get_key_element()}={value}"


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_compose(command):
    words = [w for w in shlex.split(command) if w not in ("-m", "--multirun")]
    if any(w.startswith("-") for w in words):
        pytest.skip("prints something and runs nothing: tests/test_import_rules.py runs these")
    overrides = [_first_value(override) for override in OverridesParser.create().parse_overrides(words)]
    with initialize_config_module("snnpipe.conf", version_base="1.3"):
        check(resolve(compose("config", overrides=overrides)))


def test_links_lead_to_files():
    for page in PAGES:
        for target in re.findall(r"\]\((?!http|#)([^)#]+)", re.sub(r"```.*?```", "", page.read_text(), flags=re.S)):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
