"""A real model through the gateway, by the three vendors' own SDKs (OpenAI's with both of its APIs) and in each protocol that
the server behind speaks, plain and streamed; how to run it is in README.md.

The server behind is the one that test_live.py asks; the SDKs are skipped with a reason where they are not installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ANY = "any"  # no token is set, and SDKs insist on a key
QUESTION = "What is the capital of France? Answer in one sentence."
BASE_URL, MODEL, KEY = (os.environ.get(f"LLM_ROUTER_LIVE_{name}", "") for name in ("BASE_URL", "MODEL", "API_KEY"))
if not (BASE_URL and MODEL):
    why = "no real server: set LLM_ROUTER_LIVE_BASE_URL and LLM_ROUTER_LIVE_MODEL (tests/live/README.md)"
    pytest.skip(why, allow_module_level=True)
if sys.version_info < (3, 11):
    pytest.skip("the gateway needs Python 3.11", allow_module_level=True)
PATHS = {"openai": "/chat/completions", "responses": "/responses", "anthropic": "/messages"}  # below base_url
CONFIG = "".join(
    f'[[providers]]\nname = "{api}"\napi = "{api}"\nbase_url = "{BASE_URL}"\napi_key_env = "LIVE_KEY"\n' for api in PATHS
)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway in front of the real server."""
    folder = tmp_path_factory.mktemp("gateway")
    (folder / "router.toml").write_text(CONFIG)
    words = [sys.executable, str(ROOT / "scripts" / "llm_router_gateway"), "-c", "router.toml", "-p", "0"]
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "LIVE_KEY": KEY or "none-wanted"}
    running = subprocess.Popen(words, cwd=folder, env=env, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert running.stderr
    told: list[str] = []
    for line in running.stderr:
        told.append(line)
        if " listening on " in line:
            break
    assert told and " listening on " in told[-1], told
    url = told[-1].partition(" listening on ")[2].split(": ")[0]
    reader = threading.Thread(target=lambda: told.extend(running.stderr or ()), daemon=True)
    reader.start()
    yield url
    running.terminate()
    assert running.wait(10) == 0
    reader.join(10)
    running.stderr.close()
    print("".join(told))
    assert not any("Please report this line" in line for line in told)


@pytest.fixture(scope="module", params=PATHS)
def model(request: pytest.FixtureRequest) -> str:
    """The model in one of the protocols; skipped where the server does not speak it."""
    api = str(request.param)
    head = {"content-type": "application/json", "authorization": f"Bearer {KEY}", "x-api-key": KEY}
    asked = urllib.request.Request(f"{BASE_URL.rstrip('/')}{PATHS[api]}", b"{}", head)
    try:
        urllib.request.urlopen(asked, timeout=60).close()
    except urllib.error.HTTPError as refused:  # 400 for the empty body shows that the path is there
        if refused.code in (404, 405, 501):
            pytest.skip(f"the server does not speak the protocol {api}: {PATHS[api]} is answered {refused.code}")
        refused.close()
    return f"{api}/{MODEL}"


def ask_openai(url: str, model: str, stream: bool) -> Any:
    openai = pytest.importorskip("openai", reason="the openai SDK is not installed")
    with openai.OpenAI(base_url=f"{url}/v1", api_key=ANY, max_retries=0, timeout=60) as client:
        asked: Any = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
        asked.update(temperature=0, max_tokens=60)
        if not stream:
            answer = client.chat.completions.create(**asked)
            return answer.choices[0].message.content, answer.choices[0].finish_reason, answer.usage.completion_tokens
        chunks = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        finish = next(chunk.choices[0].finish_reason for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason)
        return text, finish, chunks[-1].usage.completion_tokens


def ask_responses(url: str, model: str, stream: bool) -> Any:
    openai = pytest.importorskip("openai", reason="the openai SDK is not installed")
    with openai.OpenAI(base_url=f"{url}/v1", api_key=ANY, max_retries=0, timeout=60) as client:
        asked: Any = {"model": model, "input": QUESTION, "temperature": 0, "max_output_tokens": 60}
        if not stream:
            answer = client.responses.create(**asked)
        else:
            events = list(client.responses.create(**asked, stream=True))  # the SDK's helper fails at llama.cpp's own streams
            text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
            answer = events[-1].response
            assert text == answer.output_text
        return answer.output_text, answer.status, answer.usage.output_tokens


def ask_anthropic(url: str, model: str, stream: bool) -> Any:
    anthropic = pytest.importorskip("anthropic", reason="the anthropic SDK is not installed")
    with anthropic.Anthropic(base_url=url, api_key=ANY, max_retries=0, timeout=60) as client:
        asked: Any = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
        asked.update(max_tokens=60)
        if not stream:
            message = client.messages.create(**asked)
        else:
            with client.messages.stream(**asked) as events:
                text = "".join(events.text_stream)
                message = events.get_final_message()
                assert text == message.content[0].text
        return message.content[0].text, message.stop_reason, message.usage.output_tokens


def ask_gemini(url: str, model: str, stream: bool) -> Any:
    genai = pytest.importorskip("google.genai", reason="google-genai is not installed")
    client = genai.Client(api_key=ANY, http_options={"base_url": url})
    config = {"temperature": 0, "max_output_tokens": 60}
    asked: Any = {"model": model, "contents": QUESTION, "config": config}
    try:
        answers = list(client.models.generate_content_stream(**asked)) if stream else [client.models.generate_content(**asked)]
    finally:
        client.close()
    last = answers[-1]
    text = "".join(answer.text or "" for answer in answers)
    return text, last.candidates[0].finish_reason.name, last.usage_metadata.candidates_token_count


ASKING = [(ask_openai, "stop"), (ask_responses, "completed"), (ask_anthropic, "end_turn"), (ask_gemini, "STOP")]


@pytest.mark.filterwarnings("ignore")  # of the SDKs
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
@pytest.mark.parametrize("ask,finish", ASKING, ids=[ask.__name__ for ask, _ in ASKING])
def test_a_real_model_answers_every_vendor_s_sdk(gateway: str, model: str, ask: Any, finish: str, stream: bool) -> None:
    text, reason, tokens = ask(gateway, model, stream)
    print(f"{ask.__name__} to {model}, {'streamed' if stream else 'plain'}: {text!r}, {reason}, {tokens} tokens")
    assert "Paris" in text and reason == finish and tokens > 0
