"""The command line as its users run it: a process of its own with pipes, signals, a full disk, a terminal."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest
from failures import BAD_ANSWERS, OUTCOMES
from quick import every
from raw_server import DONE, delta, http, stream

import llm_router_client as c

ANSWERED = "This is the mock server, not a model. You said: Hello"
SOON = ("--retries", "0", "--first-event-timeout", "2", "--progress-timeout", "2")
QUICK = ("fail-401", "fail-429", "fail-cut", "fail-filter", "fail-nofinish")  # one of each kind; the others are slow in sum
EVERY_OUTCOME = [pytest.param(model, marks=() if model in QUICK else pytest.mark.slow) for model in sorted(OUTCOMES)]
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAIAAAADCAIAAAA2iEnWAAAAEklEQVR4nGP4z8AARAwQCgwANr4F+1YbV4AAAAAASUVORK5CYII=")
posix_only = pytest.mark.skipif(os.name != "posix", reason="signals, pipes and devices as POSIX has them")


@pytest.fixture
def at_demo(cli: Any, demo: Any) -> Callable[..., Any]:
    """cli(...) whose endpoint is the mock server."""
    cli.env["LLM_ROUTER_BASE_URL"] = demo.base_url
    return cli  # type: ignore[no-any-return]


def exit_code(model: str, streamed: bool) -> int:
    """The exit code that the library's outcome asks for: 10 once text has been shown, except for a filter."""
    code, _, kept, _ = OUTCOMES[model][streamed]
    return 0 if not code else 10 if kept and code != "content_filter" else c.ERRORS[code][0]


# -------------------------------------------------------------------------------------------------------- every outcome


@pytest.mark.parametrize("model", EVERY_OUTCOME)
def test_every_failure_of_the_stand_in_as_text(at_demo: Any, model: str) -> None:
    for streamed in (False, True):
        words = ["chat", "-m", model, "--message", "Hello", "--max-tokens", "9", *SOON]
        ran = at_demo(*words, *(["--stream"] if streamed else []))
        code, _, kept, _ = OUTCOMES[model][streamed]
        assert ran.code == exit_code(model, streamed), ran
        assert ran.out.decode() == (f"{ANSWERED}\n" if kept else "")
        said = ran.err.decode().splitlines()
        assert all(line.startswith("llm-router: ") for line in said)
        if code:
            assert f"llm-router: error: {model}: " in ran.err.decode() and f"[{code}]" in ran.err.decode()
            assert said[-1].startswith("llm-router: next: ")


@pytest.mark.slow
@pytest.mark.parametrize("model", EVERY_OUTCOME)
def test_every_failure_of_the_stand_in_as_json(at_demo: Any, model: str) -> None:
    for streamed in (False, True):
        words = ["chat", "-m", model, "--message", "Hello", "--max-tokens", "9", "--json", *SOON]
        ran = at_demo(*words, *(["--stream"] if streamed else []))
        code, status, kept, _ = OUTCOMES[model][streamed]
        *events, result = ran.events
        assert ran.code == exit_code(model, streamed) and bool(events) == (streamed and kept), ran
        assert (result["ok"], result["finish"]["complete"]) == (not code, not code)
        assert result["text"] == (ANSWERED if kept else "") and result["model_requested"] == model
        assert result["error"] is None if not code else (result["error"]["code"], result["error"]["status"]) == (code, status)
        assert all(attempt["model"] == model for attempt in result["attempts"])


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_none_of_the_seventeen_bad_answers_exits_0(at_demo: Any, name: str) -> None:
    assert len(BAD_ANSWERS) == 17
    for more in ([], ["--stream"], ["--raw"], ["--output", "answer.txt"]):
        ran = at_demo("chat", "-m", f"fail-{name}", "--message", "Hello", *SOON, *more)
        assert ran.code != 0 and b"Traceback" not in ran.err, (more, ran)
    assert not list(at_demo.cwd.iterdir())


@pytest.mark.slow
def test_length_is_a_warning_and_strict_makes_it_incomplete(at_demo: Any) -> None:
    for more, code in (([], 0), (["--strict"], 10), (["--strict", "--stream"], 10)):
        ran = at_demo("chat", "-m", "fail-length", "--message", "Hello", *more)
        assert ran.code == code and ran.out.decode() == f"{ANSWERED}\n" and b"cut at the token limit" in ran.err
    result = at_demo("chat", "-m", "fail-length", "--message", "Hello", "--strict", "--json").json
    assert (result["ok"], result["error"]["code"], result["finish"]["complete"]) == (False, "length", False)


# --------------------------------------------------------------------------------------------------------------- output


@pytest.mark.slow
def test_the_bytes_are_the_same_streamed_or_not_on_a_terminal_or_not(at_demo: Any) -> None:
    pty = pytest.importorskip("pty", reason="no pseudo-terminals here")
    words = ["chat", "-m", "demo-reasoning", "--message", "H\u00e9llo \u4e2d\u6587"]
    plain = at_demo(*words)
    assert plain.code == 0 and plain.err == b"" and plain.out.decode().endswith("\u4e2d\u6587\n")
    assert at_demo(*words, "--stream").out == plain.out
    ours, theirs = pty.openpty()
    running = at_demo.start(*words, "--stream", stdout=theirs, stderr=theirs)
    assert running.wait(20) == 0
    os.close(theirs)
    assert os.read(ours, 65536).replace(b"\r\n", b"\n") == plain.out
    os.close(ours)


