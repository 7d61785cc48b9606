"""An answer is complete only if the server ended it: one table of turns, to which the gateway is held as well.

tests/corpus/complete.json: [{"name", "protocol" (openai, gemini), "events" (chunks; "raw:..." is an event's data as it stands),
"verdict"}]. complete: an answer; incomplete: what came is not the answer, and is kept; failed: nothing came, another model or
member is asked; refused: filtered. `gateway`: what the gateway says, where its caller decides what an empty turn is worth.
"""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional

import pytest
from quick import every
from raw_server import DONE, RawServer, StillTransport, completion, delta, http, stream

import llm_router_client as c

Serve = Callable[..., RawServer]
ASK = [{"role": "user", "content": "x"}]
TURNS: List[Dict[str, Any]] = json.loads((Path(__file__).parents[1] / "corpus" / "complete.json").read_text())


def sse(events: List[Any]) -> bytes:
    texts = [event.removeprefix("raw:") if isinstance(event, str) else json.dumps(event) for event in events]
    return stream(*(f"data: {text}\n\n".encode() for text in texts))


def asked(server: RawServer, protocol: str, streamed: bool) -> c.Answer:
    client = c.LLMRouterClient(base_url=server.base_url, transport=StillTransport(), max_retries=0)
    call = client.generate_content if protocol == "gemini" else client.chat
    answer: Any = call("m", "x" if protocol == "gemini" else ASK, stream=streamed)  # type: ignore[operator]
    return answer.answer() if streamed else answer  # type: ignore[no-any-return]


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: turn["name"])
@pytest.mark.parametrize("streamed", [True, False])  # events also come to a request that asked for none
def test_a_turn_is_what_the_server_said_it_is(serve: Serve, turn: Dict[str, Any], streamed: bool) -> None:
    server, protocol, verdict = serve(sse(turn["events"])), turn["protocol"], turn["verdict"]
    if verdict == "complete":
        answer = asked(server, protocol, streamed)
        assert answer.complete and (answer.text == "hi" or answer.tool_calls)
        return
    with pytest.raises(c.LLMRouterError) as caught:
        asked(server, protocol, streamed)
    error, text = caught.value, caught.value.response.text if caught.value.response else ""
    assert error.exit_code and not (error.response and error.response.complete)
    assert (verdict == "refused") is isinstance(error, c.ContentFilterError)
    assert error.code in c.FALLBACK_CODES
    if verdict != "refused":
        assert (verdict == "incomplete") is bool(text), error


@pytest.mark.slow
@pytest.mark.parametrize("word", ["abort", "error", "network_error", "insufficient_system_resource"])
def test_a_plain_answer_that_says_it_is_unfinished_keeps_its_text_and_exits_with_10(serve: Serve, cli: Any, word: str) -> None:
    for reply in (http(completion("half an ans", word)), stream(delta("half an ans"), delta(finish=word), DONE)):
        for more in ([], ["--stream"]):
            server = serve(reply)
            ran = cli("chat", "-m", "m", "--message", "hi", "--json", *more, env={"LLM_ROUTER_BASE_URL": server.base_url})
            result = json.loads(ran.out.splitlines()[-1])
            assert ran.code == 10 and not result["ok"] and result["text"] == "half an ans", ran
            assert not result["finish"]["complete"] and result["error"]["next_step"] == c.ERRORS["stream_cut"][1]


@pytest.mark.parametrize("model", every(3, ["fail-finish-abort", "fail-finish-error", "fail-native-MALFORMED_FUNCTION_CALL"]))
def test_unfinished_and_empty_is_retried_and_then_exits_with_10(demo: Any, cli: Any, still: Any, model: str) -> None:
    client = c.LLMRouterClient(base_url=demo.base_url, max_retries=1, transport=still)
    for streamed in (False, True):
        with pytest.raises(c.IncompleteError) as caught:
            list(client.chat(model, ASK, stream=streamed))
        assert (caught.value.code, len(caught.value.attempts)) == ("stream_cut", 2)
        more = ["--stream"] if streamed else []
        cli.env["LLM_ROUTER_BASE_URL"] = demo.base_url
        ran = cli("chat", "-m", model, "--message", "hi", "--json", "--retries", "0", *more)
        assert (ran.code, ran.events[-1]["error"]["code"]) == (10, "stream_cut"), ran
    assert len(still.slept) == 2
    ran = cli("chat", "-m", model, "--message", "hi", "--retries", "0", "--fallback", "demo")
    assert ran.code == 0 and b"tried demo next" in ran.err


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("first", [1, 2, 3, 4, 9])
def test_a_byte_order_mark_kills_nothing_wherever_it_is_cut(serve: Serve, mark: bytes, first: int) -> None:
    pieces = mark + delta("hi") + delta(finish="stop") + DONE
    chunks = [pieces[:first], pieces[first:]]
    body = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    for streamed in (True, False):
        server = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        assert asked(server, "openai", streamed).text == "hi"
    assert asked(serve(http(mark + json.dumps(completion("hi")).encode())), "openai", False).text == "hi"
    inside = stream(b"data: " + mark + delta("hi")[6:], delta(finish="stop"), DONE)
    assert asked(serve(inside), "openai", True).text == "hi"


