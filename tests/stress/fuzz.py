"""Bad input and damaged files by the thousand: ``python -m tests.stress.fuzz --inputs 10000``.

Ends with a table of what was tried. A failure ends it at once, with what was given. Bounded by ``--inputs`` and
``--seconds``; the same ``--seed`` tries the same.
"""

import argparse
import contextlib
import io
import json
import os
import random
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import bad_input
from command_lines import FILES, MULTIRUNS, OPTIONS, STOP, TOGETHER, WRONG, complaint, random_override, write_files
from damage import trials
from domains import values
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from hypothesis import strategies as st

SHARES = {"values": 0.5, "sweepers and launchers": 0.1, "structure": 0.15, "files": 0.2, "command lines": 0.05}
PROGRAM = """
import atexit, json, sys
atexit.register(lambda: open({trace!r}, "w").write(json.dumps("tensorflow" in sys.modules)))
from snnpipe.commands.main import main
main()
"""


def properties(keys: list, attempt: Callable[..., bool], seed: int, count: int) -> Iterator[bool]:
    """Give keys values, drawn by Hypothesis; returns whether each was refused."""
    refused: list[bool] = []

    @hypothesis_seed(seed)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def run(data):
        where, key, domain = data.draw(st.sampled_from(keys))
        refused.append(attempt(where, key, domain, data.draw(values(domain))))

    run()
    return iter(refused)


def structures(rng: random.Random, count: int) -> Iterator[bool]:
    for _ in range(count):
        bad_input.try_structure(rng)
        yield True


def files(folder: Path, seed: int, count: int) -> Iterator[bool]:
    refused = 0
    for counts in trials(folder, count, seed):
        now = sum(n for (_, _, ended), n in counts.items() if ended == "refused")
        yield now > refused
        refused = now


def command_lines(rng: random.Random, count: int) -> Iterator[bool]:
    """Compose and check command lines in this process, as ``python -m snnpipe`` does."""
    from hydra.core.global_hydra import GlobalHydra

    from snnpipe.commands.main import main

    for _ in range(count):
        override, key = random_override(rng)
        out, err, code = io.StringIO(), io.StringIO(), 0
        sys.argv = ["snnpipe", override, STOP]
        GlobalHydra.instance().clear()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
        passed = err.getvalue().count("\n") == 1 and "error: training.epochs: " in err.getvalue()
        wrong = complaint(code, out.getvalue(), err.getvalue(), "" if passed else key.partition(".")[0])
        assert not wrong, f"{override!r}: {wrong}"
        yield not passed


def processes(folder: Path, rng: random.Random, count: int) -> Iterator[tuple[float, bool, str]]:
    """Run command lines as processes; yields CPU seconds, whether TensorFlow was imported, and the words of each."""
    write_files(folder / "conf")
    cases: list[tuple[list[str], str]] = [([word, STOP], key) for word, key in WRONG if len(word) < 100_000]
    cases = [(words, key) for words, key in cases if "\udcff" not in words[0]]  # no argument of a process
    cases += [(list(words), key) for words, key in (OPTIONS | TOGETHER).items()]
    cases += [(["-m", *words, "logger=csv"], key) for words, key in MULTIRUNS.items()]
    cases += [(["--config-dir", str(folder / "conf"), f"model={name}", STOP], "") for name in FILES]
    trace = folder / "trace"
    for words, key in rng.sample(cases, min(count, len(cases))):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(trace=str(trace)), *words],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        wrong = complaint(done.returncode, done.stdout, done.stderr, key)
        assert not wrong, f"{words}: {wrong}"
        yield (
            after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            json.loads(trace.read_text()),
            shlex.join(words),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="bad input and damaged files tried in this process")
    parser.add_argument("--processes", type=int, default=30, help="command lines tried as processes of their own")
    parser.add_argument("--seconds", type=float, default=900, help="after which nothing new is begun")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    began, rng = time.monotonic(), random.Random(asked.seed)
    os.environ["HYDRA_FULL_ERROR"] = "1"
    with tempfile.TemporaryDirectory(prefix="snnpipe-fuzz-") as name:
        folder = Path(name)
        os.chdir(folder)
        counts = {kind: round(share * asked.inputs) for kind, share in SHARES.items()}
        kinds: dict[str, Callable[[], Iterator[bool]]] = {
            "values": lambda: properties(bad_input.all_keys(), bad_input.try_value, asked.seed, counts["values"]),
            "sweepers and launchers": lambda: properties(
                bad_input.engine_keys(), bad_input.try_engine_value, asked.seed, counts["sweepers and launchers"]
            ),
            "structure": lambda: structures(rng, counts["structure"]),
            "files": lambda: files(folder / "files", asked.seed, counts["files"]),
            "command lines": lambda: command_lines(rng, counts["command lines"]),
        }
        print(f"{'tried':<24}{'inputs':>9}{'refused':>9}{'passed':>9}{'CPU s':>9}")
        total: Counter[bool] = Counter()
        for kind, tried in kinds.items():
            start, found = time.process_time(), Counter[bool]()
            for refused in tried():
                found[refused] += 1
                if time.monotonic() - began > asked.seconds:
                    break
            total += found
            seconds = time.process_time() - start
            print(f"{kind:<24}{found.total():>9}{found[True]:>9}{found[False]:>9}{seconds:>9.1f}", flush=True)
        print(f"{'all':<24}{total.total():>9}{total[True]:>9}{total[False]:>9}")
        took = list(processes(folder, rng, asked.processes))
        if took:
            heavy = sum(imported for _, imported, _ in took)
            mean = sum(seconds for seconds, _, _ in took) / len(took)
            print(f"{len(took)} processes: {mean:.2f} s of CPU each; {heavy} imported TensorFlow")
            for seconds, _, words in sorted(took, reverse=True)[:3]:
                print(f"  {seconds:.2f} s  {words[:80]}")
            assert not heavy, "TensorFlow was imported to find out that the command line was wrong"


if __name__ == "__main__":
    main()
