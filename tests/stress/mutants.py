"""Change the equations, what counts, and the fingerprint in a thousand small ways, and list what no test notices.

    make mutants                       # or, with requirements/mutants.txt installed: python -m tests.stress.mutants

mutmut makes the changes and tests them, as ``tool.mutmut`` in pyproject.toml says. What it has found stands in the
folder ``mutants``, and a run that was stopped goes on there; without that folder it begins anew. Ends with a table, and
each change that passed all tests. docs/mutants.md explains those that are left.
"""

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from mutmut.stats import status_by_exit_code

KINDS = ("killed", "survived", "timeout", "not checked")
MUTANTS = Path("mutants")


def shown(mutant: str) -> str:
    """The lines that a mutant changes."""
    show = [sys.executable, "-m", "mutmut", "show", mutant]
    diff = subprocess.run(show, check=True, capture_output=True, text=True).stdout.splitlines()
    return "\n".join(line for line in diff if line[:1] in "-+" and line[:3] not in ("---", "+++"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mutants", nargs="*", help="names or shell patterns, to test again (else: all not yet tested)")
    parser.add_argument("--jobs", type=int, default=1, help="mutants tested at once")
    asked = parser.parse_args()
    began = time.monotonic()
    run = [sys.executable, "-m", "mutmut", "run", "--max-children", str(asked.jobs), *asked.mutants]
    code = subprocess.run(run, check=False).returncode
    passed, total = [], Counter[str]()
    print(f"\n{'module':<32}{'mutants':>12}" + "".join(f"{kind:>12}" for kind in (*KINDS, "other")))
    for path in sorted(MUTANTS.rglob("*.meta")):
        codes = json.loads(path.read_text())["exit_code_by_key"]
        found = Counter(status_by_exit_code[code] for code in codes.values())
        if codes:
            print(line(str(path.relative_to(MUTANTS / "src/snnpipe").with_suffix("")), found))
        total += found
        passed += [name for name, code in codes.items() if status_by_exit_code[code] not in ("killed", "not checked")]
    print(line("all", total))
    print(f"in {time.monotonic() - began:.0f} s")
    for name in passed:
        print(f"\n{name}\n{shown(name)}")
    sys.exit(code)


def line(name: str, found: Counter[str]) -> str:
    counts = [found[kind] for kind in KINDS]
    return f"{name:<32}" + "".join(f"{n:>12}" for n in (found.total(), *counts, found.total() - sum(counts)))


if __name__ == "__main__":
    main()
