"""What a worker hands to the home: each record once, in order, again when it was not acknowledged, and none without a count."""

import asyncio
from typing import Any

from storing import call

from llm_router_gateway.cluster import worker
from llm_router_gateway.cluster.worker import Outbox
from llm_router_gateway.errors import GatewayError
from llm_router_gateway.net.frames import FrameTooLarge
from llm_router_gateway.net.link import LinkLost
from llm_router_gateway.store.redaction import Bodies

LONG = 1_000  # characters of lines that no message takes


class Home:
    """A link whose other side does as it is told: for each batch "take", "silent" (no answer), "large",
    "fails" or "gone"."""

    def __init__(self, *script: str) -> None:
        self.script = list(script)
        self.batches: list[tuple[int, list[Any], list[str], dict[str, float]]] = []
        self.is_lost, self.refused = False, 0

    async def call(self, name: str, number: int, calls: list[Any], lines: list[str], used: dict[str, float]) -> bool:
        what = self.script.pop(0) if self.script else "take"
        if what == "fails":
            raise GatewayError("another process of the gateway failed; its log has the reason")
        if what == "large" or sum(map(len, lines)) > LONG:
            self.refused += 1
            assert self.refused < 5, "the same is offered without end"
            raise FrameTooLarge("too large")
        if what == "gone":
            self.is_lost = True
            raise LinkLost("gone")
        self.batches.append((number, calls, lines, used))
        if what == "silent":
            raise LinkLost("no answer")
        return True


def flushed(home: Home, *ids: str, used: dict[str, float] | None = None) -> tuple[int, Outbox]:
    async def run() -> tuple[int, Outbox]:
        uses = [used or {}]
        outbox = Outbox(home, lambda: uses.pop() if uses else {})  # type: ignore[arg-type]
        for each in ids:
            outbox.add(call(request_id=each), Bodies(b"x", None, 100))
        outbox.add_lines(["a line\n"])
        return await outbox.flush(), outbox

    return asyncio.run(run())


def ids_of(batch: tuple[int, list[Any], list[str], dict[str, float]]) -> list[str]:
    return [fields[0] for fields, _ in batch[1]]


def test_records_lines_and_uses_go_together() -> None:
    home = Home()
    assert flushed(home, "a", "b", used={"key_1": 1.0})[0] == 0
    assert [(each[0], ids_of(each), each[2], each[3]) for each in home.batches] == [
        (1, ["a", "b"], ["a line\n"], {"key_1": 1.0})
    ]


def test_a_batch_that_was_not_acknowledged_comes_again_under_its_number() -> None:
    home = Home("silent", "silent")
    assert flushed(home, "a")[0] == 0
    assert [(each[0], ids_of(each)) for each in home.batches] == [(1, ["a"])] * 3


def test_bodies_that_no_message_takes_cost_no_record() -> None:
    home = Home("large")
    flushed(home, "a")
    assert home.batches[0][1] == [[list(call(request_id="a")), None]]


def test_what_the_home_did_not_take_is_counted_and_its_lines_are_shown(capsys: Any) -> None:
    left, outbox = flushed(Home("gone"), "a", "b")
    assert left == 2
    outbox.spill()
    assert capsys.readouterr().err == "a line\n"


def test_many_records_are_several_batches_in_order(monkeypatch: Any) -> None:
    monkeypatch.setattr(worker, "MAX_BATCH", 2)
    home = Home()
    flushed(home, "a", "b", "c")
    assert [(each[0], ids_of(each)) for each in home.batches] == [(1, ["a", "b"]), (2, ["c"])]


def test_more_than_a_home_takes_is_dropped_and_counted(monkeypatch: Any) -> None:
    monkeypatch.setattr(worker, "MAX_WAITING", 2)
    left, outbox = flushed(Home("gone"), "a", "b", "c")
    assert (left, outbox.lost) == (2, 1)


def test_lines_of_a_time_in_which_the_home_took_nothing_are_several_messages_in_order(monkeypatch: Any) -> None:
    monkeypatch.setattr(worker, "MAX_BATCH_CHARS", 400)
    home, lines = Home(), [f"{number:04d}{'x' * 95}\n" for number in range(20)]

    async def run() -> None:
        outbox = Outbox(home, dict)  # type: ignore[arg-type]
        outbox.add_lines(lines)
        await outbox.flush()

    asyncio.run(run())
    assert [line for batch in home.batches for line in batch[2]] == lines


def test_a_batch_that_the_home_could_not_handle_keeps_no_later_one(monkeypatch: Any) -> None:
    monkeypatch.setattr(worker, "MAX_BATCH", 1)
    home = Home("fails")
    assert flushed(home, "a", "b")[0] == 0
    assert [ids_of(each) for each in home.batches] == [["b"]]
