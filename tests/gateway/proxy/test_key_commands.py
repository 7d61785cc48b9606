"""Keys that a command prints: when it is run, who waits for it, and what is never shown."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import Upstream
from routed import Hosts, Ways, chat, group, model, ok, play, provider, refusal, stream, streamed

from llm_router_gateway.config.key_command import KeyCommand
from llm_router_gateway.errors import Unavailable
from llm_router_gateway.proxy.key_commands import CommandFailed, KeyCommands, run_command

LONG = "sk-" + "long" * 5  # so that a mask takes it for a key
POSIX = pytest.mark.skipif(os.name != "posix", reason="runs sh")


class Printer:
    """A command in memory: each run takes the next of its outputs, the last one again and again."""

    def __init__(self, *outputs: Any) -> None:
        self.outputs, self.runs, self.gate = list(outputs), 0, asyncio.Event()
        self.gate.set()

    async def __call__(self, command: KeyCommand) -> bytes:
        self.runs += 1
        output = self.outputs.pop(0) if len(self.outputs) > 1 else self.outputs[0]
        await self.gate.wait()
        if isinstance(output, Exception):
            raise output
        return output if isinstance(output, bytes) else json.dumps(output).encode()


def commanded(**more: Any) -> dict[str, Any]:
    made = provider("a", api_key_command="print-it", **more)
    del made["api_key"]
    return {"providers": [made], "models": [model("a")], "server": {"retry_alone_s": 0}}


def tell(
    folder: Path, story: Callable[[Ways, Printer], Awaitable[None]], *outputs: Any, document: Any = None, **scripts: Any
) -> Ways:
    async def told(ways: Ways) -> None:
        printer = Printer(*outputs)
        ways.gateway.key_commands._run = printer
        await story(ways, printer)

    return play(told, document or commanded(), Hosts(**(scripts or {"a": ok()})), folder)


# -- when it is run


def test_it_is_run_when_it_is_first_needed_and_its_key_is_sent(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        assert printer.runs == 0
        assert (await ways.ask(chat("a/m"))).status == 200
        assert (await ways.ask(chat("a/m"))).status == 200
        assert (printer.runs, ways.hosts.keys) == (1, ["one", "one"])

    tell(tmp_path, story, b"one\n")


def test_one_run_serves_all_that_wait_for_it(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        printer.gate.clear()
        calls = [asyncio.create_task(ways.ask(chat("a/m"))) for _ in range(20)]
        await asyncio.sleep(0)
        while not printer.runs:
            await asyncio.sleep(0)
        calls[0].cancel()  # whoever began it leaves: the others still get its key
        await asyncio.gather(calls[0], return_exceptions=True)
        printer.gate.set()
        answers = await asyncio.gather(*calls[1:])
        assert {answer.status for answer in answers} == {200}
        assert (printer.runs, set(ways.hosts.keys)) == (1, {"one"})

    tell(tmp_path, story, b"one\n")


def test_a_stream_that_waits_for_it_is_kept_alive(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        printer.gate.clear()
        exchange = stream("a/m")
        waiting = asyncio.create_task(ways.ask(exchange))
        while not exchange.out:
            await asyncio.sleep(0.001)
        assert (printer.runs, ways.hosts.sent) == (1, [])
        printer.gate.set()
        assert b"[DONE]" in (await waiting).out

    document = commanded()
    document["server"]["keepalive_s"] = 0.01
    tell(tmp_path, story, b"one", document=document, a=streamed())


def test_it_is_renewed_in_the_background_before_it_expires_and_waited_for_afterwards(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        await ways.ask(chat("a/m"))
        ways.skip(3299)  # 300 s before its end
        await ways.ask(chat("a/m"))
        assert printer.runs == 1
        ways.skip(2)
        printer.gate.clear()
        await ways.ask(chat("a/m"))  # nobody waits: the first key is still good
        await ways.ask(chat("a/m"))
        printer.gate.set()
        while ways.hosts.keys[-1] != "two":
            await ways.ask(chat("a/m"))
        assert printer.runs == 2
        ways.skip(3600)
        await ways.ask(chat("a/m"))
        assert (printer.runs, ways.hosts.keys[-1]) == (3, "three")

    keys = [{"token": word, "expires_in": 3600} for word in ("one", "two", "three")]
    tell(tmp_path, story, *keys)


def test_a_key_without_an_expiry_is_used_for_the_time_that_is_set(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        await ways.ask(chat("a/m"))
        ways.skip(53)
        await ways.ask(chat("a/m"))
        assert printer.runs == 1
        ways.skip(8)
        await ways.ask(chat("a/m"))
        assert (printer.runs, ways.hosts.keys) == (2, ["one", "one", "two"])

    tell(tmp_path, story, b"one", b"two", document=commanded(api_key_command_ttl_s=60))


def test_a_reload_forgets_it(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        from llm_router_gateway.proxy.gateway import prepare

        await ways.ask(chat("a/m"))
        ways.gateway.swap(prepare(ways.gateway.state.config))
        await ways.ask(chat("a/m"))
        assert ways.hosts.keys == ["one", "two"]

    tell(tmp_path, story, b"one", b"two")


def test_a_further_protocol_of_the_provider_gets_the_same_key(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        await ways.post("/v1/responses", {"model": "a/m", "input": "hi"})
        await ways.ask(chat("a/m"))
        assert [sent["url"].rpartition("/")[2] for sent in ways.hosts.sent] == ["responses", "completions"]
        assert (printer.runs, ways.hosts.keys) == (1, ["one", "one"])

    tell(tmp_path, story, b"one", document=commanded(settings={"also": ["responses"]}))


# -- after a refusal


@pytest.mark.parametrize(
    "refused",
    [
        refusal(401),
        Upstream(401, b'[{"error":{"code":401,"message":"Request had invalid authentication credentials."}}]'),
        Upstream(403, b'{"message":"Bearer Token has expired"}'),
        Upstream(403, b'{"Message":"Authentication failed: Please make sure your API Key is valid."}'),
    ],
)
@pytest.mark.parametrize("request_of", [chat, stream])
def test_a_refused_key_is_renewed_once_and_the_request_sent_again(tmp_path: Path, refused: Upstream, request_of: Any) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        answer = await ways.ask(request_of("a/m"))
        assert (answer.status, ways.hosts.keys) == (200, ["one", "two"])
        assert "next key" in ways.lines

    good = ok() if request_of is chat else streamed()
    tell(tmp_path, story, b"one", b"two", b"three", a=[refused, good])


def test_the_same_key_again_is_not_sent_again_and_not_printed_for_each_request(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        assert (await ways.ask(chat("a/m"))).status == 401
        assert (await ways.ask(chat("a/m"))).status == 401
        assert (printer.runs, len(ways.hosts.keys)) == (2, 2)
        ways.skip(31)
        assert (await ways.ask(chat("a/m"))).status == 401
        assert printer.runs == 3

    tell(tmp_path, story, b"one", a=refusal(401))


def test_a_second_refusal_is_the_callers(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        assert (await ways.ask(chat("a/m"))).status == 401
        assert ways.hosts.keys == ["one", "two"]

    tell(tmp_path, story, b"one", b"two", b"three", a=refusal(401))


def test_another_refusal_is_no_reason_to_run_it(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        assert (await ways.ask(chat("a/m"))).status == 403
        assert printer.runs == 1

    tell(tmp_path, story, b"one", b"two", a=refusal(403))


# -- failures


def test_a_failure_says_what_failed_and_is_not_repeated_at_once(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        first = await ways.ask(chat("a/m"))
        assert (first.status, first.json["error"]["code"]) == (503, "no_key")
        assert first.json["error"]["message"] == "a: api_key_command: print-it failed with exit code 1"
        assert (await ways.ask(chat("a/m"))).status == 503
        assert (printer.runs, ways.hosts.sent) == (1, [])
        ways.skip(2.1)
        assert (await ways.ask(chat("a/m"))).status == 200
        assert printer.runs == 2
        report = ways.gateway.routing_state.report(ways.gateway.state.table, ways.gateway._clock())
        assert [(line["state"], line["failures"]) for line in report] == [("ok", 0)]  # the model is not to blame

    ways = tell(tmp_path, story, CommandFailed("print-it failed with exit code 1"), b"one")
    assert ways.path.read_text().count("warn  a: api_key_command: print-it failed") == 1


def test_the_next_member_answers_meanwhile(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        assert (await ways.ask(chat("g"))).json["choices"][0]["message"]["content"] == "b"

    document = commanded()
    document["providers"].append(provider("b"))
    document["models"].append(model("b"))
    document["groups"] = [group("a/m", "b/m")]
    tell(tmp_path, story, CommandFailed("no"), document=document, a=ok(), b=ok("b"))


def test_while_a_key_is_good_a_failed_renewal_is_only_a_warning(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        await ways.ask(chat("a/m"))
        ways.skip(280)
        for _ in range(5):
            assert (await ways.ask(chat("a/m"))).status == 200
        assert (printer.runs, set(ways.hosts.keys)) == (2, {"one"})
        ways.skip(21)
        assert (await ways.ask(chat("a/m"))).status == 503

    tell(tmp_path, story, b"one", CommandFailed("no"))


def test_what_is_no_key_is_a_failure_that_does_not_show_it(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        answer = await ways.ask(chat("a/m"))
        assert answer.json["error"]["message"].startswith("a: api_key_command: print-it printed 2 lines")

    ways = tell(tmp_path, story, f"note\n{LONG}".encode())
    assert LONG not in ways.path.read_text()


# -- never shown


def test_a_printed_key_is_masked_wherever_an_upstream_repeats_it(tmp_path: Path) -> None:
    async def story(ways: Ways, printer: Printer) -> None:
        for request in (chat("a/m"), stream("a/m"), chat("a/m"), chat("a/m")):
            answer = await ways.ask(request)
            assert LONG.encode() not in answer.out
            assert LONG not in str(answer.out_headers)
        assert b"***" in answer.out

    echo = b'{"error":{"message":"bad key ' + LONG.encode() + b'","code":"c"}}'
    spoken = b'data: {"choices":[{"index":0,"delta":{"content":"' + LONG.encode() + b'"}}]}\n\n'
    ways = tell(tmp_path, story, LONG.encode(), a=[ok(LONG), streamed(spoken), Upstream(400, echo), Upstream(500, echo)])
    assert LONG not in ways.path.read_text()


# -- the process


def run(*argv: str, **more: Any) -> bytes:
    return asyncio.run(run_command(KeyCommand(argv, **more)))


def failure(*argv: str, **more: Any) -> str:
    with pytest.raises(CommandFailed) as caught:
        run(*argv, **more)
    return str(caught.value)


def test_its_output_is_the_key() -> None:
    assert run(sys.executable, "-c", "print('one', end='')") == b"one"


def test_a_program_that_is_not_there() -> None:
    assert failure("/no/such/token-printer") == (
        "token-printer was not found: write its whole path, or put its folder on the gateway's PATH"
    )


@POSIX
def test_a_file_that_may_not_be_executed(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("#!/bin/sh\n")
    assert failure(str(tmp_path / "token")) == "token may not be executed by the user that the gateway runs as"


@POSIX
def test_a_failure_shows_the_exit_code_and_nothing_that_was_printed() -> None:
    text = failure("sh", "-c", f"echo {LONG}; echo {LONG} >&2; exit 3")
    assert text == "sh failed with exit code 3: run it by hand, as the user that the gateway runs as, to see why"
    assert failure("sh", "-c", "kill -9 $$").startswith("sh was ended by signal 9: run it by hand")


@POSIX
def test_too_much_output_is_no_key() -> None:
    assert failure("sh", "-c", "while :; do echo aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa; done").startswith("sh printed more than")


@POSIX
def test_there_is_a_time_limit() -> None:
    assert failure("sleep", "600", timeout_s=0.05) == (
        "sleep did not end within 0.05 s: run it by hand, as the user that the gateway runs as, to see why, "
        "or raise api_key_command_timeout_s"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_what_a_command_started_ends_with_it(tmp_path: Path) -> None:
    """gcloud and az are scripts that start Python."""
    left = tmp_path / "pid"

    async def story() -> None:
        task = asyncio.create_task(
            run_command(KeyCommand(("sh", "-c", f"sleep 600 & echo $! > {left}.new; mv {left}.new {left}; wait")))
        )
        while not left.exists():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        while is_alive(left.read_text().strip()):
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(story(), 15))


def is_alive(pid: str) -> bool:
    """A zombie, which waits for its reaper, is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@POSIX
def test_the_end_of_the_gateway_ends_it() -> None:
    async def story() -> None:
        keys = KeyCommands()
        command = KeyCommand(("sleep", "600"))
        from llm_router_gateway.config.config import parse
        from llm_router_gateway.routing.resolve import Candidate

        config = parse({"providers": [{"name": "claude", "api_key_command": list(command.argv)}]})
        waiting = asyncio.create_task(keys.with_key(Candidate(config.providers[0], "m")))
        while not keys._tasks:
            await asyncio.sleep(0)
        await keys.close()
        with pytest.raises((Unavailable, asyncio.CancelledError)):
            await waiting

    asyncio.run(asyncio.wait_for(story(), 15))


@POSIX
def test_a_program_is_found_on_the_path_as_a_shell_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows with its ending: `az` is az.cmd, which a start by name does not find."""
    (tmp_path / "print-it").write_text("#!/bin/sh\necho one\n")
    (tmp_path / "print-it").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert run("print-it") == b"one\n"
    asked: list[str] = []
    monkeypatch.setattr(shutil, "which", lambda name: asked.append(name) or str(tmp_path / "print-it"))
    assert run("az") == b"one\n"
    assert asked == ["az"]
