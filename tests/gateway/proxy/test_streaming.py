"""streaming: held back until there is output, kept alive, timed by content, ended once. No socket, no real clock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from llm_router_gateway.errors import GatewayError, StreamCut, Unavailable, UpstreamTimeout
from llm_router_gateway.proxy.streaming import Limits, StreamedAnswer, Watch

LIMITS = Limits(first_output_s=20, gap_s=10, keepalive_s=4)


class Caller:
    """The exchange, as a list of what the caller saw: ["head", "bytes", ...]."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.reading = True
        self.gate: asyncio.Event | None = None

    @property
    def started(self) -> bool:
        return "head" in self.seen

    def start(self, status: int, headers: list[tuple[str, str]]) -> None:
        assert not self.started
        self.seen.append("head")

    async def send(self, data: bytes) -> None:
        if self.gate:
            await self.gate.wait()
        self.seen.append(data.decode())

    @property
    def is_free(self) -> bool:
        return self.reading

    def write(self, data: bytes) -> None:
        assert self.reading
        self.seen.append(data.decode())


class Letters:
    """A protocol in which capitals are output, "." is the end, "!" an error; everything else is life-cycle."""

    def __init__(self) -> None:
        self.outputs, self.done, self.error = 0, False, None  # type: int, bool, GatewayError | None

    def feed(self, piece: bytes) -> bytes:
        self.outputs += sum(letter.isupper() for letter in piece.decode())
        self.done = self.done or b"." in piece
        if b"!" in piece:
            self.error = Unavailable("busy")
        return piece.replace(b"!", b"")

    def close(self) -> bytes:
        if not self.done:
            self.error = StreamCut("cut")
        return b"" if self.error else b"$"


