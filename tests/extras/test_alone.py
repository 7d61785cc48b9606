"""The client file copied alone into an empty folder: it does what its card names, else it says what is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
from quick import every
from raw_server import completion, http

import llm_router_client as c

SCRIPTS = Path(c.__file__).parent
MISSING = "needs the folder llm_router_extras beside llm_router_client.py"
HI = ["--message", "Hi"]
ALONE = ("-I", "-S")  # without site-packages, where an editable install of this repository would lend it the folder


@pytest.fixture
def alone(cli: Any, demo: Any, tmp_path: Path) -> Any:
    """The command line of the file in a folder of its own."""
    shutil.copy(SCRIPTS / "llm_router_client.py", tmp_path)
    cli.words = lambda *words: [sys.executable, *ALONE, str(tmp_path / "llm_router_client.py"), *map(str, words)]
    cli.env["LLM_ROUTER_BASE_URL"] = demo.base_url
    return cli


@pytest.mark.parametrize("words,text", every(3, [
    (["chat", "-m", "demo", *HI], "You said: Hi"), (["chat", "-m", "demo", *HI, "--stream"], "You said: Hi"),
    (["vision", "-m", "demo", "--image", "https://example.com/a.png"], "image"), (["models"], "demo"),
    (["compare", "--models", "demo,demo-reasoning", *HI], "== demo-reasoning"), (["doctor"], "ok   models"),
    (["chat", "-m", "fail-404", "--fallback", "demo", *HI], "You said: Hi"), (["--help"], "usage"),
    (["chat", "--help"], "--schema"),
]))  # fmt: skip
def test_alone_it_does_what_its_card_names(alone: Any, words: List[str], text: str) -> None:
    ran = alone(*words)
    assert ran.code == 0 and text in ran.out.decode(), ran


def test_alone_it_takes_a_constant_model_where_none_is_named_and_says_so(alone: Any, demo: Any, serve: Any) -> None:
    server = serve(http(completion()))
    ran = alone("chat", *HI, "--json", env={"LLM_ROUTER_BASE_URL": server.base_url}).json
    assert (ran["model_requested"], ran["model_used"], ran["route"]) == (c.DEFAULT_MODEL, c.DEFAULT_MODEL, None)
    assert ran["warnings"] == ["no model was named, so gpt-5.4-mini was used; name another with --model or LLM_ROUTER_MODEL"]
    assert len(server.requests) == 1
    assert alone("chat", *HI, "--json", env={"LLM_ROUTER_MODEL": "demo"}).json["warnings"] == []


def test_alone_the_cost_is_what_the_server_says(alone: Any, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"prices": {"demo": {"input": 1, "output": 1}}}')
    ran = alone("chat", "-m", "demo", *HI, "--json", env={"LLM_ROUTER_CONFIG": str(tmp_path / "config.json")}).json
    assert ran["ok"] and ran["cost_source"] == "endpoint"


@pytest.mark.slow
def test_alone_a_refused_field_is_an_error_and_no_control_character_reaches_a_terminal(alone: Any, serve: Any) -> None:
    ran = alone("chat", "-m", "fail-strict-max_tokens", "--max-tokens", "9", *HI)
    assert ran.code == 1 and b"[bad_request]" in ran.err and b"Traceback" not in ran.err
    server = serve(http(completion("a\x1b[31mb\x9b2Jc\u202ed")))
    for more in ([], ["--stream"]):
        ran = alone("chat", "-m", "m", *HI, *more, env={"LLM_ROUTER_BASE_URL": server.base_url})
        assert ran.code == 0 and ran.out == b"a[31mb2Jcd\n", ran


@pytest.mark.parametrize("words", every(3, [
    ["chat", "-m", "demo", *HI, "--json"], ["chat", "-m", "demo", *HI, "--stream", "--json"],
    ["chat", "-m", "demo", *HI, "--raw"], ["chat", "-m", "demo", *HI, "--dry-run"],
    ["vision", "-m", "demo", "--image", "a.png", "--stream"], ["compare", "--models", "demo,fail-404", *HI, "--json"],
    ["chat", "-m", "demo-tools", *HI, "--stream"], ["models", "--json"], ["doctor", "--json"],
]))  # fmt: skip
def test_alone_every_form_of_its_commands_works(alone: Any, tmp_path: Path, words: List[str]) -> None:
    (alone.cwd / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    ran = alone(*words)
    assert ran.code == 0 and ran.out and b"Traceback" not in ran.err, ran


@pytest.mark.parametrize("model,code", [
    ("fail-401", 3), ("fail-429-quota", 4), ("fail-404", 5), ("fail-500", 6), ("fail-cut", 10),
])  # fmt: skip
@pytest.mark.slow
def test_alone_errors_retries_and_exit_codes_are_the_same(alone: Any, demo: Any, model: str, code: int) -> None:
    ran = alone("chat", "-m", model, *HI, "--retries", "1", "--json", "--stream")
    assert ran.code == code and len(ran.events[-1]["attempts"]) == (2 if code == 6 else 1), ran
    assert alone("chat", "-m", model, "--fallback", "demo", "--retries", "0", *HI).code == (3 if code == 3 else 0)


@pytest.mark.parametrize("words,what", every(4, [
    (["chat", "-m", "auto", *HI], "the model auto"), (["chat", "--task", "code", *HI], "--task or --prefer needs the folder"),
    (["chat", "--prefer", "cost", *HI], "--prefer"), (["chat", "-m", "demo", "--cache", "1h", *HI], "--cache"),
    (["chat", "-m", "demo", "--max-cost", "1", *HI], "--max-cost"), (["chat", "-m", "demo", "--usage-log", *HI], "--usage-log"),
    (["chat", "-m", "demo", "--append", "--messages-file", "talk.json", *HI], "--append"),
    (["chat", "-m", "demo", "--schema", "schema.json", *HI], "--schema"), (["route", *HI], "route"),
    (["chat", "-m", "demo", "--session", "s", *HI], "--session"), (["route", "--help"], "route"),
    (["chat", "-m", "demo", "--output", "a.txt", *HI], "--output"),
    (["compare", "--models", "demo", "--markdown", *HI], "--markdown"),
    (["cache", "stats"], "cache"), (["usage"], "usage"), (["compare", "--models", "demo", "--cache", "1h", *HI], "--cache"),
    (["chat", "-m", "demo", "--tool-choice", "none", *HI], "--tool-choice"), (["chat", "--demo", *HI], "--demo"),
    (["chat", "-m", "demo", "--response-format", "json", *HI], "--response-format"),
    (["chat", "-m", "demo", "--body-file", "schema.json", *HI], "--body-file"),
    (["chat", "-m", "demo", "--header", "a: b", *HI], "--header"),
]))  # fmt: skip
def test_alone_an_option_of_the_extras_says_which_folder_is_missing(
    alone: Any, demo: Any, tmp_path: Path, words: List[str], what: str
) -> None:
    (tmp_path / "schema.json").write_text("{}")
    ran = alone(*words)
    said = ran.err.decode()
    assert ran.code == 2 and what in said and MISSING in said and "Copy the folder scripts/llm_router_extras" in said, ran
    assert [request["path"] for request in demo.requests if request["path"].endswith("completions")] == []


def test_the_batch_without_the_folder_says_so_too(alone: Any, tmp_path: Path) -> None:
    shutil.copy(SCRIPTS / "llm_router_batch.py", tmp_path)
    (tmp_path / "in.jsonl").write_text('{"message": "Hi"}\n')
    alone.words = lambda *words: [sys.executable, *ALONE, str(tmp_path / "llm_router_batch.py"), *map(str, words)]
    ran = alone("run", "-m", "demo", "--input", "in.jsonl", "--output", "out.jsonl")
    assert ran.code == 2 and MISSING.encode() in ran.err and b"Traceback" not in ran.err, ran


def python(code: str, folder: Path, **env: str) -> str:
    """What a program beside the lone file prints."""
    environment: Dict[str, str] = {"PATH": "", **env}
    words = [sys.executable, *ALONE, "-c", f"import sys; sys.path.insert(0, {str(folder)!r})\n{code}"]
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


@pytest.mark.parametrize("call", every(4, [
    "from llm_router_client import Conversation", "client.run_tools('demo', HI, [len])", "client.route(HI)",
    "client.chat('demo', HI, cache_ttl_s=9)", "client.chat(messages=HI, task='code')", "LLMRouterClient(max_cost_usd=1)",
    "LLMRouterClient(usage_log=True)",
]))  # fmt: skip
def test_alone_in_python_too(alone: Any, demo: Any, tmp_path: Path, call: str) -> None:
    code = f"""from llm_router_client import LLMRouterClient, UsageError
