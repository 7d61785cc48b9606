"""What calls cost: the budget of a client (max_cost_usd), and the log of its calls without their texts."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

from llm_router_client import (
    AUTO,
    SafetyError,
    UsageError,
    as_dict,
    clean,
    is_amount,
    own_file,
    setting,
    usd,
)

from .cache import seconds_in
from .collaborator import Collaborator
from .database import in_file, try_in_file
from .pricing import attempt_usd, price_of, token_counts

if TYPE_CHECKING:
    from llm_router_client import Attempt, Call, Console, Turns

GROUPS = ("model", "day", "session")  # what `usage --by` sums up by
USAGE_PUT = "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
USAGE_GET = (  # by what, since when; "total" sums up all
    "SELECT CASE ? WHEN 'model' THEN model WHEN 'day' THEN date(at, 'unixepoch') WHEN 'session' THEN session ELSE 'total' END "
    "AS name, COUNT(*), COUNT(NULLIF(outcome, 'ok')), TOTAL(cached), TOTAL(prompt_tokens), TOTAL(completion_tokens), "
    "TOTAL(cost), TOTAL(CASE cost_source WHEN 'estimated' THEN cost END), COUNT(*) - COUNT(cost), AVG(latency_s) "
    "FROM calls WHERE at >= ? GROUP BY name ORDER BY name"
)
USAGE_SUMS = (
    "calls", "failed", "cached", "prompt_tokens", "completion_tokens", "cost", "estimated", "cost_unknown",
    "latency_s",
)  # fmt: skip


def usage_file() -> str:
    named = setting("LLM_ROUTER_USAGE_LOG")
    return own_file("" if named in ("0", "1") else named, "XDG_STATE_HOME", ".local/state", "usage.sqlite")


class Budget:
    """At most `most` USD for all calls of a client: reserve() before an attempt, settle() when it is known what it cost."""

    def __init__(self, most: float) -> None:
        if not is_amount(most) or most >= 1e9:
            raise UsageError("--max-cost (max_cost_usd) is a number of US dollars from 0 to less than 1,000,000,000")
        self.most, self.spent, self.reserved = most, 0.0, 0.0
        self._changed = threading.Condition()

    def _allows(self, cost: float) -> bool:
        return self.spent + cost <= self.most + 1e-9  # sums of decimal fractions are not exact

    def reserve(self, cost: float, wait_s: float) -> None:
        """Set a cost aside; waits for what other attempts set aside, as most of it comes back. SafetyError: too much."""
        with self._changed:
            self._changed.wait_for(lambda: self._allows(self.reserved + cost) or not self._allows(cost), wait_s)
            if not self._allows(self.reserved + cost):
                spent = f"${self.spent + self.reserved:.6f} of ${self.most:g} is spent or reserved"
                raise SafetyError(f"the request may cost about ${cost:.6f}, and {spent}", code="over_budget")
            self.reserved += cost

    def settle(self, reserved: float, cost: float) -> None:
        with self._changed:
            self.reserved, self.spent = self.reserved - reserved, self.spent + cost
            self._changed.notify_all()


class BudgetGuard(Collaborator):
    """Sets aside what each attempt of a call may cost; SafetyError (over_budget) where that is more than what is left."""

    def __init__(self, call: Call, budget: Budget) -> None:
        self.budget = budget
        self._reserved: float | None = None  # for the attempt underway
        for model in call.models:
            if call.choice is None or model != AUTO:
                price_of(call.client, model)  # SafetyError if there is none

    def before(self, attempt: Attempt) -> None:
        call = attempt.call
        cost = attempt_usd(attempt.body, as_dict(price_of(call.client, attempt.model)))
        self.budget.reserve(cost, max(0.0, call.left_s()))
        self._reserved = cost

    def after(self, attempt: Attempt) -> None:
        cost = attempt.answer.cost if attempt.answer is not None else None
        billed = attempt.error is None or attempt.call.handed_over or attempt.error.maybe_billed
        self._settle(cost, billed)

    def done(self, call: Call) -> None:
        self._settle(None, True)  # the caller left it

    def _settle(self, cost: Any, billed: bool) -> None:
        """If the cost of a billed attempt is unknown, its whole reserve counts as spent."""
        if self._reserved is not None:
            spent = cost if is_amount(cost) else self._reserved if billed else 0.0
            self.budget.settle(self._reserved, spent)
            self._reserved = None


class UsageLog(Collaborator):
    """One row for each call: model, outcome, tokens and cost."""

    def __init__(self, path: str) -> None:
        self.path = path

    def done(self, call: Call) -> None:
        client, answer = call.client, call.last
        counts = token_counts(answer.usage) if answer is not None and not answer.cached else None
        cost = answer.cost if answer is not None and is_amount(answer.cost) else None if call.attempts else 0.0
        values = (
            round(client.transport.unix(), 3), call.model_used, client.endpoint.host, client.session or None, call.outcome,
            answer is not None and answer.cached, len(call.attempts),
            counts and counts.total_input, counts and counts.output, cost,
            answer.cost_source if answer is not None else None, call.seconds(),
        )  # fmt: skip
        try_in_file(call, self.path, USAGE_PUT, *values)


def sums_of(path: str, by: str, since: float) -> Turns:
    """One row for each model, day or session with its USAGE_SUMS, and at last the total; none where there is no log."""
    rows = []
    for grouped_by in (by, "total") if os.path.exists(path) else ():
        for name, *sums in in_file(path, USAGE_GET, grouped_by, since):
            numbers = [int(number) if number == int(number) else round(number, 8) for number in sums]
            rows.append({by: name or "none", **dict(zip(USAGE_SUMS, numbers))})
    return rows


def show_table(rows: Turns, by: str, as_csv: bool, console: Console) -> None:
    cells = [[by, *USAGE_SUMS], *([" ".join(clean(usd(value)).split()) for value in row.values()] for row in rows)]
    widths = [0 if as_csv else max(map(len, column)) for column in zip(*cells)]
    for line in cells:
        quoted = ['"' + cell.replace('"', '""') + '"' if as_csv and set(cell) & set(',"') else cell for cell in line]
        console.out(("," if as_csv else "  ").join(map(str.ljust, quoted, widths)).rstrip() + "\n")


def add_arguments(parser: Any) -> None:
    """Options of the command `usage`, for an argparse parser."""
    parser.add_argument("--by", metavar="NAME", help="model (default), day or session")
    parser.add_argument("--since", metavar="AGE", help="only calls not older than 24h, 7d")
    parser.add_argument("--csv", action="store_true", help="as CSV")
    parser.add_argument("--json", action="store_true", help="one JSON object")


def run(args: Any, console: Console) -> int:
    """The command `usage`: sums of the log by model, day or session, as a table, CSV or JSON."""
    by, path = args.by or "model", usage_file()
    if by not in GROUPS or (args.json and args.csv):
        raise UsageError("usage takes --by model, day or session, and --json or --csv, not both")
    rows = sums_of(path, by, 0.0 if args.since is None else time.time() - seconds_in(args.since, "--since"))
    if args.json:
        total = rows.pop() if rows else None
        console.result({"ok": True, "by": by, "file": path, "rows": rows, "total": total, "error": None})
        return 0
    show_table(rows, by, args.csv, console)
    if not rows:
        what = f"no calls of the last {args.since}" if args.since else "no calls"
        console.note(f"{path} holds {what}; LLM_ROUTER_USAGE_LOG=1, or --usage-log in a command that asks, records them")
    return 0