class World:
    """A clock that the test moves, and the watch's one timer."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timer: Callable[[], None] | None = None
        self.watch = Watch(lambda: self.now, self.call_later)
        self.caller = Caller()
        self.pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.timer = callback

    async def pass_by(self, seconds: float) -> None:
        """Time passes a second at a time, and everybody gets to run."""
        for _ in range(int(seconds)):
            self.now += 1
            if self.timer:
                self.timer()
            for _ in range(5):
                await asyncio.sleep(0)

    async def upstream(self) -> AsyncIterator[bytes]:
        while (piece := await self.pieces.get()) is not None:
            yield piece

    async def put(self, *pieces: bytes | None) -> None:
        for piece in pieces:
            self.pieces.put_nowait(piece)
        for _ in range(10):
            await asyncio.sleep(0)

    async def answer(self) -> None:
        answer = StreamedAnswer(self.caller, list, b"~", LIMITS, lambda: self.now)
        with self.watch.over(answer):
            await answer.run(self.upstream(), Letters())


def play(story: Callable[[World, asyncio.Task[None]], Coroutine[Any, Any, None]]) -> list[str]:
    """Runs a story beside a streamed answer; what the caller saw, and how it ended as the last item."""

    async def run() -> list[str]:
        world = World()
        task = asyncio.create_task(world.answer())
        await world.put()
        await story(world, task)
        try:
            await asyncio.wait_for(task, 20)
        except GatewayError as error:
            return [*world.caller.seen, error.code]
        except asyncio.CancelledError:
            return [*world.caller.seen, "cancelled"]
        return [*world.caller.seen, "ok"]

    return asyncio.run(run())


def test_nothing_goes_out_before_the_first_output() -> None:
    async def story(world: World, task: asyncio.Task[None]) -> None:
        await world.put(b"s", b"p")
        assert world.caller.seen == []
        await world.put(b"A", b"b", b".", None)

    assert play(story) == ["head", "spA", "b", ".", "$", "ok"]


@pytest.mark.parametrize("pieces", [[b"s", b"!"], [b"s", None], [None]])
def test_an_upstream_that_fails_before_output_leaves_the_status_open(pieces: list[bytes | None]) -> None:
    async def story(world: World, task: asyncio.Task[None]) -> None:
        await world.put(*pieces)

    assert play(story)[0] in ("unavailable", "stream_cut")


def test_an_error_after_output_comes_after_what_was_said() -> None:
    async def story(world: World, task: asyncio.Task[None]) -> None:
        await world.put(b"sA", b"b!")

    assert play(story) == ["head", "sA", "b", "unavailable"]


def test_an_end_without_output_is_an_answer_too() -> None:
    async def story(world: World, task: asyncio.Task[None]) -> None:
        await world.put(b"s", b".", None)

    assert play(story) == ["head", "s.$", "ok"]


def test_silence_before_output_is_kept_alive_and_what_is_held_stays_held() -> None:
    async def story(world: World, task: asyncio.Task[None]) -> None:
        await world.put(b"s")
        await world.pass_by(9)
        assert world.caller.seen == ["head", "~", "~"]
        await world.put(b"A.", None)

    assert play(story) == ["head", "~", "~", "sA.", "$", "ok"]


def test_only_content_resets_the_clock_of_the_first_output() -> None:
    async def story(world: World, task: asyncio.Task[None]) -> None:
        for _ in range(21):
            await world.put(b"p")
            await world.pass_by(1)

    assert play(story)[-1] == "upstream_timeout"


def test_only_content_resets_the_clock_between_outputs() -> None:
    async def story(world: World, task: asyncio.Task[None]) -> None:
        await world.put(b"A")
        await world.pass_by(8)
        await world.put(b"B")
        for _ in range(11):
            await world.put(b"p")
            await world.pass_by(1)

    seen = play(story)
    assert seen[-1] == "upstream_timeout"
    assert seen.count("p") == 10


def test_a_caller_that_reads_slowly_is_not_a_silent_upstream() -> None:
    async def story(world: World, task: asyncio.Task[None]) -> None:
        world.caller.gate = asyncio.Event()
        await world.put(b"A")
        await world.pass_by(60)
        world.caller.gate.set()
        await world.put(b"B.", None)

    assert play(story) == ["head", "A", "B.", "$", "ok"]


def test_no_sign_of_life_is_piled_up_for_a_caller_that_does_not_read() -> None:
    async def story(world: World, task: asyncio.Task[None]) -> None:
        world.caller.reading = False
        await world.pass_by(15)
        await world.put(b"A.", None)

    assert play(story) == ["head", "A.", "$", "ok"]


def test_an_upstream_that_forgets_to_close_is_closed() -> None:
    async def story(world: World, task: asyncio.Task[None]) -> None:
        await world.put(b"A.")
        await world.pass_by(7)

    assert play(story) == ["head", "A.", "$", "ok"]


def test_a_caller_that_goes_away_cancels_and_is_no_error_of_the_upstream() -> None:
    async def story(world: World, task: asyncio.Task[None]) -> None:
        await world.put(b"A")
        task.cancel()

    assert play(story) == ["head", "A", "cancelled"]


def test_the_drain_ends_open_streams_with_an_error() -> None:
    async def story(world: World, task: asyncio.Task[None]) -> None:
        await world.put(b"A")
        world.watch.end_all(Unavailable("going down"))
        world.watch.end_all(Unavailable("twice"))

    assert play(story) == ["head", "A", "unavailable"]


def test_the_drain_leaves_a_stream_that_has_its_last_event_with_one_end() -> None:
    async def story(world: World, task: asyncio.Task[None]) -> None:
        await world.put(b"A", b".")  # and the upstream does not close yet
        world.watch.end_all(Unavailable("going down"))

    assert play(story) == ["head", "A", ".", "$", "ok"]


def test_the_clocks_run_before_the_upstream_answers_at_all() -> None:
    async def run() -> None:
        world = World()

        async def ask() -> None:
            answer = StreamedAnswer(world.caller, list, b"~", LIMITS, lambda: world.now)
            with world.watch.over(answer):
                await asyncio.Event().wait()

        task = asyncio.create_task(ask())
        await world.put()
        await world.pass_by(25)
        assert world.caller.seen == ["head", "~", "~", "~", "~"]
        with pytest.raises(UpstreamTimeout):
            await task

    asyncio.run(run())


def tapped(*pieces: bytes, begun: bool = True, reading: bool = True) -> tuple[list[object], list[str]]:
    """What tap() said of each piece, and what the caller saw of them."""
    caller, told = Caller(), []  # type: Caller, list[object]

    async def story() -> None:
        answer = StreamedAnswer(caller, list, b"~", LIMITS, lambda: 1.0)
        answer.pipe = Letters()
        if begun:
            answer._had_output()
            answer.begin()
        caller.reading = reading
        for piece in pieces:
            try:
                told.append(answer.tap(piece))
            except GatewayError as error:
                told.append(error.code)

    asyncio.run(story())
    return told, [seen for seen in caller.seen if seen != "head"]


def test_a_piece_is_tapped_only_once_output_began_and_while_the_caller_reads() -> None:
    assert tapped(b"B", b"c") == ([True, True], ["B", "c"])
    assert tapped(b"B", begun=False) == ([False], [])
    assert tapped(b"B", reading=False) == ([False], [])
    assert tapped(b"C!", b"x") == (["unavailable", "unavailable"], ["C", "x"])
