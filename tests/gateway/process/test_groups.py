"""Groups in the whole process: every pair of protocols over a member that is down, callers that leave, changed files."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from running import (
    PAIRS,
    PLAIN,
    PROTOCOLS,
    ROOTS,
    Process,
    Upstream,
    begun_stream,
    chunked,
    command,
    data_event,
    hold,
    http,
    reset,
    sends,
    streamed_text,
    text_of,
    until,
    verdict,
    whole_stream,
)

Start = Callable[..., Process]
BUSY = http(b'{"error":{"message":"busy"}}', status="503 Service Unavailable")
STREAMS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


def provider(name: str, api: str, url: str, more: str = "") -> str:
    return f'[[providers]]\nname = "{name}"\napi = "{api}"\nbase_url = "{url}{ROOTS[api]}"\nany_model = true\n{more}\n'


def group(name: str, *members: str, more: str = "") -> str:
    lines = [f'[[groups.members]]\nmodel = "{member}"\npriority = {-place}\n' for place, member in enumerate(members)]
    return f'[[groups]]\nname = "{name}"\nstrategy = "priority"\n{more}\n' + "".join(lines)


def states(gateway: Process) -> dict[str, Any]:
    return {each["model"]: each for each in gateway.get("/health/models").json["models"]}


@pytest.fixture
def other() -> Iterator[Upstream]:
    with Upstream() as server:
        yield server


@pytest.fixture(scope="module")
def grouped(module_start: Start, upstream: Upstream) -> Iterator[Process]:
    """A group for each protocol: first an address where nobody listens, then an upstream that speaks it."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        down = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        parts = ["[health]\nfailures_to_open = 1000\n"]
        for api in PROTOCOLS:
            parts += [provider(f"down-{api}", api, down), provider(f"up-{api}", api, upstream.url)]
            parts.append(group(f"group-{api}", f"down-{api}/m", f"up-{api}/m"))
        yield module_start("".join(parts))


@pytest.mark.slow
@pytest.mark.parametrize(("caller", "api"), PAIRS)
@STREAMS
def test_a_member_that_is_down_is_not_noticed(
    grouped: Process, upstream: Upstream, caller: str, api: str, stream: bool
) -> None:
    upstream.does(sends(whole_stream(api) if stream else http(json.dumps(PLAIN[api]).encode())))
    answer = grouped.chat(caller, f"group-{api}", stream=stream)
    assert (answer.status, answer.headers["x-llm-router-model"]) == (200, f"up-{api}/m")
    assert answer.headers["x-llm-router-attempts"] == "2"
    if stream:
        assert (verdict(caller, answer.data), streamed_text(caller, answer.data)) == ("whole", "yes")
    else:
        assert text_of(caller, answer.json) == "yes"


@pytest.mark.slow
@pytest.mark.parametrize("fault", [BUSY, chunked(data_event({"error": {"message": "no"}})), b"HTTP/1.1 200 OK\r\n\r\n", b""])
@STREAMS
def test_what_breaks_before_its_first_output_is_followed_by_the_next(
    start: Start, upstream: Upstream, other: Upstream, fault: bytes, stream: bool
) -> None:
    gateway = start(provider("a", "openai", upstream.url) + provider("b", "openai", other.url) + group("g", "a/m", "b/m"))
    upstream.does(sends(fault, reset))
    other.does(sends(whole_stream("openai") if stream else http(json.dumps(PLAIN["openai"]).encode())))
    answer = gateway.chat("openai", "g", stream=stream)
    assert (answer.status, answer.headers["x-llm-router-model"]) == (200, "b/m")
    assert gateway.chat("openai", "g", stream=stream).status == 200


def test_after_output_it_is_not(start: Start, upstream: Upstream, other: Upstream) -> None:
    gateway = start(provider("a", "openai", upstream.url) + provider("b", "openai", other.url) + group("g", "a/m", "b/m"))
    upstream.does(sends(begun_stream("openai"), reset))
    answer = gateway.chat("openai", "g", stream=True)
    assert (verdict("openai", answer.data), streamed_text("openai", answer.data)) == ("error", "y")
    assert other.requests == []


@pytest.mark.slow
def test_a_caller_that_left_is_not_counted_any_more(start: Start, upstream: Upstream) -> None:
    limits = "[providers.limits]\nmax_concurrent = 1\n"
    gateway = start(provider("a", "openai", upstream.url, limits) + group("g", "a/m"))
    upstream.does(sends(begun_stream("openai"), hold))
    with gateway.streaming("openai", "g") as response:
        assert b"y" in response.fp.readline() + response.fp.readline()
        assert states(gateway)["a/m"]["active"] == 1
        refused = gateway.chat("anthropic", "g")
        assert (refused.status, refused.json["error"]["type"]) == (429, "rate_limit_error")
        assert int(refused.headers["retry-after"]) >= 1
    until(lambda: states(gateway)["a/m"]["active"] == 0, "the caller's stream is not counted")
    upstream.does(sends(http(json.dumps(PLAIN["openai"]).encode())))
    assert gateway.chat("openai", "g").status == 200


@pytest.mark.slow
def test_a_changed_file_keeps_what_is_known_by_name(start: Start, upstream: Upstream) -> None:
    one = provider("a", "openai", upstream.url)
    gateway = start(one + group("g", "a/m"))
    upstream.does(sends(BUSY))
    assert [gateway.chat("openai", "g").status for _ in range(3)] == [503] * 3
    assert states(gateway)["a/m"]["state"] == "open"
    gateway.write(one + group("h", "a/m"))
    gateway.signal(signal.SIGHUP)
    gateway.logged("reloaded")
    assert states(gateway)["a/m"]["state"] == "open"
    assert gateway.chat("openai", "h").status == 503
    assert gateway.chat("openai", "g").status in (404, 503)  # an open provider's model may be called so


@pytest.mark.slow
def test_explain_and_route_say_the_same(tmp_path: Path, start: Start, upstream: Upstream) -> None:
    selector = "'.tools | length > 0'"
    text = provider("a", "openai", upstream.url) + group("g", "a/m") + f"selector = {selector}\n"
    gateway = start(text)
    upstream.requests.clear()
    body = json.dumps({"model": "g", "messages": [], "tools": [1]}).encode()
    told = json.loads(command(tmp_path, "explain", "-c", "router.toml", "--model", "g", "--json", stdin=body).stdout)
    decided = gateway.send("POST", "/route", body).json
    assert decided["explain"] == told
    assert (told["chosen"], upstream.requests) == ("a/m", [])
    printed = command(tmp_path, "explain", "-c", "router.toml", "--model", "g", stdin=body.replace(b"[1]", b"[]"))
    assert printed.returncode == 1
    assert b"selector did not match" in printed.stdout


@pytest.mark.slow
def test_a_selector_sees_a_number_as_the_caller_spelled_it(tmp_path: Path, start: Start, upstream: Upstream) -> None:
    selector = """'(.t | tostring) == "1.10"'"""
    gateway = start(provider("a", "openai", upstream.url) + group("g", "a/m") + f"selector = {selector}\n")
    for spelled, chosen in ((b"1.10", "a/m"), (b"1.1", None)):
        body = b'{"model": "g", "messages": [], "t": %s}' % spelled
        assert gateway.send("POST", "/route", body).json["explain"]["chosen"] == chosen
        told = json.loads(command(tmp_path, "explain", "-c", "router.toml", "--model", "g", "--json", stdin=body).stdout)
        assert told["chosen"] == chosen