client, HI = LLMRouterClient(base_url={demo.base_url!r}), [{{"role": "user", "content": "Hi"}}]
try:
    {call}
except UsageError as error:
    print(error)"""
    assert MISSING in python(code, tmp_path)


@pytest.mark.parametrize("call,said", every(8, [
    ("client.chat('demo', HI).text", "You said: Hi"), ("''.join(client.chat_stream('demo', HI))", "You said: Hi"),
    ("client.vision('demo', 'https://example.com/a.png').text", "image"), ("client.list_models().source", "live"),
    ("client.fallback(['fail-404', 'demo'], HI).model_used", "demo"),
    ("client.compare_models(['demo'], 'Hi')['demo']['response']", "You said: Hi"),
    ("client.generate_content('demo', 'Hi')['candidates'][0]['finishReason']", "STOP"),
    ("''.join(client.generate_content('demo', 'Hi', stream=True))", "You said: Hi"),
    ("client.chat('demo', HI, response_format={'type': 'json_object'}, tool_choice='none').finish_reason", "stop"),
]))  # fmt: skip
def test_alone_python_has_each_method_of_the_card(alone: Any, demo: Any, tmp_path: Path, call: str, said: str) -> None:
    code = f"""from llm_router_client import LLMRouterClient
client, HI = LLMRouterClient(base_url={demo.base_url!r}), [{{"role": "user", "content": "Hi"}}]
print({call})"""
    assert said in python(code, tmp_path)


@pytest.mark.slow
def test_a_schema_in_a_request_is_sent_alone_and_the_missing_check_is_a_warning(alone: Any, demo: Any, tmp_path: Path) -> None:
    code = f"""from llm_router_client import LLMRouterClient
