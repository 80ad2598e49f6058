"""Overrides whose text has characters of Hydra's grammar: what the message quotes, typed into a shell, works."""

import shlex

import pytest
from configs import composed
from hydra.core.override_parser.overrides_parser import OverridesParser

from snnpipe.base.errors import ConfigError
from snnpipe.config.messages import report
from snnpipe.config.override_text import as_text

STOP = "training.epochs=-1"
"""Goes with every one of them, so that none begins to train."""

TEXTS = {
    "data.data_dir": ["/tmp/a=b", "/tmp/a[1]", r"C:\Users\me,you\data", r"\\server\share (old)\x,y", "/tmp/100%,{x}"],
    "run_name": [
        *("a,b", "a=b", "my(run)", "(a)", "a{b}", "{a}", "[a", 'a"b', "a'b", "'a'b", "${a", "a#b", "a&b", "a;b", "a!b"),
        *("a<b", "a~b", "a`b", "a^b", "größe", "日本", "a → b", "it's, so", "range(3)", "choice(a,b)", "1,2"),
        *("http://x/a,b", '"a', r"a\b\"c", r"a=\"", r"(${a}\\", "a=b,c=d", "lr=0.1,seed=3", "v1;DROP TABLE", "${a},b"),
    ],
    "data.train_split": ["train[:50]", "train[:50%]", "train[10:]+test"],
    "data.name": ["my=data", "huggingface:a,b"],
    "paths.mlruns": ["/tmp/x,y", "runs (2)"],
    "logger.tracking_uri": ["sqlite:////tmp/a=b.db", "postgresql://h/db?sslmode=require&x=1"],
}
PARSED_OTHERWISE = {
    "run_name": ["1e3", "5", "true", "[a]", "[a,b]", "{a: 1}", "nan", "[]"],
    "data.data_dir": ["5", "[1]"],
}
"""Texts that Hydra takes without a word for a number, a list or a mapping."""


def typed(line: str, mark: str) -> list[str]:
    """Return the words that a shell makes of what a message quotes behind some words."""
    return shlex.split(line.partition(mark)[2])


def value_of(config: dict, key: str):
    for part in key.split("."):
        config = config[part]
    return config


CASES = [
    (key, text, mark)
    for texts, mark in ((TEXTS, "quoted twice: "), (PARSED_OTHERWISE, ", as in "))
    for key, of_key in texts.items()
    for text in of_key
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "text", "mark"),
    [c if n % 3 == 0 else pytest.param(*c, marks=pytest.mark.long) for n, c in enumerate(CASES)],
)
def test_a_text_that_hydra_reads_otherwise_is_quoted_so_that_it_works(command, key, text, mark):
    result = command(f"{key}={text}", STOP)
    assert result.code == 2
    (line,) = [line for line in result.error_lines if "training.epochs" not in line]
    assert line.startswith(f"snnpipe: error: {key}: got ")
    (word,) = typed(line, mark)
    assert value_of(composed(word), key) == text


@pytest.mark.slow
def test_the_alternatives_to_several_values_work_too(command):
    (line,) = command("training.learning_rate=0,01").error_lines
    assert "several values are for -m: -m training.learning_rate=0,01; " in line
    assert line.endswith("; a decimal point is a point: training.learning_rate=0.01")
    (line,) = command("model.filters=8,16").error_lines
    (word,) = typed(line, "a list is in brackets: ")
    assert composed(word)["model"]["filters"] == [8, 16]
    (line,) = command("data=mnist,cifar10").error_lines
    assert line.endswith("several values are for -m: -m data=mnist,cifar10"), "a list of datasets is none"
    (line,) = command("seed=range(3)").error_lines
    assert line.endswith("several values are for -m: -m 'seed=range(3)'")


def test_words_that_a_shell_split_are_put_together_and_quoted(command):
    (line,) = command("run_name=my", "run", "(x)").error_lines
    (word,) = typed(line, "quote both: ")
    assert composed(word)["run_name"] == "my run (x)"


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("seed=a=b", "seed: got 'a=b': should be a whole number"),
        ("run_id=a=b", "run_id: got 'a=b': takes one word of"),
        ("data.scaling=a=b", "should be 'auto'"),
        ("neuron=a=b", "neuron: got 'a=b': a config group takes one of its options: integrate_and_fire, lif,"),
    ],
)
def test_no_quotes_are_advised_where_they_would_not_help(command, word, says):
    (line,) = command(word).error_lines
    assert says in line
    assert "quoted twice" not in line


def test_a_password_is_no_part_of_what_is_quoted(command):
    (line,) = command("logger.tracking_uri=postgresql://me:gehe1m@h/db?sslmode=require", STOP).error_lines[:1]
    assert "gehe1m" not in line and "SNNPIPE_PASSWORD" not in line
    assert typed(line, "quoted twice: ") == ['logger.tracking_uri="postgresql://me:***@h/db?sslmode=require"']


def test_an_experiment_of_ones_own_with_a_sign_in_its_name(command, tmp_path):
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    (tmp_path / "conf" / "experiment" / "lr=1.yaml").write_text("# @package _global_\nseed: 7\n")
    folder = ("--config-dir", str(tmp_path / "conf"))
    (line,) = command("experiment=lr=1", *folder).error_lines
    shown = command(*typed(line, "quoted twice: "), *folder, "--cfg", "job")
    assert "seed: 7" in shown.out


@pytest.mark.slow
@pytest.mark.parametrize("text", ["\\", '\\"', "\\\\${x}", '${x}"', "a\\b", "$", "$$ {", "'\"'", "}{", "\\\\"])
def test_every_text_comes_back_from_its_override(text):
    assert composed(as_text("run_name", text))["run_name"] == text


def test_numbers_in_place_of_texts_say_how_to_type_each_as_a_text(capsys):
    problem = "data.class_names: got [0, 1]: should be text, or null"
    report(ConfigError(problem), ["data.class_names=[0, 1]"])
    cure = "\"data.class_names=['0','1']\""
    assert capsys.readouterr().err.strip() == f"snnpipe: error: {problem}, as in {cure}"
    assert OverridesParser.create().parse_override(shlex.split(cure)[0]).value() == ["0", "1"]
