"""A webhook when a key has used up a part of its budget: decided at each call's end, sent in the background.

    alerts = SpendAlerts(config.alerts, pool, key_of, budgets, wall=time.time, warn=log.warn)
    alerts.observe(call)          at once; never waits, never raises
    await alerts.run()            until it is cancelled

The body, of a key named `ci` with 5 dollars a day:

    {"event": "budget.threshold", "id": "key_1:budget:usd_per_day:2026-11-29:80", "at": "2026-11-29T10:00:00Z",
     "key": {"id": "key_1", "name": "ci", "owner": ""}, "kind": "budget", "limit": "usd_per_day", "most": 5.0, "share": 0.8,
     "spent": 4.1, "resets_at": "2026-11-30T00:00:00Z", "text": "ci has used 82 % of 5 USD a day"}

`text` makes it one for chat programs. `id` is the same from every gateway that sees the same crossing. It holds no secret and
nothing of the calls. A request is tried again with growing pauses; what still fails is logged and given up.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from ..config.alerts import Alerts
from ..config.keys import Key
from ..errors import GatewayError
from ..net.client import Pool, Timeouts
from ..policy.budgets import LIMITS, Budget, Budgets, Crossing, amounts_of, crossings, day_of, next_start, since_reset, utc_text
from ..store.call import Call

PAUSES_S = (1.0, 5.0, 25.0)  # between attempts
TIMEOUTS = Timeouts(5.0, 10.0, 10.0)
MAX_WAITING = 1_000  # above it the oldest are dropped: they are no news any more
MAX_ANSWER_BYTES = 65_536
MAX_SENT = 10_000  # ids that are remembered
EXHAUSTED = "budget_used_up"  # the code of a call that a budget refused
WHOLE = 1.0
NEARLY = 0.9  # used up so far, a refusal is not for what calls in progress have on hold
WORDS = {"usd": "USD", "tokens": "tokens"}


def body_of(key: Key, kind: str, crossing: Crossing, now: float) -> dict[str, Any]:
    """What the webhook is sent. Pure."""
    unit, _, span = crossing.limit.partition("_per_")
    period = day_of(now) if span == "day" else day_of(now)[:7]
    again = f":{key.reset.at:.0f}" if key.reset is not None else ""  # after a reset each part is news once more
    soft = " (soft budget)" if kind == "soft_budget" else ""
    used = f"{100 * crossing.spent / crossing.most:.0f} %"
    refused = ", and the rest was too little for a call" if crossing.share >= WHOLE and crossing.spent < crossing.most else ""
    return {
        "event": "budget.threshold",
        "id": f"{key.id}:{kind}:{crossing.limit}:{period}:{crossing.share * 100:g}{again}",
        "at": utc_text(now), "key": {"id": key.id, "name": key.name, "owner": key.owner}, "kind": kind,
        "limit": crossing.limit, "most": crossing.most, "share": crossing.share, "spent": round(crossing.spent, 9),
        "resets_at": utc_text(next_start(span, now)),
        "text": f"{key.name} has used {used} of {crossing.most:.12g} {WORDS[unit]} a {span}{soft}{refused}",
    }  # fmt: skip


def most_used(budget: Budget | None, spent: Mapping[str, float]) -> list[Crossing]:
    """The limit that is used up furthest, as the whole of it; none where much is left."""
    limits = [(name, getattr(budget, name)) for name in LIMITS] if budget is not None else []
    known = [(spent[name] / most, name, most) for name, most in limits if most]
    return [Crossing(name, most, WHOLE, spent[name]) for share, name, most in sorted(known)[-1:] if share >= NEARLY]


class SpendAlerts:
    """Of one process that keeps the budgets. `key_of` finds a key by its id."""

    def __init__(
        self, settings: Alerts, pool: Pool, key_of: Callable[[str], Key | None], budgets: Budgets, *,
        wall: Callable[[], float], warn: Callable[[str], None], pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:  # fmt: skip
        self._settings, self._pool, self._key_of, self._budgets = settings, pool, key_of, budgets
        self._wall, self._warn, self._pause = wall, warn, pause
        self._seen: dict[str, tuple[str, dict[str, float]]] = {}  # key -> (day, what it had spent at the last look)
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING)
        self._woken = asyncio.Event()
        self._sent: set[str] = set()  # ids
        self._is_failing = False

    def observe(self, call: Call) -> None:
        """One call that has ended and is booked."""
        key = self._key_of(call.key_id) if call.key_id else None
        if key is None or not (key.budget or key.soft_budget):
            return
        now = self._wall()
        after, day = amounts_of(since_reset(self._budgets.spent(key.id, now), key.reset, now)), day_of(now)
        before = self._before(call, after, day)
        self._seen[key.id] = day, after
        for kind, budget in (("budget", key.budget), ("soft_budget", key.soft_budget)):
            found = crossings(budget, before, after, self._settings.at)
            if kind == "budget" and call.error == EXHAUSTED and not call.attempts and WHOLE in self._settings.at:
                found += most_used(budget, after)  # what is left is too little for a call: that is all of it
            for crossing in found:
                self._add(body_of(key, kind, crossing, now))

    def _add(self, body: dict[str, Any]) -> None:
        """Each crossing once."""
        if body["id"] in self._sent:
            return
        if len(self._sent) >= MAX_SENT:
            self._sent.clear()
        self._sent.add(body["id"])
        self._waiting.append(body)
        self._woken.set()

    def _before(self, call: Call, after: Mapping[str, float], day: str) -> dict[str, float]:
        """At the last look; of a key that is seen for the first time since the start, or in a new day, without this call."""
        seen_on, seen = self._seen.get(call.key_id, ("", {}))
        if seen_on == day:
            return seen
        own = {"usd": call.cost_usd or 0.0, "tokens": float((call.input_tokens or 0) + (call.output_tokens or 0))}
        return {name: max(0.0, amount - own[name.partition("_")[0]]) for name, amount in after.items()}

    async def run(self) -> None:
        while True:
            await self._woken.wait()
            self._woken.clear()
            while self._waiting:
                await self.send(self._waiting.popleft())

    async def send(self, body: Mapping[str, Any]) -> bool:
        """Whether it was taken."""
        secrets = {name: value.reveal() for name, value in self._settings.headers.items()}
        headers = [*{"content-type": "application/json", "user-agent": "llm-router", **secrets}.items()]
        data, why = json.dumps(body).encode(), ""
        for pause_s in (0.0, *PAUSES_S):
            if pause_s:
                await self._pause(pause_s)
            why = await self._post(headers, data)
            if not why:
                if self._is_failing:
                    self._warn("alerts: the webhook accepts them again")
                self._is_failing = False
                return True
        if not self._is_failing:
            self._warn(f"alerts: the webhook does not accept them: {why}. Lost: {body['text']}")
        self._is_failing = True
        return False

    async def _post(self, headers: list[tuple[str, str]], data: bytes) -> str:
        """ "" or what went wrong, without the address."""
        settings = self._settings
        try:
            response = await self._pool.request(
                "POST", settings.webhook.reveal(), headers, data, timeouts=TIMEOUTS, proxy=settings.proxy
            )
            try:
                await response.read(MAX_ANSWER_BYTES)
            finally:
                response.close()
        except GatewayError as error:
            return error.message
        return "" if 200 <= response.status < 300 else f"status {response.status}"
