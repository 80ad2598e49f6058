"""Bad input: every key of every configuration, broken structure, hostile overrides and files, as properties.

`python -m tests.stress.fuzz` tries many more of them, and real processes.
"""

import random
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import bad_input
import pytest
from command_lines import FILES, MULTIRUNS, OPTIONS, STOP, TOGETHER, WRONG, complaint, write_files
from configs import CONF, options
from domains import NASTY, belongs, inside, values
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

QUICK = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


# ---------------------------------------------------------------------- values


@pytest.mark.slow
def test_every_key_has_a_domain_and_refuses_what_is_outside():
    """Of the values that nobody means, the first, the middle and the last that are outside; and one inside."""
    tried = 0
    for composition, key, domain in bad_input.all_keys():
        outside = [value for value in NASTY if not belongs(value, domain)]
        within = [value for value in NASTY if belongs(value, domain)]
        assert outside, f"anything goes at {key}"
        for value in {0: outside[0], 1: outside[len(outside) // 2], 2: outside[-1]}.values():
            assert bad_input.try_value(composition, key, domain, value)
        for value in within[:1]:
            assert not bad_input.try_value(composition, key, domain, value)
        tried += 3 + len(within[:1])
    assert tried > 400


@pytest.mark.slow
def test_every_option_of_every_group_is_composed_and_passes():
    found = options()
    assert sum(map(len, found.values())) + 2 == len(bad_input.compositions())
    assert {"data", "model", "training", "training/regularizer", "conversion", "neuron", "encoder"} <= set(found)
    for name, config in bad_input.compositions().items():
        assert not bad_input.problems_of(config), name


@pytest.mark.slow
@QUICK
@given(st.data())
def test_a_value_passes_if_it_belongs_to_its_key_and_only_then(data):
    composition, key, domain = data.draw(st.sampled_from(bad_input.all_keys()))
    bad_input.try_value(composition, key, domain, data.draw(values(domain)))


@pytest.mark.slow
@QUICK
@given(st.data())
def test_what_is_in_the_domain_passes(data):
    composition, key, domain = data.draw(st.sampled_from(bad_input.all_keys()))
    assert not bad_input.try_value(composition, key, domain, data.draw(inside(domain)))


@pytest.mark.slow
@QUICK
@given(st.data())
def test_sweepers_and_launchers_too(data):
    choice, key, domain = data.draw(st.sampled_from(bad_input.engine_keys()))
    bad_input.try_engine_value(choice, key, domain, data.draw(values(domain)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_broken_structure_is_told_by_its_key(seed):
    rng = random.Random(seed)
    for _ in range(30):
        bad_input.try_structure(rng)


# ---------------------------------------------------------------------- command lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with configurations that are none."""
    made = tmp_path_factory.mktemp("conf")
    write_files(made)
    return made


def refused(command, key: str, *words: str) -> None:
    result = command(*words)
    assert not complaint(result.code, result.out, result.err, key), words
    assert not list(Path.cwd().iterdir()), "something was left behind"


def a_third_is_quick(cases):
    """Parametrize over all cases, two thirds of which only `make long` runs."""
    return pytest.mark.parametrize(
        "cases", [list(cases)[0::3], *(pytest.param(list(cases)[n::3], marks=pytest.mark.long) for n in (1, 2))]
    )


@pytest.mark.slow
@a_third_is_quick(WRONG)
def test_overrides_that_are_none_are_one_line_that_names_the_key(command, cases):
    for word, key in cases:
        refused(command, key, word, STOP)


@a_third_is_quick((OPTIONS | TOGETHER).items())
def test_options_that_are_none_and_what_does_not_fit_are_one_line(command, cases):
    for words, key in cases:
        refused(command, key, *words)


@pytest.mark.slow
@a_third_is_quick(MULTIRUNS.items())
def test_multi_runs_that_cannot_begin_are_one_line(command, cases):
    for words, key in cases:
        refused(command, key, "-m", *words, "logger=csv")


@pytest.mark.slow
@a_third_is_quick(FILES)
def test_configuration_files_that_are_none_are_one_line(command, folder, cases):
    for name in cases:
        refused(command, "", "--config-dir", str(folder), f"model={name}", STOP)
    assert not (folder / "executed").exists()


@pytest.mark.long  # 60 s: a process each
def test_processes_refuse_before_tensorflow_is_imported(tmp_path):
    from stress.fuzz import processes

    took = list(processes(tmp_path, random.Random(0), 40))
    assert len(took) == 40 and not any(imported for _, imported, _ in took)


@pytest.mark.long  # 3 minutes
def test_ten_thousand_inputs():
    done = subprocess.run(
        [sys.executable, "-m", "tests.stress.fuzz", "--inputs", "10000", "--processes", "0"],
        cwd=CONF.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all                         10000" in done.stdout, done.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["a"], ["--nope"], ["a", "b", "--filter"], ["\0", "\udcff"], ["a", "b", "\n"]]
)
@pytest.mark.parametrize("tool", ["compare", "review"])
def test_tools_refuse_in_one_line(tool, arguments, monkeypatch, tmp_path, capsys):
    from snnpipe.commands.shared import end_with

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(sys, "argv", [tool, *arguments])
    with pytest.raises(SystemExit) as end:
        end_with(import_module(f"snnpipe.{tool}").main)
    out, err = capsys.readouterr()
    assert not complaint(end.value.code, out, err, "")
    assert err.count("\n") == 1 and not list(tmp_path.iterdir())
