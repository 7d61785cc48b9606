"""Runs every benchmark and prints one Markdown table; exit code 1 where a limit is missed.

    python3 tests/bench/run.py              all of them
    python3 tests/bench/run.py cold stream  some

The peers come from PyPI into an environment in a temporary directory, which is removed at the end. Both sides run on its
Python, made from the one that runs this: elsewhere .pth files of other packages may slow every start.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from measure import HEADING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional, Sequence

HERE = Path(__file__).resolve().parent
CLAIMS = ("cold", "sequence", "stream", "compare")
PEERS = ("openai", "requests")
VERSIONS = f"import importlib.metadata as m; print(', '.join(f'{{p}} {{m.version(p)}}' for p in {PEERS}))"
TIMEOUT_S = 900  # one script; it hangs if it takes longer


def peer_python(directory: str) -> str:
    """Make an environment with the peers, and without pip and setuptools; its interpreter."""
    builder = venv.EnvBuilder(with_pip=False, symlinks=True)
    builder.create(directory)
    python = str(Path(directory, "bin", "python"))
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", *PEERS]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"the peers could not be installed (this needs pip 22.3 or newer):\n{done.stderr[-2000:]}")
    return python


def rows_of(python: str, claim: str) -> List[str]:
    """Run one script; the lines of its table without the heading. A script that breaks ends everything."""
    command = [python, "-B", str(HERE / f"{claim}.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    if not done.stdout.startswith(HEADING):
        raise SystemExit(f"{claim}.py broke:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout.splitlines()[len(HEADING.splitlines()) :]


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Make the environment, run the scripts, print their rows as they come."""
    claims = list(sys.argv[1:] if argv is None else argv) or list(CLAIMS)
    if set(claims) - set(CLAIMS):
        print(f"usage: run.py [{'] ['.join(CLAIMS)}]", file=sys.stderr)
        return 2
    missed = False
    with tempfile.TemporaryDirectory(prefix="llm-router-peers-") as directory:
        python = peer_python(directory)
        versions = subprocess.run([python, "-c", VERSIONS], capture_output=True, text=True, check=True).stdout.strip()
        print(HEADING, flush=True)
        for claim in claims:
            for row in rows_of(python, claim):
                print(row, flush=True)
                missed = missed or row.endswith("| **no** |")
    print(f"\nPython {sys.version.split()[0]}, {versions}.")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