@pytest.mark.parametrize(
    "env", every(2, [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "cp1252"}, {"PYTHONUTF8": "0", "LC_ALL": "POSIX"}])
)
def test_utf8_whatever_the_locale(at_demo: Any, env: Dict[str, str]) -> None:
    (at_demo.cwd / "q.txt").write_text("\U0001f600 \u4e2d", encoding="utf-8")
    ran = at_demo("chat", "-m", "demo", "--message-file", "q.txt", env=env)
    assert ran.code == 0 and ran.out.decode("utf-8").endswith("\U0001f600 \u4e2d\n")


def test_an_argument_that_is_no_utf8_is_a_usage_error(at_demo: Any) -> None:
    ran = at_demo("chat", "-m", "demo", "--message", os.fsdecode(b"\xff"))
    assert ran.code == 2 and b"not UTF-8" in ran.err


@pytest.mark.slow
def test_raw_is_the_api_s_body_untouched(at_demo: Any, demo: Any) -> None:
    ran = at_demo("chat", "-m", "demo", "--message", "Hello", "--raw")
    assert ran.json["choices"][0]["message"]["content"] == ANSWERED and not ran.out.endswith(b"\n")
    for more in ("--stream", "--json", "--output=x"):
        assert at_demo("chat", "-m", "demo", "--message", "Hello", "--raw", more).code == 2


def test_ndjson_ends_in_the_envelope(at_demo: Any) -> None:
    *events, result = at_demo("chat", "-m", "demo-reasoning", "--message", "Hello", "--stream", "--json").events
    assert {event["type"] for event in events} == {"reasoning", "text", "finish", "usage"}
    assert "".join(event["text"] for event in events if event["type"] == "text") == result["text"] == ANSWERED
    assert result["type"] == "result" and result["first_s"] <= result["latency_s"]


@pytest.mark.slow
def test_tool_calls_are_lines_of_json_and_never_executed(at_demo: Any) -> None:
    tools = [{"type": "function", "function": {"name": "rm", "parameters": {"type": "object"}}}]
    (at_demo.cwd / "tools.json").write_text(json.dumps(tools))
    words = ["chat", "-m", "demo-tools", "--message", "Hello", "--tools", "tools.json"]
    for more in ([], ["--stream"]):
        calls = at_demo(*words, *more).events
        assert [(call["name"], call["parsed"]) for call in calls if call] == [("rm", {})]
    assert at_demo(*words, "--json").json["tool_calls"][0]["name"] == "rm"


def test_verbose_tells_the_cost_on_stderr(at_demo: Any) -> None:
    ran = at_demo("chat", "-m", "demo", "--message", "Hello", "-v")
    assert ran.out.decode() == f"{ANSWERED}\n" and b"tokens, cost $0.0000" in ran.err and b"credits left" in ran.err


@pytest.mark.slow
def test_output_writes_the_whole_text_and_prints_path_and_size(at_demo: Any) -> None:
    path = at_demo.cwd / "answer.txt"
    for more in ([], ["--stream", "--force"]):
        ran = at_demo("chat", "-m", "demo", "--message", "Hello", "--output", "answer.txt", *more)
        assert ran.code == 0 and ran.out.decode() == f"{path.resolve()} {len(ANSWERED)} bytes\n"
        assert path.read_text() == ANSWERED
    shown = at_demo("chat", "-m", "demo", "--message", "Hello", "--output", "other.txt", "--json").json
    assert shown["text"] == "" and shown["output"] == {
        "path": str(path.resolve().with_name("other.txt")),
        "bytes": len(ANSWERED),
    }
    assert sorted(entry.name for entry in at_demo.cwd.iterdir()) == ["answer.txt", "other.txt"]


def test_a_failed_stream_leaves_no_output_file_and_shows_the_text_so_far(at_demo: Any) -> None:
    ran = at_demo("chat", "-m", "fail-cut", "--message", "Hello", "--stream", "--output", "answer.txt")
    assert ran.code == 10 and ran.out.decode() == f"{ANSWERED}\n" and not list(at_demo.cwd.iterdir())


# ---------------------------------------------------------------------------------------------------------------- input


def said_to(demo: Any) -> Any:
    return demo.requests[-1]["body"]["messages"]


