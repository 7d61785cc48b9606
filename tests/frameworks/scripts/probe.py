"""What every script here shares: where the gateway is, what is asked of it, and how the outcome is printed.

report(chat=lambda: ..., tools=run_the_tools)  -> one line of JSON: {"chat": "the text", "tools": {"raised": [...]}}
"""

import asyncio
import inspect
import json
import os

URL, KEY, UPSTREAM = (os.environ[f"GATEWAY_{name}"] for name in ("URL", "KEY", "UPSTREAM"))
CHAT, TOOLS, LIMITED, TOO_LONG, THINKING = (f"{kind}-{UPSTREAM}" for kind in ("chat", "tools", "limited", "long", "thinking"))
HELLO = "Hello"


def add(first: int, second: int) -> str:
    """Add two numbers.

    Args:
        first: The first number.
        second: The second number.
    """
    return f"sum {first + second}"


ADD_SCHEMA = {
    "type": "object",
    "properties": {"first": {"type": "integer"}, "second": {"type": "integer"}},
    "required": ["first", "second"],
    "additionalProperties": False,
}


def outcome(step, runner):
    try:
        result = step()
        return runner.run(result) if inspect.iscoroutine(result) else result
    except BaseException as error:  # SystemExit too: it is an outcome like others
        return {"raised": names_of(error), "message": str(error)[:500]}


def names_of(error):
    """The classes of an error and of what caused it, without the roots that all errors share."""
    names = []
    while error is not None and len(names) < 20:
        names += [each.__name__ for each in type(error).__mro__ if each not in (BaseException, Exception, object)]
        error = error.__cause__
    return names


def report(**steps):
    with asyncio.Runner() as runner:  # one loop, as a program has: shared HTTP clients do not survive theirs
        print("\n" + json.dumps({name: outcome(step, runner) for name, step in steps.items()}))
