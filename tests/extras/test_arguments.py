"""Arguments of the wrong type: every method of the library works with them, or says which one it is and what it has to be."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Callable, Dict

import pytest
from quick import every
from raw_server import StillTransport, completion, http

import llm_router_client as c

ASK = [{"role": "user", "content": "Hello"}]
WRONG = (None, 5, "", -1, 0, [5], {}, "x", 1.5, [None], {"a": 5}, object())
LIST = http(b'{"data": [{"id": "m"}]}')
# method -> its argument -> a word by which an error names it; fields that go into the body as they are have none
CALLS: Dict[str, Dict[str, str]] = {
    "chat": {
        "model": "model", "messages": "messages", "fallback": "model name", "deadline_s": "deadline_s", "stream": "",
        "task": "task", "prefer": "prefer", "cache_ttl_s": "cache_ttl_s", "max_tokens": "JSON", "stop": "JSON",
        "response_format": "JSON", "tools": "JSON", "tool_choice": "JSON", "n": "JSON",
    },
    "chat_stream": {
        "model": "model", "messages": "messages", "fallback": "model name", "deadline_s": "deadline_s", "task": "task",
    },
    "fallback": {"models": "model name", "messages": "messages", "deadline_s": "deadline_s", "stream": ""},
    "vision": {
        "model": "model", "image_url": "image", "prompt": "prompt", "detail": "detail", "system": "system",
        "deadline_s": "deadline_s", "fallback": "model name",
    },
    "compare_models": {
        "models": "model", "message": "message", "system": "system", "max_workers": "max_workers", "stream": "",
        "deadline_s": "deadline_s", "fallback": "model name",
    },
    "list_models": {"offline": "", "deadline_s": "deadline_s"},
    "generate_content": {
        "model": "model", "contents": "contents", "generation_config": "JSON", "stream": "", "api_version": "api_version",
        "fallback": "model name", "deadline_s": "deadline_s",
    },
    "route": {"messages": "messages", "task": "task", "prefer": "prefer", "offline": "", "deadline_s": "deadline_s"},
    "run_tools": {
        "model": "model", "messages": "messages", "tools": "tool", "max_rounds": "max_rounds", "stream": "",
        "on_event": "on_event", "deadline_s": "deadline_s", "fallback": "model name",
    },
    "preview": {"model": "model", "messages": "messages", "stream": ""},
}  # fmt: skip
OF_CLIENT = {
    "api_key": "api_key", "base_url": "base", "timeout_s": "timeout_s",  # pragma: allowlist secret
    "deadline_s": "deadline_s", "headers": "header",
    "connect_timeout_s": "connect_timeout_s", "first_event_timeout_s": "first_event_timeout_s", "max_retries": "max_retries",
    "progress_timeout_s": "progress_timeout_s", "retry_timeouts": "", "lenient_end": "", "allow_paths": "allow_paths",
    "cache_ttl_s": "cache_ttl_s", "max_cost_usd": "--max-cost", "usage_log": "", "session": "session", "ca_file": "",
}  # fmt: skip
RIGHT: Dict[str, Any] = {
    "model": "m", "models": ["m"], "messages": ASK, "message": "Hello", "contents": "Hello",
    "image_url": "https://example.com/a.png",
}  # fmt: skip
NEEDED = {
    "chat": ("model", "messages"), "chat_stream": ("model", "messages"), "fallback": ("models", "messages"),
    "vision": ("model", "image_url"), "compare_models": ("models", "message"), "list_models": (),
    "generate_content": ("model", "contents"), "route": ("messages",), "run_tools": ("model", "messages", "tools"),
    "preview": ("model", "messages"),
}  # fmt: skip


def add(a: int) -> int:
    """Adds."""
    return a


@pytest.fixture(autouse=True)
def own_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What these calls keep stays in this test's folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("LLM_ROUTER_USAGE_LOG", "LLM_ROUTER_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in ("XDG_CONFIG_HOME", "HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "x").mkdir()


def outcome(call: Callable[[], Any], word: str, what: str) -> bool:
    """Whether a call worked; where it did not, its error is ours and names the argument."""
    try:
        answer = call()
        if isinstance(answer, c.Call):
            answer.answer()
    except c.RequestTimeout:
        assert word == "deadline_s", what  # 0 and less: it is over already
        return False
    except (c.UsageError, c.SafetyError, c.AuthenticationError) as error:
        assert word and (word in str(error) or "is a directory" in str(error)), f"{what}: {error}"
        assert not isinstance(error, c.AuthenticationError) or error.code == "key_malformed", what
        return False
    return True


def replies(request: Any) -> bytes:
    return LIST if request["line"].startswith("GET") else http(completion("hello"))


@pytest.mark.parametrize("method,argument", every(3, [(method, argument) for method in CALLS for argument in CALLS[method]]))
def test_an_argument_of_the_wrong_type_works_or_is_named_before_anything_is_sent(
    serve: Any, method: str, argument: str
) -> None:
    server = serve(replies)
    for wrong in WRONG:
        given = {name: [add] if name == "tools" else RIGHT[name] for name in NEEDED[method]}
        if argument in ("task", "prefer"):
            given.pop("model", None)
        asked = c.LLMRouterClient("key", server.base_url, transport=StillTransport(), max_retries=0, usage_log=False)
        before = len(server.requests)
        what = f"{method}({argument}={wrong!r})"
        try:
            works = outcome(partial(getattr(asked, method), **{**given, argument: wrong}), CALLS[method][argument], what)
        except c.BadUpstreamError:  # the answer of this server is OpenAI's
            assert method == "generate_content", what
            continue
        finally:
            asked.close()
        lists = argument in ("task", "prefer") and wrong in ("", "x")  # the list says which models there are
        assert works or lists or len(server.requests) == before, what


@pytest.mark.parametrize("argument", every(3, OF_CLIENT))
def test_an_argument_of_the_client_that_is_of_the_wrong_type_works_or_is_named(serve: Any, argument: str) -> None:
    server = serve(http(completion("hello")))
    for wrong in WRONG:
        options = {"api_key": "key", "base_url": server.base_url, "max_retries": 0}  # pragma: allowlist secret
        options.update({"usage_log": False, argument: wrong})

        def call(given: Any = options) -> Any:
            with c.LLMRouterClient(**{"transport": StillTransport(), **given}) as asked:
                return asked.chat("m", ASK)

        if argument == "base_url" and wrong in (None, ""):
            continue  # the default endpoint
        outcome(call, OF_CLIENT[argument], f"{argument}={wrong!r}")


@pytest.mark.parametrize("wrong", WRONG)
def test_a_conversation_takes_a_path_and_an_answer(wrong: Any, tmp_path: Path) -> None:
    made: Any = None
    try:
        made = c.Conversation(wrong)
        made.close()
    except (c.UsageError, c.SafetyError) as error:
        assert "path" in str(error) or "is a directory" in str(error)
    with pytest.raises(c.UsageError, match="answer is what chat"):
        talk = c.Conversation(tmp_path / "talk.json")
        try:
            talk.add(ASK, wrong)
        finally:
            talk.close()
    outcome(lambda: c.Conversation(tmp_path / "b.json", wrong).close(), "allow_paths", f"allow_paths={wrong!r}")


@pytest.mark.parametrize("many", [list, tuple, iter, dict.fromkeys, lambda items: dict(enumerate(items)).values()])
def test_names_tools_and_paths_come_in_any_collection(serve: Any, tmp_path: Path, many: Callable[[Any], Any]) -> None:
    server = serve(replies)
    headers = MappingProxyType({"x-team": "blue"})
    with c.LLMRouterClient(
        "key", server.base_url, headers=headers, allow_paths=many([str(tmp_path)]), usage_log=False
    ) as asked:
        assert asked.allow_paths == (str(tmp_path),)
        assert asked.chat("m", ASK, fallback=many(["n"])).text == "hello"
        assert list(asked.compare_models(many(["m", "n"]), "Hi")) == ["m", "n"]
        assert asked.run_tools("m", ASK, many([add])).text == "hello"
    assert server.requests[0]["headers"]["x-team"] == "blue"


def test_a_system_prompt_may_be_a_list_of_parts(serve: Any) -> None:
    server = serve(replies)
    parts = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    with c.LLMRouterClient("key", server.base_url, usage_log=False) as asked:
        asked.vision("m", "https://example.com/a.png", system=parts)
    assert json.loads(server.requests[0]["body"])["messages"][0] == {"role": "system", "content": parts}


@pytest.mark.parametrize("left_s", [0, -0.1])
def test_a_deadline_that_is_over_is_a_timeout(serve: Any, left_s: float) -> None:
    server = serve(replies)
    with c.LLMRouterClient("key", server.base_url, usage_log=False) as asked, pytest.raises(c.RequestTimeout):
        asked.chat("m", ASK, deadline_s=left_s)
    assert server.requests == []


def test_a_text_is_no_list_of_paths() -> None:
    with pytest.raises(c.UsageError, match="allow_paths must be a list of paths"):
        c.LLMRouterClient("key", allow_paths="/tmp")  # whose first letter is the root of all


@pytest.mark.parametrize("most", [0, -1, 1.5, "2"])
def test_models_are_compared_by_one_thread_or_more(serve: Any, most: Any) -> None:
    server = serve(http(completion("hello")))
    with pytest.raises(c.UsageError, match="max_workers must be a whole number from 1"):
        c.LLMRouterClient("key", server.base_url).compare_models(["m"], "Hello", max_workers=most)
    assert server.requests == []
