"""Odd, broken and refused answers, acted out by the mock server, through the gateway in every pair of protocols."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from running import ROOTS, Process, is_error, streamed_text, text_of, verdict

Start = Callable[..., Process]
APIS = ("openai", "anthropic", "gemini")
PAIRS = [(caller, api) for caller in APIS for api in APIS]
EVERY_PAIR = pytest.mark.parametrize(("caller", "api"), PAIRS, ids=["-".join(pair) for pair in PAIRS])
NOTHING = re.compile(rb"^data: ?(?:null|\[\]| *)\r?\n\r?\n", re.MULTILINE)
STREAMS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])


@pytest.fixture(scope="module")
def gateway(module_start: Start, mock_server: Any) -> Iterator[Process]:
    parts = ['[server]\nstore = "memory"\nretry_alone_s = 0.01\n[health]\nfailures_to_open = 1000\n']
    for api in APIS:
        parts.append(f'[[providers]]\nname = "{api}"\napi = "{api}"\nbase_url = "{mock_server.url}{ROOTS[api]}"\n'
                     'api_key = "key-of-the-mock-server"\nany_model = true\n')  # fmt: skip  # pragma: allowlist secret
        for name in ("fail-finish-error", "fail-400-balance", "fail-context-llamacpp", "fail-image-500"):
            members = [f"{api}/{name}", f"{api}/demo"]
            parts.append(f'[[groups]]\nname = "{api}-{name}"\nstrategy = "priority"\n')
            parts += [f'[[groups.members]]\nmodel = "{each}"\npriority = {-place}\n' for place, each in enumerate(members)]
    yield module_start("".join(parts))


@EVERY_PAIR
@STREAMS
@pytest.mark.parametrize("model", ["demo-data-null", "demo-data-array", "demo-data-blank", "demo-sse", "demo-gzip", "demo-bom",
                                   "demo-unterminated"])  # fmt: skip
def test_what_only_looks_odd_is_an_answer(gateway: Process, caller: str, api: str, stream: bool, model: str) -> None:
    answer = gateway.chat(caller, f"{api}/{model}", stream=stream, text="say quokka")
    assert answer.status == 200, answer.data
    data = NOTHING.sub(b"", answer.data)  # a relay passes signs of life on as they came
    if stream:
        assert verdict(caller, data) == "whole"
    assert "quokka" in (streamed_text(caller, data) if stream else text_of(caller, answer.json))


@EVERY_PAIR
@STREAMS
@pytest.mark.parametrize("model", ["fail-finish-error", "fail-error-beside"])
def test_what_calls_itself_broken_is_an_error(gateway: Process, caller: str, api: str, stream: bool, model: str) -> None:
    answer = gateway.chat(caller, f"{api}/{model}", stream=stream)
    if answer.status == 200:
        assert stream and "failed" in answer.data.decode() and verdict(caller, answer.data) != "whole", answer.data
    else:
        assert answer.status in (500, 502) and is_error(caller, answer.json)


@EVERY_PAIR
@STREAMS
@pytest.mark.parametrize("model", ["fail-finish-error", "fail-400-balance", "fail-context-llamacpp", "fail-image-500"])
def test_another_member_answers_in_its_place(gateway: Process, caller: str, api: str, stream: bool, model: str) -> None:
    answer = gateway.chat(caller, f"{api}-{model}", stream=stream)
    assert answer.status == 200, answer.data
    assert "x-llm-router-model" not in answer.headers or answer.headers["x-llm-router-model"].startswith(f"{api}/")


@EVERY_PAIR
@pytest.mark.parametrize("model", ["fail-context", "fail-context-llamacpp", "fail-context-vllm"])
def test_a_prompt_that_is_too_long_is_reported_in_the_callers_words(
    gateway: Process, caller: str, api: str, model: str
) -> None:
    answer = gateway.chat(caller, f"{api}/{model}")
    words = {"openai": '"context_length_exceeded"', "anthropic": "prompt is too long: ", "gemini": "maximum number of tokens"}
    assert answer.status == 400 and words[caller] in json.dumps(answer.json), answer.data
    if caller == "anthropic" and api != "anthropic":
        tokens, window = map(int, re.findall(r"(\d+) tokens > (\d+) maximum", answer.data.decode())[0])
        assert tokens > window == 8192


@EVERY_PAIR
def test_used_up_credit_is_the_accounts_affair(gateway: Process, caller: str, api: str) -> None:
    answer = gateway.chat(caller, f"{api}/fail-400-balance")
    assert answer.status == 402 and is_error(caller, answer.json)
