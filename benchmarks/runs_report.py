"""Writes docs/benchmarks_runs.md from the figures that grid.py, run_cost.py and log_cost.py have kept."""

import json
import re
from statistics import median

CLOCKS = {"wall": 0, "cpu": 1}
TITLES = ("## Sixteen conversions of one training", "## Where the time of a short run goes", "## Logging")
BEFORE = ("importing mlflow", "opening the store and the run")
HEAD = """# What many runs, artifacts and logging cost

Made by `grid.py`, `run_cost.py` and `log_cost.py` in `benchmarks/`; no figure in its tables was typed by hand.
"""
LOGGING = """## Logging

The loggers are the default ones, MLflow and CSV, each behind a proxy that times its methods within the run: by wall
clock, and by the CPU clock of the run's thread, which other processes do not disturb. A share is of the whole command's
time, from its start to its end, importing TensorFlow included. Each run is a process of its own and trains. *First* is
the run that creates the store; the others are medians of the runs after it. The server and PostgreSQL run on the same
cores as the runs, and their CPU time is not in the CPU columns. Other processes used the machine at the same time:
the wall clock shows it.

Most of the CPU time is importing MLflow and, without a server, opening the store. It is paid once, however long the run
is: much of a run of seconds, little of one of minutes. What is logged after that is the column *after opening*.
"""


def write(store, docs):
    """Write the page from the JSON files in ``store``; a section without figures there stays as it is."""
    page = docs / "benchmarks_runs.md"
    kept = re.split(r"^(?=## )", page.read_text(), flags=re.MULTILINE)[1:] if page.exists() else []
    new = {}
    for name, section in (("grid", _grid), ("run_cost", _run_cost)):
        if (store / f"{name}.json").exists():
            lines = section(json.loads((store / f"{name}.json").read_text()))
            new[lines[0]] = "\n".join(lines) + "\n"
    if logging := sorted(store.glob("logging_*.json")):
        lines = [LOGGING]
        for path in logging:
            found = json.loads(path.read_text())
            lines += _shares(path.stem.removeprefix("logging_"), found) + _parts(found["found"])
        new["## Logging"] = "\n".join(lines) + "\n"
    sections = {text.partition("\n")[0]: text for text in kept} | new
    in_order = [sections[title] for title in TITLES if title in sections]
    page.write_text("\n".join([HEAD, *in_order]).replace("\n\n\n", "\n\n").rstrip() + "\n")


def _grid(found):
    """Return the section of a grid of conversions beside its parts."""
    evaluations = found["evaluations"]
    clocks = ("wall", "cpu")
    summed = {clock: sum(one[clock] for one in evaluations) for clock in clocks}
    together = {c: found["training"][c] + summed[c] for c in clocks}
    shortest, longest = (f(one["wall"] for one in evaluations) for f in (min, max))

    def row(name, seconds):
        return _row(name, *(f"{seconds[clock]:.1f}" for clock in clocks))

    more = (f"{found['grid'][c]:.1f} ({100 * (found['grid'][c] / together[c] - 1):+.1f} %)" for c in clocks)
    return [
        TITLES[0],
        "",
        "```sh",
        f"python -m snnpipe -m {' '.join(found['command'])}",
        "```",
        "",
        f"ran {found['jobs']} jobs with {found['trainings']} training, on all 10,000 test images each. The grid is the",
        "whole command, with its default loggers and callbacks. Its parts are timed within it: the fit of the first",
        "job, and what each of the sixteen takes beside it: to find the training, to test the ANN, to convert, to",
        "simulate, and to write and log all that a run leaves. CPU seconds are of all threads. Other processes used",
        "the machine at the same time: the clock's seconds are long, and so are those of whole and parts alike.",
        f"Measured {found['measured']} on {found['machine']}.",
        "",
        _row("", "wall, s", "CPU, s"),
        _row("---", "---", "---"),
        row("one training", found["training"]),
        row(f"sixteen evaluations ({shortest:.1f} to {longest:.1f} s each)", summed),
        row("parts together", together),
        _row("**the grid**", *(f"**{cell}**" for cell in more)),
        "",
        "What the grid does beside its parts: importing TensorFlow, building each job's parts and plan, opening and",
        "closing its run, and the table.",
        "",
    ]


def _run_cost(found):
    """Return the section of the parts of a short run."""
    rounds = found["rounds"]
    whole = median(one["whole"] for one in rounds)
    names = list(dict.fromkeys(name for one in rounds for name in one["parts"]))
    seconds = {name: median(one["parts"].get(name, 0.0) for one in rounds) for name in names}
    seconds["starting and ending Python"] = whole - sum(seconds.values())
    return [
        TITLES[1],
        "",
        f"`python -m snnpipe` with its training reused, by wall clock on all cores: medians of {len(rounds)} runs,",
        "each a process of its own. Pictures are drawn in two processes beside it. Each moment counts for the",
        "innermost part that is running.",
        f"Measured {found['measured']} on {found['machine']}.",
        "",
        _row("", "seconds", "share"),
        _row("---", "---", "---"),
        *(_row(name, f"{own:.2f}", f"{100 * own / whole:.0f} %") for name, own in seconds.items()),
        _row("**the run**", f"**{whole:.2f}**", ""),
        "",
    ]


def _row(*cells):
    return "| " + " | ".join(cells) + " |"


def _spent(run, clock, leave_out=()):
    return sum(own[CLOCKS[clock]] for part, own in run["parts"].items() if part not in leave_out)


def _share(run, clock, leave_out=()):
    return _spent(run, clock, leave_out) / run[clock]


def _shares(name, section):
    command = {"digits": "`python -m snnpipe`", "MNIST": "`data=mnist model=cnn2d training.epochs=2`"}[name]
    lines = [
        f"### {name}",
        "",
        f"{command}: all test images. Measured {section['measured']} on {section['machine']}.",
        "",
        _row(
            *("store", "", "whole command, s", "its CPU s", "logging, s", "its CPU s"),
            *("share of wall", "share of CPU", "share of CPU after opening", "runs", "requests a run"),
        ),
        _row(*["---"] * 11),
    ]
    for store, found in section["found"].items():
        for label, runs in (("first", found["runs"][:1]), ("later", found["runs"][1:])):

            def middle(of, runs=runs):
                return median(of(run) for run in runs)

            lines.append(
                _row(
                    store,
                    label,
                    *(f"{middle(lambda run, c=clock: run[c]):.1f}" for clock in CLOCKS),
                    *(f"{middle(lambda run, c=clock: _spent(run, c)):.2f}" for clock in CLOCKS),
                    *(f"{100 * middle(lambda run, c=clock: _share(run, c)):.1f} %" for clock in CLOCKS),
                    f"{100 * middle(lambda run: _share(run, 'cpu', BEFORE)):.1f} %",
                    str(len(runs)),
                    str(found["requests"] or "-"),
                )
            )
    return [*lines, ""]


def _parts(found):
    names = list(dict.fromkeys(part for store in found.values() for run in store["runs"] for part in run["parts"]))
    lines = [
        "Where it goes: seconds by wall clock and, in brackets, of CPU, medians of the later runs.",
        "",
        _row("", *found),
        _row(*["---"] * (len(found) + 1)),
    ]
    for name in names:
        cells = []
        for store in found.values():
            wall, cpu = (median(run["parts"][name][clock] for run in store["runs"][1:]) for clock in (0, 1))
            cells.append(f"{wall:.2f} ({cpu:.2f})")
        lines.append(_row(name, *cells))
    return [*lines, ""]
