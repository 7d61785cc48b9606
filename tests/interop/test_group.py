"""The vendors' own SDKs through a group whose first member is down: the application sees the second one's answer, nothing else.

Each SDK to a member of each protocol, over each way of being down. The SDKs' own retries are off: one failure would show.
"""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from conftest import UPSTREAMS, Gateway
from sdks import ARGUMENTS, nothing_to_test, opened, require

if nothing_to_test():
    pytest.skip("none of the vendors' SDKs is installed (tests/interop/README.md)", allow_module_level=True)

WHO = "This is the mock server, not a model."
# way of being down -> the model of the mock server that is so; "" is an address where nobody listens
DOWN = {
    "refused": "", "500": "fail-500", "529": "fail-529", "429": "fail-429", "key": "fail-401", "drop": "fail-drop",
    "html": "fail-html", "error-200": "fail-error-200", "error-first": "fail-error-first", "garbage": "break-garbage",
    "nothing": "fail-empty-body", "unknown": "fail-404",
}  # fmt: skip
NOT_SEEN = ("refused", "429", "key")  # by the mock server: nobody listens, or the member is left alone once it said so
STALLED = "stalled"  # only streams have a limit for their first output
STREAMS = pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
GROUP = """
[[groups]]
name = "{down}-{upstream}{model}"
strategy = "priority"
first_output_timeout_s = 1.0
[[groups.members]]
model = "{first}"
priority = 2
[[groups.members]]
model = "to-{upstream}/{model}"
priority = 1
"""
HEALTH = """
[health]
failures_to_open = 10000
"""
PROVIDER = """
[[providers]]
name = "{down}-{upstream}"
api = "{upstream}"
base_url = "{url}{root}"
api_key = {key}
"""
ROOTS = {"openai": "/v1", "anthropic": "", "gemini": "/v1beta", "responses": "/v1"}


def configuration(mock_server: str, nobody: str) -> str:
    """A group for each way of being down and each protocol behind it; no breaker opens, no key but its own is blamed."""
    parts = [HEALTH]
    for down, bad in {**DOWN, STALLED: "fail-stall"}.items():
        for upstream in UPSTREAMS:
            url = mock_server if bad else nobody
            parts.append(PROVIDER.format(down=down, upstream=upstream, url=url, root=ROOTS[upstream], key='"none"'))
            first = f"{down}-{upstream}/{bad or 'demo'}"
            parts += [GROUP.format(down=down, upstream=upstream, model=model, first=first) for model in ("demo", "demo-tools")]
    return "".join(parts)


class Through(NamedTuple):
    """An SDK's client of the gateway, and whose protocol the good member speaks."""

    sdk: Any
    upstream: str
    gateway: Gateway
    mock_server: Any
    begun: int

    def chat(self, down: str, model: str = "demo", **wish: Any) -> Any:
        return self.sdk.chat(f"{down}-{self.upstream}{model}", **wish)

    @property
    def asked(self) -> int:
        """How often the mock server was asked since this test began."""
        return len([each for each in self.mock_server.requests[self.begun :] if each["method"] == "POST"])


@pytest.fixture(scope="module")
def grouped(mock_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # ours, and not listened to: whoever connects is refused
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        running = Gateway(tmp_path_factory.mktemp("group"), mock_server.url, 10.0, configuration(mock_server.url, address))
        yield running
        assert running.close() == 0
        assert [line for line in running.lines if "Please report this line" in line or "Traceback" in line] == []


@pytest.fixture(params=UPSTREAMS)
def upstream(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def through(vendor: str, upstream: str, grouped: Gateway, mock_server: Any) -> Iterator[Through]:
    require(vendor)
    with opened(vendor, grouped.url, grouped.token) as sdk:
        yield Through(sdk, upstream, grouped, mock_server, len(mock_server.requests))


@STREAMS
@pytest.mark.parametrize("down", DOWN)
def test_the_second_member_answers(through: Through, down: str, stream: bool) -> None:
    chat = through.chat(down, stream=stream)
    for text in ("Hello", "And again?"):
        said = chat.say(text)
        assert (said.text, said.finish, said.calls) == (f"{WHO} You said: {text}", "end", [])
        assert said.output_tokens == len(said.text.split())
    assert through.asked >= (2 if down in NOT_SEEN else 4)


def test_a_first_output_that_does_not_come_is_not_waited_for(through: Through) -> None:
    said = through.chat(STALLED, stream=True).say("Hello")
    assert (said.text, said.finish) == (f"{WHO} You said: Hello", "end")


@STREAMS
@pytest.mark.parametrize("down", ["refused", "529", "error-first"])
def test_tools_and_their_results_go_the_same_way(through: Through, down: str, stream: bool) -> None:
    chat = through.chat(down, "demo-tools", tools=True, stream=stream)
    said = chat.say("Weather and time?")
    assert said.finish == "tools"
    assert {call.name: call.arguments for call in said.calls} == ARGUMENTS
    told = chat.results([(call, f"result-{call.name}") for call in said.calls])
    assert (told.finish, told.calls) == ("end", [])
    assert all(f"result-{name}" in told.text for name in ARGUMENTS)


def test_groups_are_listed_and_found_by_name(through: Through) -> None:
    name = f"refused-{through.upstream}demo"
    assert name in through.sdk.models()
    assert through.sdk.model(name) == name


def test_the_answer_names_the_member_that_gave_it_and_health_the_one_that_failed(grouped: Gateway) -> None:
    headers = {"authorization": f"Bearer {grouped.token}", "content-type": "application/json"}
    body = {"model": "refused-openaidemo", "messages": [{"role": "user", "content": "Hello"}]}
    asked = urllib.request.Request(f"{grouped.url}/v1/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(asked, timeout=15) as answer:
        assert answer.headers["x-llm-router-model"] == "to-openai/demo"
        assert answer.headers["x-llm-router-attempts"] == "2"
    with urllib.request.urlopen(urllib.request.Request(f"{grouped.url}/health/models", headers=headers), timeout=15) as answer:
        known = {each["model"]: each for each in json.load(answer)["models"]}
    assert known["refused-openai/demo"]["failures"] > 0
    assert known["to-openai/demo"]["factor"] == 1.0
