"""Collected cases through the gateway's own process: request.json goes in, upstream.json is what the upstreams answer.

A folder each (LLM_ROUTER_CASES): `request.json` (protocol, path, headers, body as a caller sends it, or `raw` text; `group`
in words), `upstream.json` (status, body or `sse` lines, for all models or by name), `expected.md` for people. Models o/, a/, g/
and b/ are of providers that speak OpenAI, Anthropic, Gemini and OpenAI. CHECKS has what must come out, by the case's number; a
case without a check fails, so that none is forgotten. Those that begin with `command` are the client's.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from material import files_in, needs
from quick import every
from running import ROOTS, Answer, Asked, Process, Upstream, http, until

APIS = {"o": "openai", "a": "anthropic", "g": "gemini", "b": "openai"}
GROUP = '[[groups]]\nname = "group"\nstrategy = "priority"\n'
GROUPS = {  # by case: the members that its words name, first to last
    "007": ("a/m", "b/good"), "022": ("o/m", "b/good"), "038": ("o/small", "o/large"),
}  # fmt: skip
WINDOWS = """
[[models]]
name = "small"
provider = "o"
[models.config]
context_window = 1000
[[models]]
name = "large"
provider = "o"
[models.config]
context_window = 200000
"""
PRICES = """
[[models]]
name = "m"
provider = "a"
[models.config]
input_usd_per_mtok = 5.0
output_usd_per_mtok = 25.0
cached_input_usd_per_mtok = 0.5
"""
PROVIDER = """
[[providers]]
name = "{name}"
api = "{api}"
base_url = "{base}"
api_key = "{keys}"
any_model = true
"""
MORE = {"038": WINDOWS, "040": PRICES}


class Case(NamedTuple):
    """What went in, what came out, what the upstreams got."""

    answer: Answer
    sent: list[Asked]
    call: dict[str, Any]  # the row of the call log

    @property
    def body(self) -> Any:
        return self.sent[-1].json

    @property
    def lost(self) -> str:
        return self.answer.headers.get("x-llm-router-lost", "")

    @property
    def data(self) -> str:
        return self.answer.data.decode()

    @property
    def message(self) -> Any:
        return self.answer.json["choices"][0]["message"]


def number_of(path: Path) -> str:
    return path.parent.name.partition("-")[0]


def is_for_the_gateway(path: Path) -> bool:
    return "path" in json.loads(path.read_text())


def configuration(number: str, upstream: Upstream) -> str:
    parts = ['[server]\nstore = "memory"\nretry_alone_s = 0\n[health]\nfailures_to_open = 1000\n']
    for name, api in APIS.items():
        keys = "k1-of-the-case,k2-of-the-case" if name == "a" else "key-of-the-case"
        base = f"{upstream.url}/{name}{ROOTS[api]}"
        parts.append(PROVIDER.format(name=name, api=api, base=base, keys=keys))
    parts.append(MORE.get(number, ""))
    if number in GROUPS:
        parts.append(GROUP)
        parts += [f'[[groups.members]]\nmodel = "{name}"\npriority = {-place}\n' for place, name in enumerate(GROUPS[number])]
    return "".join(parts)


def answers(number: str, script: dict[str, Any]) -> Callable[..., bool]:
    """What the upstreams do: each request is answered by its provider's and model's entry."""

    def act(sock: Any, asked: Asked) -> bool:
        path = asked.line.split(" ")[1]
        provider = path.split("/")[1]
        named = re.search(r"/models/([^:]+):", path)
        model = named[1] if named else json.loads(asked.body).get("model", "")
        entry = script.get(f"{provider}/{model}", script)
        if "sse" in entry:
            sock.sendall(http("".join(entry["sse"]).encode(), kind="text/event-stream"))
            return True
        data, more = json.dumps(entry["body"]).encode(), {}
        if "gzip" in str(script.get("note")):
            data, more = gzip.compress(data), {"content_encoding": "gzip"}
        sock.sendall(http(data, status=f"{entry.get('status', 200)} X", **more))
        return True

    return act


@pytest.fixture(scope="module")
def gateways(module_start: Callable[..., Process]) -> Callable[[str], Process]:
    """One process for each configuration: most cases have the same."""
    return cache(module_start)


def play(path: Path, upstream: Upstream, gateways: Callable[[str], Process]) -> Case:
    number, request = number_of(path), json.loads(path.read_text())
    upstream.does(answers(number, json.loads(path.with_name("upstream.json").read_text())))
    gateway = gateways(configuration(number, upstream))
    data = request["raw"].encode() if "raw" in request else json.dumps(request["body"]).encode()
    headers = {name.replace("-", "_"): value for name, value in request.get("headers", {}).items()}
    answer = gateway.send(request.get("method", "POST"), request["path"], data, x_request_id=f"case-{number}", **headers)
    return Case(answer, list(upstream.requests), call_in_log(gateway, f"case-{number}") if "protocol" in request else {})


def call_in_log(gateway: Process, request_id: str) -> dict[str, Any]:
    address = f"/monitor/invocations/{request_id}"
    until(lambda: gateway.get(address).status == 200, "the call in the log")
    found: dict[str, Any] = gateway.get(address).json
    return found


# --------------------------------------------------------------------------------------------------------- what must come


def broken(case: Case) -> None:
    assert case.answer.status == 502 and "error" in case.answer.json
    assert case.call["ended"] == "error" and re.search("MALFORMED|UNEXPECTED", case.call["message"]), case.call


def unfinished_stream(case: Case) -> None:
    assert case.answer.status == 200 and "half an ans" in case.data
    assert case.data.rstrip().splitlines()[-2] == "event: error" and "message_stop" not in case.data


def good_answers(case: Case) -> None:
    assert case.answer.status == 200 and case.message["content"] == "ok"
    assert case.answer.headers["x-llm-router-model"] == "b/good"


def credit(case: Case) -> None:
    good_answers(case)
    keys = [asked.headers.get("x-api-key") for asked in case.sent]
    assert keys[:2] == ["k1-of-the-case", "k2-of-the-case"], "the next key before the next member"


def thinks_least(case: Case) -> None:
    thinking = case.body["generationConfig"].get("thinkingConfig", {})
    assert thinking.get("thinkingBudget") in (None, 128) and "reasoning" in case.lost


def effort(*words: str) -> Callable[[Case], None]:
    def check(case: Case) -> None:
        assert case.body["reasoning_effort"] in words

    return check


def always_thinks(case: Case) -> None:
    assert "thinking" not in case.body and "reasoning" in case.lost


def plain_root(case: Case) -> None:
    schema = case.body["tools"][0]["input_schema"]
    assert not {"anyOf", "oneOf", "allOf"} & set(schema) and {"v", "w"} == set(schema["properties"]) and case.lost


def free_choice(case: Case) -> None:
    assert case.body.get("tool_choice") in (None, "auto") and "tool_choice" in case.lost


def custom_again(case: Case) -> None:
    [call] = case.message["tool_calls"]
    assert (call["type"], call["custom"]) == ("custom", {"name": "code", "input": "print(1)"})


def signs_of_life(case: Case) -> None:
    texts = re.findall(r'"text_delta","text":"(.*?)"', case.data)
    assert "".join(texts) == "xy" and "end_turn" in case.data and "error" not in case.data


def says(text: str) -> Callable[[Case], None]:
    def check(case: Case) -> None:
        assert case.answer.status == 200 and case.message["content"] == text
        assert case.answer.json["object"] == "chat.completion"

    return check


def grounding_cited(case: Case) -> None:
    """The page becomes a citation of the caller's protocol; what has none is named."""
    [cited] = case.answer.json["content"][0]["citations"]
    assert (cited["type"], cited["url"]) == ("web_search_result_location", "https://example.com")
    assert case.lost == "citationMetadata"