client, HI = LLMRouterClient(base_url={demo.base_url!r}), [{{"role": "user", "content": "Hi"}}]
form = {{"type": "json_schema", "json_schema": {{"name": "a", "schema": {{"type": "object"}}}}}}
answer = client.chat("demo", HI, response_format=form)
print(answer.data, answer.warnings)"""
    assert python(code, tmp_path).startswith("None ['the answer is not checked against its schema: ")


@pytest.mark.slow
def test_with_its_folder_the_extras_have_the_same_classes_as_the_script(cli: Any, demo: Any, tmp_path: Path) -> None:
    """The script is `__main__`: a second copy of it would raise errors that its own handlers do not know."""
    for folder in ("llm_router_extras", "llm_router_client.py"):
        (shutil.copytree if "." not in folder else shutil.copy)(SCRIPTS / folder, tmp_path / folder)
    cli.words = lambda *words: [sys.executable, *ALONE, str(tmp_path / "llm_router_client.py"), *map(str, words)]
    cli.env["LLM_ROUTER_BASE_URL"] = demo.base_url
    ran = cli("chat", "--task", "cooking", *HI)
    assert ran.code == 2 and b"no task is called 'cooking'" in ran.err
    assert cli("chat", "--task", "code", "--max-cost", "1", *HI).code == 8


@pytest.mark.parametrize("words", [["chat", "-m", "demo", *HI], ["models"], ["compare", "--models", "demo", *HI], ["--help"]])
def test_nothing_of_the_extras_is_loaded_until_it_is_used(cli: Any, demo: Any, words: List[str]) -> None:
    code = f"""import sys; sys.path.insert(0, {str(SCRIPTS)!r}); import llm_router_client as c
c.main({words!r}); sys.exit(sorted(name for name in sys.modules if name.startswith("llm_router_extras")) or 0)"""
    env = {**cli.env, "LLM_ROUTER_BASE_URL": demo.base_url}
    ran = subprocess.run([sys.executable, *ALONE, "-c", code], env=env, capture_output=True, timeout=30)
    assert ran.returncode == 0, ran
