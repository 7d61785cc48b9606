"""Conversations: --messages-file FILE --append, and Conversation in Python."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Callable, Dict, List

import pytest
from raw_server import completion, http

import llm_router_client as c

posix_only = pytest.mark.skipif(os.name != "posix", reason="modes, signals and limits as POSIX has them")
SCRIPTS = Path(c.__file__).parent


@pytest.fixture
def talk(cli: Any, demo: Any) -> Callable[..., Any]:
    """talk("Hi", ...) runs chat with --append on talk.json in the working directory."""
    cli.env["LLM_ROUTER_BASE_URL"] = demo.base_url

    def run(text: str, *more: str, model: str = "demo", **options: Any) -> Any:
        return cli("chat", "-m", model, "--messages-file", "talk.json", "--append", "--message", text, *more, **options)

    return run


def turns(folder: Path) -> List[Dict[str, Any]]:
    return json.loads((folder / "talk.json").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def entries(folder: Path) -> List[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# --------------------------------------------------------------------------------------------------------- what is added


def test_a_file_that_is_not_there_begins_with_the_first_turn_and_grows(talk: Any, tmp_path: Path, demo: Any) -> None:
    assert talk("One").code == 0
    ran = talk("Zw\u00f6lf \u4e2d\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "--stream")
    assert ran.code == 0 and ran.err == b""
    told = turns(tmp_path)
    assert [turn["role"] for turn in told] == ["user", "assistant"] * 2
    assert told[0]["content"] == "One" and told[1]["content"].endswith("You said: One")
    assert told[2]["content"] == "Zw\u00f6lf \u4e2d\U0001f600" and len(demo.requests) == 2
    assert demo.requests[1]["body"]["messages"] == told[:3]
    assert entries(tmp_path) == ["talk.json"]


@pytest.mark.slow
@posix_only
def test_a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_mode(talk: Any, tmp_path: Path) -> None:
    talk("One")
    assert stat.S_IMODE((tmp_path / "talk.json").stat().st_mode) == 0o600
    (tmp_path / "talk.json").chmod(0o644)
    talk("Two")
    assert stat.S_IMODE((tmp_path / "talk.json").stat().st_mode) == 0o644 and len(turns(tmp_path)) == 4


@pytest.mark.slow
def test_the_instruction_is_sent_and_not_stored(serve: Any, cli: Any, tmp_path: Path) -> None:
    server = serve(http(completion("yes")))
    words = ["chat", "-m", "m", "--base-url", server.base_url, "--messages-file", "talk.json", "--append", "-s", "Be brief."]
    for text in ("One", "Two"):
        assert cli(*words, "--message", text).code == 0
    roles = [[message["role"] for message in body["messages"]] for body in server.bodies()]
    assert roles == [["system", "user"], ["system", "user", "assistant", "user"]]
    assert [turn["role"] for turn in turns(tmp_path)] == ["user", "assistant"] * 2


def test_tool_calls_are_kept_as_the_api_needs_them_again(serve: Any, here: Path) -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    answer = completion(None, "tool_calls", tool_calls=calls, reasoning_content="hm")
    client = c.LLMRouterClient(base_url=serve(http(answer)).base_url)
    talk = c.Conversation("talk.json")
    talk.add([{"role": "user", "content": "Go"}], client.chat("m", [{"role": "user", "content": "Go"}]))
    assert turns(here)[1] == {"role": "assistant", "content": None, "tool_calls": calls}


def test_an_answer_alone_is_added_where_the_file_ends_in_the_question(cli: Any, demo: Any, tmp_path: Path) -> None:
    (tmp_path / "talk.json").write_text('[{"role": "user", "content": "Hi"}]')
    words = ["chat", "-m", "demo", "--base-url", demo.base_url, "--messages-file", "talk.json", "--append", "--json"]
    assert cli(*words).json["ok"] is True
    assert [turn["role"] for turn in turns(tmp_path)] == ["user", "assistant"]


# ----------------------------------------------------------------------------------------------------- what is not added


@pytest.mark.slow
@pytest.mark.parametrize("model,code", [
    ("fail-401", 3), ("fail-cut", 10), ("fail-error-mid", 10), ("fail-filter", 11), ("fail-empty", 9), ("fail-length", 10),
])  # fmt: skip
def test_no_failed_cut_or_filtered_answer_is_added(talk: Any, tmp_path: Path, model: str, code: int) -> None:
    talk("One")
    before = (tmp_path / "talk.json").read_bytes()
    assert talk("Two", "--stream", "--retries", "0", model=model).code == code
    assert (tmp_path / "talk.json").read_bytes() == before and entries(tmp_path) == ["talk.json"]


def test_an_answer_at_the_token_limit_says_that_it_was_not_added(talk: Any, tmp_path: Path) -> None:
    ran = talk("One", "--json", model="fail-length")
    assert ran.code == 10 and ran.json["error"]["code"] == "length" and not ran.json["ok"]
    assert b"was not added to the conversation" in ran.err and entries(tmp_path) == []


def test_a_first_question_that_fails_leaves_no_file(talk: Any, tmp_path: Path) -> None:
    assert talk("One", "--retries", "0", model="fail-500").code == 6 and entries(tmp_path) == []


def test_a_dry_run_writes_nothing(talk: Any, tmp_path: Path) -> None:
    assert talk("One", "--dry-run").json["body"]["messages"] == [{"role": "user", "content": "One"}]
    assert entries(tmp_path) == []


# ------------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.slow
@pytest.mark.parametrize("content", [
    b"", b"{", b"{}", b'[{"role": "user", "content": "\xff"}]', b"null",
    b'"text"', b'[{"content": "no role"}]', b"[1]", b"\xff\xfe", b"[" * 100_000, b'[{"role": NaN}]',
])  # fmt: skip
def test_a_damaged_file_is_reported_and_left_as_it_is(talk: Any, tmp_path: Path, demo: Any, content: bytes) -> None:
    (tmp_path / "talk.json").write_bytes(content)
    ran = talk("One")
    assert ran.code == 2 and ran.out == b"" and b"error: " in ran.err and b"Traceback" not in ran.err
    assert (tmp_path / "talk.json").read_bytes() == content and entries(tmp_path) == ["talk.json"] and not demo.requests


def test_an_empty_list_is_a_conversation_that_has_not_begun(talk: Any, tmp_path: Path) -> None:
    (tmp_path / "talk.json").write_text("[]")
    assert talk("One").code == 0 and len(turns(tmp_path)) == 2


@pytest.mark.parametrize("words", [
    ("--message", "a"), ("--message", "a", "--messages", "[]"), ("--message", "a", "--messages-file", "f", "--messages", "[]"),
])  # fmt: skip
def test_append_without_a_file_is_wrong_usage(cli: Any, demo: Any, words: Any) -> None:
    ran = cli("chat", "-m", "demo", "--base-url", demo.base_url, "--append", *words)
    assert ran.code == 2 and b"--messages-file" in ran.err and not demo.requests


def test_a_file_elsewhere_needs_allow_path(cli: Any, demo: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    words = ["chat", "-m", "demo", "--base-url", demo.base_url, "--append", "--message", "1", "--messages-file", "../talk.json"]
    ran = cli(*words, cwd=tmp_path / "in")
    assert ran.code == 8 and b"outside the working directory" in ran.err and entries(tmp_path) == ["in"]
    assert cli(*words, "--allow-path", "..", cwd=tmp_path / "in").code == 0 and len(turns(tmp_path)) == 2


def test_a_folder_that_is_not_there_is_not_made(cli: Any, demo: Any, tmp_path: Path) -> None:
    words = ["chat", "-m", "demo", "--base-url", demo.base_url, "--append", "--message", "One", "--messages-file"]
    for name in ("no/talk.json", "."):
        assert cli(*words, name).code in (2, 8) and not demo.requests
    assert entries(tmp_path) == []


@posix_only
def test_links_are_followed_inside_and_refused_outside(talk: Any, tmp_path: Path, tmp_path_factory: Any) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (tmp_path / "talk.json").symlink_to(outside / "real.json")
    assert talk("One").code == 8 and entries(outside) == []
    (tmp_path / "talk.json").unlink()
    (tmp_path / "talk.json").symlink_to(tmp_path / "real.json")
    assert talk("One").code == 0
    assert (tmp_path / "talk.json").is_symlink() and len(turns(tmp_path)) == 2


@posix_only
@pytest.mark.parametrize("end", ["", ".part"])
def test_devices_pipes_and_links_in_its_place_are_refused(talk: Any, tmp_path: Path, end: str, demo: Any) -> None:
    os.mkfifo(tmp_path / f"talk.json{end}")
    ran = talk("One", timeout_s=30)
    assert ran.code in (2, 8) and b"not a regular file" in ran.err and not demo.requests
    os.unlink(tmp_path / f"talk.json{end}")
    os.symlink("/dev/full", tmp_path / f"talk.json{end}")
    assert talk("One", timeout_s=30).code in (2, 8) and not demo.requests


def test_a_file_over_its_limit_is_refused_before_anything_is_sent(talk: Any, tmp_path: Path, demo: Any) -> None:
    (tmp_path / "talk.json").write_bytes(b" " * (c.MAX_KEPT_CHARS + 1))
    ran = talk("One")
    assert ran.code == 8 and b"over the limit" in ran.err and not demo.requests


@pytest.mark.slow
def test_a_turn_that_would_grow_it_over_its_limit_is_shown_and_not_added(talk: Any, tmp_path: Path) -> None:
    long = "x" * (c.MAX_KEPT_CHARS - 100)
    before = json.dumps([{"role": "user", "content": long}]).encode()
    (tmp_path / "talk.json").write_bytes(before)
    ran = talk("One", "--json")
    assert ran.code == 1 and (ran.json["ok"], ran.json["error"]["code"]) == (False, "not_written")
    assert ran.json["text"].endswith("One") and ran.json["finish"]["complete"] is True
    assert (tmp_path / "talk.json").read_bytes() == before


@pytest.mark.parametrize("content", [b"a draft of somebody's", b"[]", b"\n"])
def test_a_file_that_only_has_its_locks_name_is_left_as_it_is(talk: Any, tmp_path: Path, demo: Any, content: bytes) -> None:
    (tmp_path / "talk.json.part").write_bytes(content)
    ran = talk("One")
    assert ran.code == 8 and b"exists and is not a lock" in ran.err and b"Move it away" in ran.err and not demo.requests
    assert (tmp_path / "talk.json.part").read_bytes() == content and entries(tmp_path) == ["talk.json.part"]


@posix_only
def test_a_new_conversation_is_its_owners_alone_and_an_old_one_keeps_its_mode(here: Path, serve: Any) -> None:
    server = serve(http(completion()), http(completion()))
    for mode in (0o600, 0o644):
        before = os.umask(0)
        try:
            talk = c.Conversation("talk.json")
            question = {"role": "user", "content": "Hi"}
            talk.add([question], c.LLMRouterClient(base_url=server.base_url).chat("m", [*talk.messages, question]))
        finally:
            os.umask(before)
        assert stat.S_IMODE((here / "talk.json").stat().st_mode) == mode and entries(here) == ["talk.json"]
        (here / "talk.json").chmod(0o644)


# ------------------------------------------------------------------------------------------- full disks, other processes


@pytest.mark.slow
@posix_only
def test_on_a_full_disk_the_answer_is_shown_and_the_file_stays_as_it_was(talk: Any, tmp_path: Path, cli: Any) -> None:
    talk("One")
    before = (tmp_path / "talk.json").read_bytes()
    words = ["chat", "-m", "demo", "--messages-file", "talk.json", "--append", "--message", "word " * 2000]
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))"
    for more, shown in (((), b"You said: word"), (("--json",), b'"not_written"')):
        code = f"{limited}; sys.path.insert(0, {str(SCRIPTS)!r}); import llm_router_client as c; "
        program = [sys.executable, "-B", "-c", f"{code}sys.exit(c.main({[*words, *more]!r}))"]
        ran = subprocess.run(program, cwd=tmp_path, env=cli.env, capture_output=True, timeout=30)
        assert ran.returncode == 1 and shown in ran.stdout and b"was not added to" in ran.stderr, ran
        assert (tmp_path / "talk.json").read_bytes() == before and entries(tmp_path) == ["talk.json"]


@pytest.mark.slow
def test_a_second_process_is_refused_at_once_while_the_first_asks(talk: Any, serve: Any, cli: Any, tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def late(request: Any) -> bytes:
        begun.set()
        assert go_on.wait(60)
        return http(completion("Yes"))

    server = serve(late)
    cli.env["LLM_ROUTER_BASE_URL"] = server.base_url
    first = cli.start("chat", "-m", "demo", "--messages-file", "talk.json", "--append", "--message", "One")
    assert begun.wait(30)
    ran = talk("Two")
    assert ran.code == 8 and b"in use by another process" in ran.err and len(server.requests) == 1
    go_on.set()
    out, _ = first.communicate(timeout=30)
    assert first.returncode == 0 and out.endswith(b"Yes\n")
    assert talk("Three").code == 0 and [turn["content"] for turn in turns(tmp_path)][::2] == ["One", "Three"]


@pytest.mark.slow
def test_of_many_processes_no_turn_is_lost(cli: Any, demo: Any, tmp_path: Path) -> None:
    cli.env["LLM_ROUTER_BASE_URL"] = demo.base_url
    words = ["chat", "-m", "demo", "--messages-file", "talk.json", "--append", "--message"]
    running = [cli.start(*words, f"number {number}") for number in range(8)]
    added = [f"number {number}" for number, each in enumerate(running) if each.communicate(timeout=30) and each.returncode == 0]
    assert {each.returncode for each in running} <= {0, 8} and added
    told = turns(tmp_path)
    assert sorted(turn["content"] for turn in told[::2]) == added and entries(tmp_path) == ["talk.json"]


@pytest.mark.slow
@posix_only
def test_a_process_killed_in_the_middle_leaves_the_file_and_no_lock(talk: Any, cli: Any, tmp_path: Path) -> None:
    talk("One")
    before = (tmp_path / "talk.json").read_bytes()
    killed = cli.start("chat", "-m", "demo-sleep-9000", "--messages-file", "talk.json", "--append", "--message", "Two")
    while not (tmp_path / "talk.json.part").exists():
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=30)
    assert (tmp_path / "talk.json").read_bytes() == before
    assert talk("Three").code == 0 and len(turns(tmp_path)) == 4 and entries(tmp_path) == ["talk.json"]


# --------------------------------------------------------------------------------------------------------------- library


def test_two_conversations_of_one_process_keep_each_other_out(here: Path) -> None:
    talk = c.Conversation("talk.json")
    with pytest.raises(c.SafetyError, match="in use by another process"):
        c.Conversation("talk.json")
    talk.close()
    talk.close()
    again = c.Conversation("talk.json")
    assert again.messages == [] and entries(here) == ["talk.json.part"]
    again.close()
    assert entries(here) == []


@pytest.mark.parametrize("before", ["", "[]"])
def test_what_an_editor_wrote_meanwhile_is_not_replaced(here: Path, serve: Any, before: str) -> None:
    answer = c.LLMRouterClient(base_url=serve(http(completion())).base_url).chat("m", [{"role": "user", "content": "Hi"}])
    if before:
        (here / "talk.json").write_text(before)
    talk = c.Conversation("talk.json")
    edited = '[{"role": "system", "content": "Be brief."}]'
    (here / "talk.json").write_text(edited)
    with pytest.raises(c.LLMRouterError, match="another program changed it in the meantime") as caught:
        talk.add([{"role": "user", "content": "Hi"}], answer)
    assert caught.value.code == "not_written" and caught.value.response is answer
    assert (here / "talk.json").read_text() == edited and entries(here) == ["talk.json"]


def test_the_end_of_one_conversation_leaves_the_next_ones_lock_alone(here: Path, serve: Any, monkeypatch: Any) -> None:
    answer = c.LLMRouterClient(base_url=serve(http(completion())).base_url).chat("m", [{"role": "user", "content": "Hi"}])
    first, later, unlink = c.Conversation("talk.json"), [], os.unlink

    def unlink_and_begin(path: str) -> None:
        unlink(path)
        later.append(c.Conversation("talk.json"))  # as soon as the name is free

    monkeypatch.setattr(os, "unlink", unlink_and_begin)
    first.add([{"role": "user", "content": "Hi"}], answer)
    monkeypatch.undo()
    os.chdir(here)
    with pytest.raises(c.SafetyError, match="in use"):
        c.Conversation("talk.json")
    assert len(later[0].messages) == 2
    later[0].close()
    assert entries(here) == ["talk.json"]


def test_a_path_object_may_lie_anywhere_and_a_text_may_not(here: Path, tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "talk.json"
    with pytest.raises(c.SafetyError):
        c.Conversation(str(elsewhere))
    c.Conversation(elsewhere).close()
    c.Conversation(str(elsewhere), allow_paths=[str(elsewhere.parent)]).close()


def test_half_an_answer_is_refused_in_python_too(here: Path, serve: Any) -> None:
    talk, reader = c.Conversation("talk.json"), c.Reader()
    reader.take({"choices": [{"message": {"content": "half"}}]})
    with pytest.raises(c.IncompleteError):
        talk.add([], c.Answer(reader, "m", complete=False))
    talk.close()
    assert entries(here) == []