@pytest.mark.slow
def test_the_ways_to_give_a_message(at_demo: Any, demo: Any) -> None:
    turns = [{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"}]
    (at_demo.cwd / "q.txt").write_bytes(b"\xef\xbb\xbf" + b"x" * 200_000)
    (at_demo.cwd / "turns.json").write_text(json.dumps(turns))
    last = {"role": "user", "content": "Hello"}
    cases: List[Tuple[List[str], bytes, Any]] = [
        (["--message", "Hello"], b"ignored", [last]),
        (["--message=--json"], b"", [{"role": "user", "content": "--json"}]),
        (["--message", "-- Hello"], b"", [{"role": "user", "content": "-- Hello"}]),
        (["--message", "-"], b"Hello", [last]),
        (["--message-file", "q.txt"], b"", [{"role": "user", "content": "x" * 200_000}]),
        (["--messages", json.dumps(turns), "--message", "Hello"], b"", [*turns, last]),
        (["--messages", "-"], json.dumps([last]).encode(), [last]),
        (["--messages-file", "turns.json", "-s", "Be brief."], b"", [{"role": "system", "content": "Be brief."}, *turns]),
    ]
    for words, stdin, expected in cases:
        assert at_demo("chat", "-m", "demo", *words, stdin=stdin).code == 0, words
        assert said_to(demo) == expected


def test_a_body_file_lies_under_the_flags(at_demo: Any, demo: Any) -> None:
    body = {
        "model": "demo",
        "messages": [{"role": "user", "content": "From the file"}],
        "temperature": 1,
        "seed": 7,
        "stream": True,
    }
    (at_demo.cwd / "body.json").write_text(json.dumps(body))
    assert at_demo("chat", "--body-file", "body.json", "-t", "0.5").code == 0
    sent = demo.requests[0]["body"]
    assert (sent["temperature"], sent["seed"], sent["stream"]) == (0.5, 7, True) and said_to(demo) == body["messages"]


def test_every_parameter_reaches_the_body_under_its_name(at_demo: Any, demo: Any) -> None:
    (at_demo.cwd / "list.json").write_text("[]")
    words = "--temperature 0.5 --max-tokens 7 --top-p 0.9 --frequency-penalty 0.1 --presence-penalty 0.2 --stop a --stop b"
    more = "--tools list.json --functions list.json --tool-choice find --function-call auto --response-format json"
    assert at_demo("chat", "-m", "demo", "--message", "Hello", *words.split(), *more.split()).code == 0
    body = demo.requests[0]["body"]
    del body["messages"]
    assert body == {
        "model": "demo", "stream": False, "temperature": 0.5, "max_tokens": 7, "top_p": 0.9, "frequency_penalty": 0.1,
        "presence_penalty": 0.2, "stop": ["a", "b"], "tools": [], "functions": [], "function_call": "auto",
        "tool_choice": {"type": "function", "function": {"name": "find"}}, "response_format": {"type": "json_object"},
    }  # fmt: skip


@pytest.mark.slow
def test_the_model_is_the_flag_s_the_file_s_or_the_environment_s(at_demo: Any, demo: Any) -> None:
    (at_demo.cwd / "body.json").write_text('{"model": "demo-words-2"}')
    env = {"LLM_ROUTER_MODEL": "demo-words-3"}
    for words in (["-m", "demo", "--body-file", "body.json"], ["--body-file", "body.json"], []):
        assert at_demo("chat", "--message", "Hello", *words, env=env).code == 0
    assert [request["body"]["model"] for request in demo.requests] == ["demo", "demo-words-2", "demo-words-3"]


USAGE = {  # what is typed -> what the error says
    "": "no command given",
    "shat": "unknown command",
    "hello": "A question goes after `chat`.",
    "--demo chat Hello": "Options follow the command: `chat --demo`.",
    "cache size": "Write `cache stats` or `cache clear`.",
    "completion tcsh": "`completion zsh`",
    "skill isntall": "Write skill install",
    "doctor json": "unknown argument 'json'",
    "chat -m demo --message x --new": "--new goes with --continue",
    "talk --new": "--new goes with --continue",
    "chat -m demo --message -": "--message reads standard input, and nothing is piped in",
    "chat -m demo --message x --stdin": "--stdin reads standard input, and nothing is piped in",
    "chat -m demo --message x --output .": ". is a directory, not a file",
    "chat two questions": "Give it once, in quotes.",
    "What is this?": "Put several words in quotes.",
    "doctor extra": "unknown argument",
    "chat --mod x": "unknown argument '--mod'",
    "chat --messsage x": "unknown argument '--messsage'",
    "chat -m": "-m needs a value",
    "chat -m --stream": "-m needs a value",
    "chat --json=yes --message x": "--json takes no value",
    "chat -m demo": "nothing to ask",
    "chat -m demo --message x --max-tokens 1.5": "--max-tokens takes a whole number",
    "chat -m demo --message x --temperature warm": "--temperature takes a number",
    "chat -m demo --message=": "the message is empty",
    "chat -m demo --message x --temperature nan": "cannot be written as JSON",
    "chat -m demo --message x --timeout 0": "--timeout (deadline_s) must be a number of seconds between 0 and 10,000,000",
    "chat -m demo --message x --timeout 1e9": "--timeout (deadline_s) must be a number of seconds between 0 and 10,000,000",
    "chat -m demo --message x --progress-timeout -1": "--progress-timeout (progress_timeout_s) must be a number of seconds",
    "vision -m demo --message x --image data:image/png;base64,!!!": "the data URL is not base64",
    "chat -m demo --message x --message-file y": "not both",
    "chat -m demo --messages {}": "must be a JSON list",
    "chat -m demo --messages [": "is not JSON",
    "chat -m demo --message-file missing": "Check the path; a relative one starts in ",
    "chat -m demo --message-file latin": "is not UTF-8 text",
    "chat -m demo --message x --fallback a,,b": "not a model name",
    "chat -m ../x --message x": "not a model name",
    "chat -m demo --message x --header Authorization:x": "takes no credentials",
    "chat -m demo --message x --retries 11": "--retries (max_retries) must be a whole number from 0 to 10",
    "chat -m demo --message x --message y": "--message would replace",
    "chat -m demo --message x --message= ": "--message would replace",
    "chat -m demo --message-file x --message-file y": "--message-file would replace",
    "chat -m demo --messages [] --messages []": "--messages would replace",
    "chat -m demo --messages-file x --messages-file y": "--messages-file would replace",
    "chat -m demo --message x -s a --system b": "--system would replace",
    "chat --body-file x --body-file y": "--body-file would replace",
    "vision -m demo -i x --message x -p y": "--prompt would replace",
    "compare --models a,b --message x --message y": "--message would replace",
    "chat -m demo --message x --header bad": "--header takes 'Name: value'",
    "chat -m demo --message x --header :value": "--header takes 'Name: value'",
    "chat -m demo --message x --header X-A:1 --header x-a:2": "--header names x-a twice",
    "vision -m demo -p x": "no image named",
    "compare --message x": "no models",
    "compare --models demo,demo --message x": "each once",
    "compare --models a,b,c,d,e,f,g,h,i --message x": "at most 8",
    "models --limit many": "--limit takes a whole number",
    "chat -m demo --message x --base-url nonsense": "not a URL like",
    "chat -m demo --message x --tools missing": "cannot read missing",
    "chat -m demo --message x --output no/such/x": "cannot be written",
}


@pytest.mark.parametrize("words,said", [((), 1), (("--raw",), 0), (("--json",), 1)])
def test_a_choice_that_is_not_shown_is_a_warning(words: Any, said: int, capfdbinary: Any) -> None:
    reader = c.Reader()
    for index in (0, 1):
        reader.take({"choices": [{"index": index, "delta": {"content": "x"}, "finish_reason": "stop"}]})
    args = c.parser_of("chat").parse(["-m", "a", "--message", "x", *words])
    assert c.show_answer(c.Answer(reader), args, c.Console("--json" in words), "") == 0
    shown = capfdbinary.readouterr()
    assert shown.err.count(b"only the first choice is shown; --raw shows all") == said
    assert shown.out.count(b"only the first choice is shown") == ("--json" in words)


@pytest.mark.parametrize("command,field,value", [
    ("chat", "self", 1), ("chat", "deadline_s", "x"), ("chat", "cache_ttl_s", 5), ("chat", "fallback", ["a"]),
    ("chat", "offline", True), ("compare", "models", ["a"]), ("compare", "system", "x"), ("compare", "max_workers", 1),
])  # fmt: skip
def test_a_body_file_holds_fields_and_no_arguments_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, field: str, value: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "body.json").write_text(json.dumps({field: value}))
    models = ["--models", "a,b"] if command == "compare" else ["-m", "a"]
    args = c.parser_of(command).parse([*models, "--message", "x", "--body-file", "body.json"])
    with pytest.raises(c.UsageError, match=f"--body-file: '{field}' cannot be a field"):
        args.run(args, c.Console(False))


@pytest.mark.slow
@pytest.mark.parametrize("typed", USAGE)
def test_a_usage_error_comes_before_anything_is_sent(at_demo: Any, demo: Any, typed: str) -> None:
    (at_demo.cwd / "latin").write_bytes(b"\xe9")
    ran = at_demo(*typed.split())
    assert ran.code == 2 and ran.out == b"" and USAGE[typed] in ran.err.decode() and b"\nllm-router: next: " in ran.err, ran
    assert demo.requests == []


FORMS = ("--json", "--raw", "--stream", "--output=a.txt", "--force", "--strict", "--verbose", "--dry-run")


@pytest.fixture
def here(demo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any) -> Callable[..., Any]:
    """here("chat", ...): main() in this process with the mock server as its endpoint -> (exit code, stdout, stderr)."""
    monkeypatch.setenv("LLM_ROUTER_BASE_URL", demo.base_url)
    monkeypatch.chdir(tmp_path)

    def called(*words: str) -> Any:
        code = c.main(words)
        return (code, *capfdbinary.readouterr())

    return called


@pytest.mark.parametrize("first,second", every(3, [*itertools.combinations(FORMS, 2), ("--raw", "--body-file=stream.json")]))
def test_each_pair_of_output_options_is_honoured_or_refused(
    here: Callable[..., Any], demo: Any, tmp_path: Path, first: str, second: str
) -> None:
    (tmp_path / "stream.json").write_text('{"stream": true}')
    code, out, err = here("chat", "-m", "demo", "--message", "Hello", first, second)
    given, file = {first, second}, tmp_path / "a.txt"
    text = file.read_bytes() if file.exists() else b""
    if "--raw" in given and given & {"--json", "--stream", "--output=a.txt", "--body-file=stream.json"}:
        assert code == 2 and b"--raw cannot be combined with" in out + err
    elif "--force" in given and "--output=a.txt" not in given:
        assert code == 2 and b"--force goes with --output" in out + err
    elif "--dry-run" in given:
        assert code == 0 and json.loads(out)["body"]["stream"] == ("--stream" in given)
    elif "--json" in given:
        result = json.loads(out.splitlines()[-1])
        assert code == 0 and result["ok"] and (out.count(b"\n") > 1) == ("--stream" in given)
        assert (result["text"] or text.decode()).endswith("You said: Hello") and bool(text) == ("output" in result)
    elif "--output=a.txt" in given:
        assert code == 0 and text.endswith(b"You said: Hello") and out.endswith(b"a.txt %d bytes\n" % len(text))
    elif "--raw" in given:
        assert code == 0 and json.loads(out)["choices"]
    else:
        assert code == 0 and out.endswith(b"You said: Hello\n")
    assert (b" tokens, cost " in err) == ("--verbose" in given and code == 0 and "--dry-run" not in given)
    assert len(demo.requests) == (code == 0 and "--dry-run" not in given)


@pytest.mark.parametrize("first,second", every(3, itertools.combinations(("--json", "--markdown", "--stream", "--dry-run"), 2)))
def test_each_pair_of_output_options_of_compare_is_honoured_or_refused(
    here: Callable[..., Any], demo: Any, first: str, second: str
) -> None:
    code, out, err = here("compare", "--models", "demo,demo-reasoning", "--message", "Hello", first, second)
    given = {first, second}
    if given == {"--json", "--markdown"}:
        assert code == 2 and b"--json and --markdown cannot be combined" in out + err and demo.requests == []
    elif "--dry-run" in given:
        assert code == 0 and out.count(b'"method": "POST"') == 2 and demo.requests == []
    elif "--json" in given:
        assert code == 0 and [row["ttft"] is not None for row in json.loads(out)["results"]] == [True, True]
    else:
        assert code == 0 and out.startswith(b"| model | latency s | first text s |")


def test_raw_shows_what_a_server_streams_though_nothing_was_to_be_streamed(
    serve: Any, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    monkeypatch.setenv("LLM_ROUTER_BASE_URL", serve(stream(delta("Hi", "stop"), DONE)).base_url)
    assert c.main(["chat", "-m", "a", "--message", "x", "--raw"]) == 0
    assert json.loads(capfdbinary.readouterr().out)["choices"][0]["message"]["content"] == "Hi"


def test_a_directory_in_the_place_of_a_file_is_named_as_that(at_demo: Any, demo: Any) -> None:
    for flag in ("--message-file", "--messages-file", "--body-file", "--tools", "--schema", "--image"):
        for folder in (".", str(at_demo.cwd)):
            ran = at_demo("vision", "-i", "https://example.com/a.png", "-m", "demo", flag, folder)
            assert ran.code == 8 and f"{folder} is a directory, not a file" in ran.err.decode(), ran
    assert b". is a directory" in at_demo("chat", "x", "--messages-file", ".", "--append").err
    assert demo.requests == [] and not list(at_demo.cwd.parent.glob("*.part"))


def test_a_pipe_that_is_named_twice_is_read_once(at_demo: Any) -> None:
    assert at_demo("chat", "-m", "demo", "--message", "-", "--stdin", stdin=b"once").out.endswith(b"You said: once\n")


def test_the_value_of_an_option_before_the_command_is_not_shown(at_demo: Any) -> None:
    ran = at_demo("--api-key=canary", "chat", "Hello")
    assert ran.code == 2 and b"canary" not in ran.out + ran.err and b"--api-key" in ran.err


@pytest.mark.parametrize(("words", "read"), [
    (["route", "Hi there", "--dry-run", "--json"], b'"model"'), (["models", "demo-reas", "--demo"], b"demo-reasoning\tdemo\n"),
])  # fmt: skip
def test_a_text_without_an_option_is_the_message_or_what_to_search_for(at_demo: Any, words: List[str], read: bytes) -> None:
    ran = at_demo(*words)
    assert ran.code == 0 and read in ran.out, ran


def test_what_is_no_header_is_not_shown_as_it_may_be_a_secret(at_demo: Any) -> None:
    ran = at_demo("chat", "-m", "demo", "--message", "x", "--header", "Authorization Bearer canary")
    assert ran.code == 2 and b"canary" not in ran.out + ran.err


def test_typos_get_a_suggestion(at_demo: Any) -> None:
    assert b"Did you mean --message?" in at_demo("chat", "--mesage", "x").err
    assert b"Did you mean chat?" in at_demo("caht").err
    assert b"no option takes a key" in at_demo("chat", "--api-key", "x").err


@pytest.mark.slow
@pytest.mark.parametrize("command", list(c.COMMANDS))
def test_every_option_means_the_same_in_every_command(command: str) -> None:
    for flag, option in c.parser_of(command).options.items():
        for other in filter(None, (c.parser_of(name).options.get(flag) for name in c.COMMANDS)):
            assert (other.option_strings, other.metavar, other.type) == (option.option_strings, option.metavar, option.type)
            assert (other.dest, other.nargs) == (option.dest, option.nargs)


DASHED = {
    None: ("-hello", "--hello", "--", "-", "--no-such=x", "-- a b", "-1", "-mx", ""),
    float: ("-0.5",),
    int: ("-1",),
}


def switch_of(parser: c.Parser) -> List[str]:
    """One of a command's options that take no value, [] where it has none."""
    return [flag for flag, option in parser.options.items() if option.nargs == 0][:1]


@pytest.mark.parametrize("command", list(c.COMMANDS))
def test_the_value_of_every_option_may_begin_with_a_dash(command: str) -> None:
    parser = c.parser_of(command)
    for flag, option in parser.options.items():
        for value in DASHED[option.type] if option.nargs != 0 else ():
            read = option.type(value) if option.type else value
            for words in ([flag, value], [f"{option.option_strings[-1]}={value}"]):
                given = getattr(parser.parse([*words, *switch_of(parser)]), option.dest)
                assert given == ([read] if isinstance(given, list) else read), words


@pytest.mark.parametrize("command", list(c.COMMANDS))
def test_every_option_without_its_value_says_so(command: str) -> None:
    parser = c.parser_of(command)
    for flag, option in parser.options.items():
        for words in ([flag], [flag, *switch_of(parser)]) if option.nargs != 0 else ([f"{flag}=yes"],):
            with pytest.raises(c.UsageError, match=f"^{flag} (?:needs a|takes no) value$"):
                parser.parse(words)


def test_a_short_option_takes_its_value_with_or_without_a_space() -> None:
    parser = c.parser_of("vision")
    for flag, option in parser.options.items():
        if len(flag) == 2 and option.nargs != 0:
            assert getattr(parser.parse([f"{flag}7"]), option.dest) == getattr(parser.parse([flag, "7"]), option.dest)
    args = parser.parse(["-mgpt-4.1", "-v", "-t0.5"])
    assert (args.model, args.verbose, args.temperature) == ("gpt-4.1", True, 0.5)


@pytest.mark.parametrize("command", list(c.COMMANDS))
def test_long_options_count_in_full_only(command: str) -> None:
    parser = c.parser_of(command)
    for flag in (flag for flag in parser.options if flag.startswith("--") and flag[:-1] not in parser.options):
        with pytest.raises(c.UsageError, match="unknown argument") as told:
            parser.parse([flag[:-1], "x"])
        assert "Did you mean" in told.value.next_step or len(flag) < 6


# ------------------------------------------------------------------------------------------------ the rest of the world


@pytest.mark.slow
def test_help_version_dry_run_and_the_offline_list_need_neither_key_nor_network(cli: Any) -> None:
    for words in ("--help", "--version", "chat --help", "chat -h", "models --offline", "chat -m gpt-4.1 --message Hi --dry-run",
                  "models --dry-run", "doctor --dry-run", "compare --models a,b --message Hi --dry-run"):  # fmt: skip
        ran = cli(*words.split(), env={"HTTPS_PROXY": "http://127.0.0.1:1"})
        assert ran.code == 0 and ran.out, words


def test_a_dry_run_shows_the_request_with_the_key_masked_and_sends_nothing(at_demo: Any, demo: Any) -> None:
    key = "canary" * 4
    words = ["-m", "demo", "--message", "Hello", "--dry-run", "--stream", "--max-tokens", "3"]
    shown = at_demo("chat", *words, env={"LLM_ROUTER_API_KEY": key}).json
    assert shown["url"] == f"{demo.base_url}/chat/completions" and shown["headers"]["Authorization"] == "Bearer ********nary"
    assert (shown["body"]["max_tokens"], shown["body"]["stream"]) == (3, True)
    for command in ("models", "doctor"):
        assert at_demo(command, "--dry-run").json["url"] == f"{demo.base_url}/models"
    assert demo.requests == []


def test_without_a_key_the_error_says_what_to_set(cli: Any) -> None:
    for words in (
        "chat -m gpt-4.1 --message Hi",
        "compare --models a,b --message Hi",
        "chat -m a --message Hi --json",
    ):
        ran = cli(*words.split())
        assert ran.code == 3 and b"Set AISA_API_KEY" in ran.err + ran.out, ran
    assert ran.json["error"]["code"] == "missing_key" and ran.json["model_requested"] == "a" and ran.json["model_used"] is None


@pytest.mark.slow
def test_with_the_network_gone_the_error_names_the_endpoint(cli: Any) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for command in ("chat -m a --message Hi --retries 0", "models --retries 0", "doctor --retries 0"):
        ran = cli(*command.split(), "--base-url", f"http://127.0.0.1:{port}/v1")
        assert ran.code == 7 and b"no connection to 127.0.0.1" in ran.err + ran.out, ran


def test_demo_needs_neither_key_nor_network_from_any_folder_in_isolated_mode(cli: Any) -> None:
    words = [sys.executable, "-I", cli.words()[1], "chat", "--demo", "--message", "Hello"]
    ran = subprocess.run(words, capture_output=True, cwd="/", timeout=30, env={"HTTPS_PROXY": "http://127.0.0.1:1"})
    assert (ran.returncode, ran.stdout.decode(), ran.stderr) == (0, f"{ANSWERED}\n", b"")


def test_a_silent_pipe_on_stdin_blocks_nothing(at_demo: Any) -> None:
    running = at_demo.start("chat", "-m", "demo", "--message", "Hello", stdin=subprocess.PIPE)
    try:
        assert running.stdout.read().decode() == f"{ANSWERED}\n" and running.wait(20) == 0
    finally:
        for pipe in (running.stdin, running.stdout, running.stderr):
            pipe.close()


def first_bytes(running: Any, wait_s: float = 30.0) -> bytes:
    """What is on stdout as soon as there is something."""
    assert select.select([running.stdout], [], [], wait_s)[0]
    return os.read(running.stdout.fileno(), 65536)


@pytest.mark.slow
@posix_only
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_interrupted_in_mid_stream_the_text_is_there_and_the_end_is_quick(at_demo: Any, number: int, more: List[str]) -> None:
    running = at_demo.start("chat", "-m", "demo-slow-2000", "--message", "Hello", "--stream", *more)
    out = first_bytes(running)
    began = time.monotonic()
    running.send_signal(number)
    rest, err = running.communicate(timeout=30)
    assert running.returncode == 130 and time.monotonic() - began < 20
    assert (out + rest).startswith(b'{"type": "text"' if more else b"This ") and (out + rest).endswith(b"\n")
    assert b"interrupted" in err and b"Traceback" not in err
    if more:
        assert json.loads((out + rest).splitlines()[-1])["error"]["code"] == "interrupted"


@pytest.mark.slow
@posix_only
@pytest.mark.parametrize("command", [["chat", "-m", "fail-stall"], ["compare", "--models", "fail-stall,demo-sleep-60000"]])
def test_interrupted_while_waiting_the_end_is_quick(at_demo: Any, demo: Any, command: List[str]) -> None:
    running = at_demo.start(*command, "--message", "Hello")
    until = time.monotonic() + 10
    while not demo.requests and time.monotonic() < until:
        time.sleep(0.01)
    began = time.monotonic()
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=30)
    assert running.returncode == 130 and time.monotonic() - began < 20 and b"Traceback" not in err


@pytest.mark.slow
@posix_only
def test_a_closed_pipe_ends_quietly(at_demo: Any) -> None:
    for more in ([], ["--json"]):
        running = at_demo.start("chat", "-m", "demo-words-100000", "--message", "Hello", "--stream", *more)
        first_bytes(running)
        running.stdout.close()
        assert running.stderr.read() == b"" and running.wait(20) == 141
        running.stderr.close()


@pytest.mark.slow
@posix_only
def test_a_full_disk_is_an_error(at_demo: Any) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full here")
    for words in (
        ["chat", "-m", "demo", "--message", "Hello"],
        ["chat", "-m", "demo", "--message", "Hello", "--stream"],
        ["--help"],
        ["models"],
    ):
        with open("/dev/full", "wb") as full:
            running = at_demo.start(*words, stdout=full)
            _, err = running.communicate(timeout=20)
        assert running.returncode == 1 and b"the output could not be written" in err and b"Traceback" not in err


@pytest.mark.slow
@posix_only
def test_closed_standard_streams_are_survived(at_demo: Any) -> None:
    words = " ".join(f"'{word}'" for word in at_demo.words("chat", "-m", "demo", "--message", "Hello"))
    for closing, code in ((">&-", 1), ("2>&-", 0), ("<&-", 0)):
        ran = subprocess.run(["sh", "-c", f"{words} {closing}"], capture_output=True, env=at_demo.env, timeout=30)
        assert ran.returncode == code and b"Traceback" not in ran.stderr, (closing, ran)


# ------------------------------------------------------------------------------------- vision, compare, models, doctor


def test_vision_sends_files_and_urls_and_says_what_leaves_the_machine(at_demo: Any, demo: Any) -> None:
    (at_demo.cwd / "cat.png").write_bytes(PNG)
    ran = at_demo(
        "vision", "-m", "demo", "-i", "cat.png", "--image", "https://example.com/x.jpg", "-p", "What?", "--detail", "low"
    )
    assert ran.code == 0 and b"PNG, 2x3 pixels" in ran.out
    assert ran.err.decode() == f"llm-router: sending cat.png (image/png, {len(PNG)} bytes) to 127.0.0.1\n"
    text, first, second = said_to(demo)[0]["content"]
    assert text["text"] == "What?" and first["image_url"]["detail"] == second["image_url"]["detail"] == "low"


@pytest.mark.slow
def test_compare_as_blocks_as_a_table_and_as_json(at_demo: Any) -> None:
    words = ["compare", "--models", "demo-sleep-20,demo", "--message", "Hello"]
    blocks = at_demo(*words).out.decode()
    assert blocks.index("== demo-sleep-20 (") < blocks.index("== demo (") and blocks.count(ANSWERED) == 2
    table = at_demo(*words, "--markdown").out.decode().splitlines()
    assert len(table) == 4 and all(line.startswith("| ") and line.count("|") == 7 for line in table)
    result = at_demo(*words, "--json", "--stream").json
    assert [row["model"] for row in result["results"]] == ["demo-sleep-20", "demo"] and result["results"][0]["ttft"] >= 0.02


@pytest.mark.slow
def test_compare_answers_when_any_model_does_unless_all_are_required(at_demo: Any) -> None:
    for models, more, code in (("demo,fail-402", [], 0), ("demo,fail-402", ["--require-all"], 4), ("fail-402,fail-401", [], 4)):
        ran = at_demo("compare", "--models", models, "--message", "Hello", *more)
        assert ran.code == code and b"[no_credit]; next: " in ran.err
        assert ("failed: no_credit" in ran.out.decode()) and (ANSWERED in ran.out.decode()) == ("demo" in models)


@pytest.fixture
def one_model(serve: Any, cli: Any) -> Callable[..., Any]:
    """cli(...) whose endpoint answers every name with the one model it has, as llama.cpp does; headers as given."""

    def run(*words: str, listed: str = "Qwen2.5-7B.gguf", **headers: str) -> Any:
        answer = {"model": "Qwen2.5-7B.gguf", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
        server = serve(http({"data": [{"id": listed}]} if words[0] == "doctor" else answer, **headers))
        return cli(*words, env={"LLM_ROUTER_BASE_URL": server.base_url, "LLM_ROUTER_MODEL": "gpt-4.1"})

    return run


@pytest.mark.slow
def test_a_wholly_different_model_that_answers_is_named_and_warned_of(one_model: Any) -> None:
    warning = "gpt-4.1 was requested, but Qwen2.5-7B.gguf answered"
    for more in ([], ["--stream"]):
        assert one_model("chat", "--message", "Hi", *more).err.decode() == f"llm-router: {warning}\n"
    result = one_model("chat", "--message", "Hi", "--json").json
    assert (result["model_requested"], result["model_used"], result["warnings"]) == ("gpt-4.1", "Qwen2.5-7B.gguf", [warning])
    compared = one_model("compare", "--models", "gpt-4.1", "--message", "Hi", "--json")
    [row] = compared.json["results"]
    assert (row["model"], row["model_used"], row["warnings"]) == ("gpt-4.1", "Qwen2.5-7B.gguf", [warning])
    assert warning in compared.err.decode()
    assert not one_model("chat", "--message", "Hi", **{"x-llm-router-model": "qwen"}).err  # a group of the gateway's
    assert not one_model("chat", "-m", "qwen", "--message", "Hi").err


@pytest.mark.slow
def test_usage_sums_up_by_the_model_that_answered(one_model: Any, cli: Any) -> None:
    assert one_model("chat", "--message", "Hi", "--usage-log").code == 0
    assert [row["model"] for row in cli("usage", "--json").json["rows"]] == ["Qwen2.5-7B.gguf"]


def test_a_working_directory_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    def getcwd() -> str:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "getcwd", getcwd)
    assert c.main(["chat", "-m", "m", "--base-url", "http://127.0.0.1:9", "--message-file", "a.txt"]) == 2
    assert "the working directory no longer exists" in capfd.readouterr().err


def test_doctor_says_when_the_usual_model_is_not_listed(one_model: Any) -> None:
    assert b"1 listed; not gpt-4.1, LLM_ROUTER_MODEL: another may answer to its name\n" in one_model("doctor").out
    assert one_model("doctor", listed="gpt-4.1").out.endswith(b"ok   models: 1 listed\n")


@pytest.mark.slow
def test_models_are_searched_and_bounded(at_demo: Any) -> None:
    listed = at_demo("models", "--limit", "3")
    assert listed.code == 0 and len(listed.out.splitlines()) == 3 and b"3 shown" in listed.err
    found = at_demo("models", "--search", "SLEEP", "--json").json
    assert found["total"] == found["shown"] >= 1 and all("sleep" in model["id"] for model in found["models"])
    offline = at_demo("models", "--offline", "--search", "claude")
    assert offline.out.decode().splitlines()[0] == "claude-opus-5-5\tclaude" and b"built-in list" in offline.err
    assert re.search(rb"0 of \d\d models match 'zzz'", at_demo("models", "--search", "zzz").err)


@pytest.mark.slow
def test_doctor_says_what_is_set_and_what_to_do(cli: Any, demo: Any) -> None:
    key = "canary" * 4
    proxy = "http://{}:{}@127.0.0.1:9".format("user", "word")
    env = {"LLM_ROUTER_BASE_URL": demo.base_url, "LLM_ROUTER_API_KEY": key, "HTTPS_PROXY": proxy}
    good = cli("doctor", env=env)
    assert good.code == 0 and b"********nary from LLM_ROUTER_API_KEY" in good.out and key.encode() not in good.out
    assert [line[:4] for line in good.out.decode().splitlines()] == ["ok  "] * 5
    bad = cli("doctor", "--json")
    assert bad.code == 3 and [check["ok"] for check in bad.json["checks"]] == [True, True, True, False]
    assert "Set AISA_API_KEY" in bad.json["checks"][-1]["next_step"]
    elsewhere = cli(
        "doctor", env={"LLM_ROUTER_BASE_URL": "https://llm.example/v1", **{name: env[name] for name in ("HTTPS_PROXY",)}}
    )
    assert b"127.0.0.1:9 by CONNECT" in elsewhere.out and b"word" not in elsewhere.out + elsewhere.err


@pytest.mark.slow
def test_fallback_is_reported_on_stderr_and_in_the_envelope(at_demo: Any) -> None:
    ran = at_demo("chat", "-m", "fail-402", "--fallback", "fail-404,demo", "--message", "Hello")
    assert ran.code == 0 and ran.out.decode() == f"{ANSWERED}\n"
    assert ran.err.decode().count("failed (") == 2
    result = at_demo("chat", "-m", "fail-402", "--fallback", "demo", "--message", "Hello", "--json").json
    assert (result["model_requested"], result["model_used"]) == ("fail-402", "demo")
    assert [attempt["cause"] for attempt in result["attempts"]] == ["no_credit", "ok"]


def test_the_console_script_and_the_file_are_one_command(monkeypatch: pytest.MonkeyPatch, capfdbinary: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["llm-router", "--version"])
    assert c.main() == 0 and capfdbinary.readouterr().out == f"llm-router {c.VERSION}\n".encode()


@pytest.mark.slow
def test_a_cold_start_imports_only_what_it_needs(cli: Any, demo: Any) -> None:
    def modules(*words: str) -> Any:
        command = [sys.executable, "-X", "importtime", *cli.words(*words)[1:]]
        env = {**cli.env, "LLM_ROUTER_BASE_URL": demo.base_url}
        err = subprocess.run(command, capture_output=True, env=env, timeout=30).stderr.decode()
        return {line.rsplit("|", 1)[1].strip() for line in err.splitlines() if line.startswith("import time:")}

    bare = subprocess.run([sys.executable, "-X", "importtime", "-c", "pass"], capture_output=True, env=cli.env, timeout=30)
    known = {line.rsplit("|", 1)[1].strip() for line in bare.stderr.decode().splitlines() if line.startswith("import time:")}
    network = {"http.client", "socket", "ssl", "email", "urllib", "urllib.parse", "urllib.request", "hashlib", "signal"}
    network |= {"shutil", "threading"}  # which urllib.request imports, the second in Python 3.9
    never = {"asyncio", "typing", "logging", "dataclasses"}
    for words in (["--help"], ["chat", "--help"], ["models", "--offline"]):
        assert not (modules(*words) - known) & {*network, *never}, words
    assert not (modules("chat", "-m", "demo", "--message", "Hello", "--dry-run") - known) & {*network, *never} - {"signal"}
    assert not (modules("chat", "-m", "demo", "--message", "Hello", "--stream") - known) & never


def test_help_names_no_option_that_is_not_there() -> None:
    for command in c.COMMANDS:
        parser = c.parser_of(command)
        text = parser.format_help()
        assert all(flag in text for flag in [*parser.options, *parser.words])
        assert max(map(len, text.splitlines())) <= c.HELP_WIDTH


TYPED: Dict[str, Any] = {
    "-m a --json --stop=x --stop y": ("a", True, ["x", "y"], False), "--model=b": ("b", False, None, False),
    "-m a -m c --stream": ("c", False, None, True),
}  # fmt: skip


@pytest.mark.parametrize("typed", TYPED)
def test_options_are_read_as_every_shell_user_expects(typed: str) -> None:
    args = c.parser_of("chat").parse(typed.split())
    assert (args.model, args.json, args.stop, args.stream) == TYPED[typed]


def test_the_file_is_run_by_its_path_from_anywhere(cli: Any, tmp_path: Path) -> None:
    assert cli("--version", cwd=tmp_path).out == f"llm-router {c.VERSION}\n".encode()