def own_id(case: Case) -> None:
    assert case.answer.json["id"].startswith("msg_")


def no_prefill(case: Case) -> None:
    assert case.answer.status == 400 or case.body["messages"][-1]["role"] == "user"


def whole_letters(case: Case) -> None:
    assert "\ufffd" in case.body["messages"][0]["content"][-1].get("text", "") if isinstance(
        case.body["messages"][0]["content"], list) else "\ufffd" in case.body["messages"][0]["content"]  # fmt: skip


def usage_at_the_start(case: Case) -> None:
    started = json.loads(case.data.partition("data: ")[2].partition("\n")[0])
    assert started["message"]["usage"]["input_tokens"] > 0
    assert '"input_tokens":11' in case.data.replace(" ", "")


def speaks_of_documents(case: Case) -> None:
    text = json.dumps(case.body)
    assert "document" in text and "images that the tool returned" not in text


def json_true(case: Case) -> None:
    text = json.dumps(case.body)
    assert "One of: true" in text and "One of: True" not in text


def line_between(case: Case) -> None:
    text = json.dumps(case.body)
    assert "example.comA" not in text


def larger_window(case: Case) -> None:
    assert case.answer.status == 200 and case.message["content"] == "ok"
    assert case.answer.headers["x-llm-router-model"] == "o/large"


def refused(case: Case) -> None:
    assert case.answer.status in (400, 422) and "secret" in case.data


def cost(usd: float) -> Callable[[Case], None]:
    def check(case: Case) -> None:
        assert case.call["cost_usd"] == pytest.approx(usd)

    return check


CHECKS: dict[str, Callable[[Case], None]] = {
    "001": broken, "002": broken, "004": unfinished_stream, "007": credit, "010": thinks_least, "011": always_thinks,
    "013": effort("high"), "014": effort("low", "none"), "016": plain_root, "018": free_choice, "020": custom_again,
    "022": good_answers, "024": signs_of_life, "026": says("stream"), "027": says("zipped"), "028": grounding_cited,
    "030": own_id, "031": no_prefill, "032": whole_letters, "033": usage_at_the_start, "034": speaks_of_documents,
    "035": json_true, "036": line_between, "038": larger_window, "039": refused, "040": cost(10.0), "042": cost(0.0105),
}  # fmt: skip
CASES = [path for path in files_in("LLM_ROUTER_CASES", "*/request.json") if is_for_the_gateway(path)]


@needs("LLM_ROUTER_CASES")
@pytest.mark.parametrize("path", every(3, CASES), ids=[path.parent.name for path in CASES])
def test_a_case_comes_out_as_expected(path: Path, upstream: Upstream, gateways: Callable[[str], Process]) -> None:
    CHECKS[number_of(path)](play(path, upstream, gateways))
