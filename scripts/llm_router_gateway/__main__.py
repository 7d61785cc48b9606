"""`python3 scripts/llm_router_gateway` and the console script: check the Python, then hand over to the command line.

This file alone stays readable to any Python 3, so that an old one answers with a sentence and not a syntax error.
"""

import os
import sys

OLDEST = (3, 11)


def main(argv=None):  # type: ignore[no-untyped-def]  # readable to any Python 3
    """The exit code of one command line; see `commands.main`."""
    if sys.version_info < OLDEST:
        sys.stderr.write(
            "llm-router-gateway needs Python {}.{} or newer; this is {}.{} ({}). The client file runs on 3.9.\n".format(
                *OLDEST, *sys.version_info[:2], sys.executable
            )
        )
        return 2
    from llm_router_gateway.commands.main import main as run

    return run(argv)


if __name__ == "__main__":
    # Run as a folder, its own path comes first: then `import log` of any library would find ours.
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != here]
    sys.path.insert(0, os.path.dirname(here))
    sys.exit(main())  # type: ignore[no-untyped-call]