def test_unrequested_compression_is_unpacked(serve: Serve) -> None:
    whole, events = json.dumps(completion("hi")).encode(), delta("hi") + delta(finish="stop") + DONE
    for streamed in (True, False):
        for body in (whole, events):
            assert asked(serve(http(gzip.compress(body), Content_Encoding="gzip")), "openai", streamed).text == "hi"


def test_half_an_event_is_a_cut_even_where_a_bare_end_is_accepted(serve: Serve) -> None:
    for end, kind in ((b'data: {"choices":[', c.IncompleteError), (b"", None)):
        client = c.LLMRouterClient(base_url=serve(stream(delta("hi"), end)).base_url, lenient_end=True, max_retries=0)
        if kind is None:
            assert "".join(client.chat_stream("m", ASK)) == "hi"
        else:
            with pytest.raises(kind, match="middle of an event"):
                list(client.chat_stream("m", ASK))


def choice(index: int, text: str = "", finish: Optional[str] = None) -> bytes:
    chunk = {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


@pytest.mark.parametrize("last,complete", [
    (b"", False), (choice(1, "", "error"), False), (choice(1, "", "stop"), True), (DONE, True),
])  # fmt: skip
def test_an_answer_of_several_choices_is_complete_when_the_server_ended_each(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, last: bytes, complete: bool
) -> None:
    """A choice still being written has the time between two events, not the short wait for the usage."""
    monkeypatch.setattr(c, "FINISH_GRACE_S", 30.0 if complete else 0.05)
    monkeypatch.setattr(c, "PROGRESS_TIMEOUT_S", 30.0 if complete else 0.05)
    events = (choice(0, "hi"), choice(1, "ho"), choice(0, "", "stop"), last)
    for server in (serve(stream(*events)), *([] if complete else [serve(stream(*events), hold=True)])):
        if complete:
            assert asked(server, "openai", True).complete
            continue
        with pytest.raises((c.IncompleteError, c.RequestTimeout)) as caught:
            asked(server, "openai", True)
        assert caught.value.response is not None and not caught.value.response.complete


@pytest.mark.parametrize("hold", [True, False])
def test_what_is_missing_after_done_is_no_matter_with_or_without_a_finish_reason(serve: Serve, hold: bool) -> None:
    """The connection stays open, or breaks, before the body's last chunk."""
    events = delta("hi") + DONE
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = asked(serve(head + b"%x\r\n%s\r\n" % (len(events), events), hold=hold), "openai", True)
    assert answer.complete and answer.text == "hi"


# ------------------------------------------------------------------------------------------- collected cases

CASES = os.environ.get("LLM_ROUTER_CASES", "")
collected = pytest.mark.skipif(not CASES, reason="LLM_ROUTER_CASES names no folder of cases")


def case(number: str) -> Any:
    [folder] = Path(CASES).glob(f"{number}-*")
    return json.loads((folder / "upstream.json").read_text())


def replies_of(upstream: Any) -> bytes:
    if "sse" in upstream:
        return stream(*(line.encode() for line in upstream["sse"]))
    return http(upstream["body"], f"{upstream.get('status', 200)} X")


@collected
@pytest.mark.parametrize("more", [[], ["--stream"]])
def test_case_005_an_aborted_answer_is_incomplete(serve: Serve, cli: Any, more: List[str]) -> None:
    server = serve(replies_of(case("005")))
    ran = cli("chat", "-m", "m", "--message", "hi", "--json", *more, env={"LLM_ROUTER_BASE_URL": server.base_url})
    result = json.loads(ran.out.splitlines()[-1])
    assert (ran.code, result["ok"], result["finish"]["complete"], result["text"]) == (10, False, False, "half an ans")


@collected
def test_case_008_no_credit_with_status_400_goes_on_to_the_next_model(serve: Serve, cli: Any) -> None:
    models = case("008")
    for more, code, text in ((["--fallback", "good"], 0, "ok"), ([], 4, "")):
        server = serve(lambda request: replies_of(models[json.loads(request["body"])["model"]]))
        ran = cli("chat", "-m", "m", *more, "--message", "hi", "--json", env={"LLM_ROUTER_BASE_URL": server.base_url})
        assert (ran.code, ran.json["text"]) == (code, text), ran
        assert code == 0 or ran.json["error"]["code"] == "no_credit"


@collected
@pytest.mark.parametrize("number,text", [("024", "xy"), ("026", "stream"), ("027", "zipped")])
def test_cases_024_026_027_are_whole_answers_to_the_client_too(serve: Serve, number: str, text: str) -> None:
    upstream = case(number)
    for streamed in (True, False):
        assert asked(serve(replies_of(upstream)), "openai", streamed).text == text
