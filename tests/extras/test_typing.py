"""What people type: questions without options, pipes, conversations, aliases, completion, the manual page, the wait sign."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Dict, List

import pytest
from quick import every

import llm_router_client as c
from llm_router_extras import aliases, completion, manual, waiting
from llm_router_extras.talk import Lines, Talk

posix_only = pytest.mark.skipif(os.name == "nt", reason="needs a pseudo-terminal")


# ----------------------------------------------------------------------------------------------------------- questions


@pytest.mark.parametrize(
    ("words", "said"),
    every(2, [
        (["What is this?", "--demo"], "What is this?"), (["two\nlines", "--demo"], "two\nlines"),
        (["chat", "--demo", "Hello"], "Hello"), (["chat", "Hello", "--demo"], "Hello"),
        (["vision", "Describe it", "--demo", "-i", "https://example.com/a.png"], "Describe it"),
    ]),
)  # fmt: skip
def test_a_question_needs_no_option(cli: Any, words: List[str], said: str) -> None:
    done = cli(*words)
    assert done.code == 0 and f"You said: {said}" in done.out.decode(), done


@pytest.mark.parametrize("words", [["Hello", "--demo"], ["chta", "--demo"], [" "], ["chat", "one", "two", "--demo"]])
def test_a_word_alone_is_a_command_or_a_mistake_and_never_a_call(cli: Any, words: List[str]) -> None:
    done = cli(*words)
    assert done.code == 2 and not done.out and b"next: " in done.err


def test_a_pipe_is_read_only_when_that_is_said(cli: Any) -> None:
    assert b"explain\n\npiped" in cli("chat", "explain", "--stdin", "--demo", stdin=b"piped").out
    assert b"piped" not in cli("chat", "explain", "--demo", stdin=b"piped").out
    assert b"You said: piped" in cli("chat", "--stdin", "--demo", stdin=b"piped").out


@pytest.mark.parametrize("command", every(3, ["chat", "skill", "completion"]))
def test_help_names_a_command(cli: Any, command: str) -> None:
    assert cli("help", command).out == cli(command, "--help").out
    assert cli("help", "caht").code == 2


# ------------------------------------------------------------------------------------------------------- conversations


@pytest.fixture
def state(cli: Any, tmp_path: Path) -> Path:
    """A state directory of the test's own."""
    cli.env["LOCALAPPDATA" if os.name == "nt" else "XDG_STATE_HOME"] = str(tmp_path / "state")
    return tmp_path / "state" / "llm-router"


def sent(cli: Any, *words: str) -> List[str]:
    """The texts of all turns that a dry run would send."""
    return [turn["content"] for turn in cli(*words, "--dry-run", "--demo").json["body"]["messages"]]


@pytest.mark.slow
def test_continue_goes_on_and_new_begins_anew(cli: Any, state: Path) -> None:
    assert cli("chat", "one", "--continue", "--demo").code == 0
    assert sent(cli, "chat", "two", "--continue")[::2] == ["one", "two"]
    assert sent(cli, "chat", "two", "--continue", "--new") == ["two"]
    assert (state / "conversation.json").stat().st_mode & 0o077 == 0 or os.name == "nt"
    assert cli("chat", "x", "--continue", "--messages-file", "other.json", "--demo").code == 2


def test_a_state_folder_that_cannot_be_made_is_named_before_anything_is_sent(cli: Any, state: Path) -> None:
    state.parent.write_bytes(b"")  # a file in its place
    failed = cli("chat", "one", "--continue", "--demo", "--json")
    assert failed.code == 2 and failed.json["error"]["code"] == "usage"
    assert str(state) in failed.json["error"]["message"] and "XDG_STATE_HOME" in failed.json["error"]["next_step"]


def talk(cli: Any, *lines: str, words: List[str] = []) -> Any:  # noqa: B006  (it is never changed)
    return cli("talk", "--demo", *words, stdin="\n".join(lines).encode())


def test_talk_remembers_until_new(cli: Any, state: Path, tmp_path: Path) -> None:
    done = talk(cli, "one", "two", "/save talk.json", "/new", "three", "/save rest.json")
    assert done.code == 0 and [line[-3:] for line in done.out.split()][-1] == b"ree"
    saved = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))
    assert [turn["content"] for turn in saved][::2] == ["one", "two"]
    assert len(json.loads((tmp_path / "rest.json").read_text(encoding="utf-8"))) == 2
    assert not state.exists()


@pytest.mark.slow
def test_talk_keeps_nothing_but_with_continue(cli: Any, state: Path) -> None:
    talk(cli, "one", words=["--continue"])
    assert sent(cli, "chat", "two", "--continue")[::2] == ["one", "two"]
    talk(cli, "three", words=["--continue"])
    assert sent(cli, "chat", "four", "--continue")[::2] == ["one", "three", "four"]


def talker(demo: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> Talk:
    """A talk with --continue in this process."""
    for name in ("XDG_STATE_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(name, str(folder))
    args = c.parser_of("talk").parse(["-m", "demo", "--continue"])
    return Talk(c.LLMRouterClient(base_url=demo.base_url), args, c.Console(False))


def test_talk_replaces_no_turn_of_another_process(
    demo: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfdbinary: Any
) -> None:
    first, second = talker(demo, monkeypatch, tmp_path), talker(demo, monkeypatch, tmp_path)
    first.ask("one")
    second.ask("two")  # which knows nothing of the first
    said = capfdbinary.readouterr().err
    assert b"another process changed the saved conversation" in said and b"/save FILE" in said
    first.ask("three")
    assert capfdbinary.readouterr().err == b""
    third = talker(demo, monkeypatch, tmp_path)
    assert [turn["content"] for turn in third.turns][::2] == ["one", "three"]
    assert [turn["content"] for turn in second.turns][::2] == ["two"]
    third.command("/new")
    third.ask("four")
    assert [turn["content"] for turn in talker(demo, monkeypatch, tmp_path).turns][::2] == ["four"]


def test_what_verbose_shows_of_an_answer_is_the_same_in_talk_as_in_chat(
    demo: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfdbinary: Any
) -> None:
    monkeypatch.setenv("LLM_ROUTER_BASE_URL", demo.base_url)
    monkeypatch.setattr(c, "stop_on_sigterm", lambda: None)
    shown = []
    for model in ("demo", "demo-usage-text"):
        asked = talker(demo, monkeypatch, tmp_path / model)
        asked.model, asked.args.verbose, asked.args.stream = model, True, True
        asked.ask("Hello")
        shown.append(re.sub(rb"[\d.]+ s,", b"", capfdbinary.readouterr().err))
        c.main(["chat", "-m", model, "--message", "Hello", "-v", "--stream"])
        assert re.sub(rb"[\d.]+ s,", b"", capfdbinary.readouterr().err) == shown[-1]
    assert b"tokens, cost $0.0" in shown[0] and b"credits left" in shown[0] and b"cost unknown" in shown[1]


def test_a_line_that_is_no_text_does_not_end_the_talk(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    lines = Lines()
    lines.prompt = "> "
    monkeypatch.setattr("builtins.input", lambda _: b"caf\xe9".decode())
    with pytest.raises(c.UsageError, match="not UTF-8"):
        lines.read()


@pytest.mark.parametrize(
    ("lines", "out", "err"),
    every(4, [
        (["/image a\0b.png", "/save a\0b", "hi"], b"You said: hi", b"cannot be written"),
        (["/model demo-reasoning", "hi"], b"You said: hi", b"talking to demo-reasoning"),
        (["/modle x", "hi"], b"You said: hi", b"Did you mean /model?"),
        (["//etc is a folder"], b"You said: /etc is a folder", b""),
        (['"""', "a", "", "b", '"""'], b"You said: a\n\nb", b""),
        (["/image missing.png", "hi"], b"You said: hi", b"missing.png"),
        (["/save", "hi"], b"You said: hi", b"Write /save FILE"),
        (["/help"], b"/system TEXT", b""),
        (["/system Be brief."], b"", b"system prompt set"),
        (["/system"], b"", b"no system prompt"),
        (["/quit", "hi"], b"", b""),
        (["/model fail-429", "/model fail-402", "hi", "/model demo", "then"], b"You said: then", b"[no_credit]"),
        (["/model fail-cut", "one", "/model demo", "two"], b"You said: two", b"stream_cut"),
    ]),
)  # fmt: skip
def test_talk_takes_commands_and_no_mistake_ends_it(cli: Any, state: Path, lines: List[str], out: bytes, err: bytes) -> None:
    done = talk(cli, *lines)
    assert done.code == 0 and out in done.out and err in done.err, done
    assert out or not done.out


def test_a_failed_turn_is_no_part_of_the_conversation(cli: Any, state: Path, tmp_path: Path) -> None:
    talk(cli, "one", "/model fail-cut", "bad", "/model demo", "two", "/save s.json")
    assert [turn["content"] for turn in json.loads((tmp_path / "s.json").read_text())][::2] == ["one", "two"]


def test_system_and_images_go_with_the_question(cli: Any, state: Path, tmp_path: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (1).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    (tmp_path / "a.png").write_bytes(png)
    done = talk(cli, "/system Be brief.", "/image a.png", "what?", "and now?", "/save s.json")
    assert b"Image 1: PNG, 1x1" in done.out
    turns = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert turns[0] == {"role": "system", "content": "Be brief."}
    assert [part["type"] for part in turns[1]["content"]] == ["text", "image_url"] and turns[3]["content"] == "and now?"


def test_save_replaces_no_file(cli: Any, state: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("mine", encoding="utf-8")
    assert b"cannot be written" in talk(cli, "one", "/save mine.json").err
    assert (tmp_path / "mine.json").read_text(encoding="utf-8") == "mine"


# ---------------------------------------------------------------------------------------------------- terminal and wait


def on_terminal(
    cli: Any, *words: str, typed: bytes = b"", interrupt_after: bytes = b"", end_after: bytes = b"", until_s: float = 20
) -> bytes:
    """What a command shows on a pseudo-terminal; Ctrl-C is typed once `interrupt_after` was shown, SIGTERM at `end_after`."""
    import pty
    import select

    leader, follower = pty.openpty()
    streams: Dict[str, Any] = {"stdin": follower, "stdout": follower, "stderr": follower}
    process = subprocess.Popen(cli.words(*words), env={**cli.env, "TERM": "xterm"}, cwd=cli.cwd, start_new_session=True,
                               preexec_fn=take_terminal, **streams)  # fmt: skip
    os.close(follower)
    os.write(leader, typed)
    shown, ends = b"", time.monotonic() + until_s
    while time.monotonic() < ends:
        if select.select([leader], [], [], 0.1)[0]:
            try:
                shown += os.read(leader, 65_536)
            except OSError:
                break
        elif process.poll() is not None:
            break
        if interrupt_after and interrupt_after in shown:
            os.write(leader, b"\x03")
            os.write(leader, b"/quit\n")
            interrupt_after = b""
        if end_after and end_after in shown:
            process.terminate()
            ended = process.wait(20) == -signal.SIGTERM
            shown, end_after = shown + b"[ended by SIGTERM]" * ended, b""
    process.kill()
    process.wait()
    os.close(leader)
    return shown


def take_terminal() -> None:
    """In the child: the terminal that its streams are is the one that Ctrl-C comes from."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@posix_only
@pytest.mark.slow
def test_a_terminal_shows_that_an_answer_is_waited_for_and_then_nothing_of_it(cli: Any) -> None:
    shown = on_terminal(cli, "chat", "Hello", "--demo", "-m", "demo-sleep-1200")
    assert re.search(rb"\rdemo-sleep-1200 \.\.\. [01] s", shown), shown
    assert shown.index(b"...") < shown.index(b"\r" + b" " * 20) < shown.index(b"You said")


@posix_only
@pytest.mark.slow
def test_a_quick_answer_and_a_pipe_show_no_sign(cli: Any) -> None:
    assert b"..." not in on_terminal(cli, "chat", "Hello", "--demo")
    assert cli("chat", "Hello", "--demo", "-m", "demo-sleep-700").err == b""


@posix_only
@pytest.mark.parametrize("columns", [8, 40, 200])
def test_the_sign_of_waiting_fits_on_one_line(columns: int, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(waiting, "AFTER_S", 0)
    monkeypatch.setattr(waiting.os, "get_terminal_size", lambda _: os.terminal_size((columns, 24)))
    drawn = threading.Event()
    monkeypatch.setattr(waiting.Sign, "_write", lambda _, text: (sys.stderr.write(text), drawn.set()))
    sign = waiting.Sign("a-maker/" + "a-long-name-of-a-model-" * 4)
    assert drawn.wait(20)
    sign.close()
    text = capsys.readouterr().err
    assert 0 < max(map(len, text.split("\r"))) < max(columns, 9) and "... 0 s" in text, text


@pytest.mark.slow
@posix_only
def test_a_signal_to_end_ends_the_talk_at_its_prompt_and_in_an_answer(cli: Any, state: Path) -> None:
    for words, typed, at in (([], b"", b"Ctrl-D ends"), (["-m", "demo-slow-200"], b"one two three four\n", b"This is")):
        shown = on_terminal(cli, "talk", "--demo", *words, typed=typed, end_after=at)
        assert at in shown and b"[ended by SIGTERM]" in shown, shown
    assert b"one two three four" in (state / "talk_history").read_bytes()  # kept as it is typed


def test_an_image_may_be_named_as_terminals_write_a_file_that_is_dropped_on_them(cli: Any, state: Path) -> None:
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (1).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    (Path(cli.cwd) / "a b.png").write_bytes(png)
    assert b"Image 1: PNG, 1x1" in talk(cli, "/image 'a b.png'", "what?").out
    cli.env["HOME"] = str(cli.cwd)
    assert os.name == "nt" or b"Image 1: PNG, 1x1" in talk(cli, "/image ~/a b.png", "what?").out


@pytest.mark.slow
@posix_only
def test_ctrl_c_stops_the_answer_and_not_the_talk(cli: Any, state: Path) -> None:
    shown = on_terminal(cli, "talk", "--demo", "-m", "demo-slow-200", typed=b"one two three four five six\n",
                        interrupt_after=b"This is")  # fmt: skip
    assert b"stopped; question and answer are not part" in shown, shown
    assert (state / "talk_history").stat().st_mode & 0o077 == 0


# ------------------------------------------------------------------------------------------------------------- aliases


@pytest.fixture
def configured(cli: Any, tmp_path: Path) -> Any:
    def write(**config: Any) -> Any:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        cli.env["LLM_ROUTER_CONFIG"] = str(path)
        cli.env.update(LLM_ROUTER_BASE_URL="http://127.0.0.1:1/v1")
        return cli

    return write


NAMES = {"best": "model-b", "fast": "model-f"}


@pytest.mark.parametrize("usual,said", [
    ("", "listed"), ("auto", "listed"), ("demo", "listed"), ("mine", "listed"), ("gpt-x", "not gpt-x, LLM_ROUTER_MODEL"),
    ("best", "not model-b, LLM_ROUTER_MODEL"),
])  # fmt: skip
def test_doctor_knows_the_user_s_words_for_models(
    demo: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usual: str, said: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"aliases": {**NAMES, "mine": "demo"}}))
    monkeypatch.setenv("LLM_ROUTER_CONFIG", str(tmp_path / "config.json"))
    monkeypatch.setenv("LLM_ROUTER_MODEL", usual)
    args = c.parser_of("doctor").parse([])
    *_, models = c.looks(c.LLMRouterClient(base_url=demo.base_url), args)
    assert models.endswith("listed") if said == "listed" else said in models


@pytest.mark.parametrize(
    ("words", "env", "model"),
    [
        ([], {}, "model-b"),
        (["-m", "fast"], {}, "model-f"),
        (["-m", "other"], {}, "other"),
        ([], {"LLM_ROUTER_MODEL": "fast"}, "model-f"),
        ([], {"LLM_ROUTER_MODEL": "other"}, "other"),
    ],
)
def test_an_alias_stands_for_a_model_and_the_configuration_names_the_usual(
    configured: Any, words: List[str], env: Dict[str, str], model: str
) -> None:
    cli = configured(model="best", aliases=NAMES)
    assert cli("chat", "Hi", "--dry-run", *words, env=env).json["body"]["model"] == model


@pytest.mark.parametrize("body,env,model", [
    ({"seed": 1}, {"LLM_ROUTER_MODEL": "fast"}, "model-f"), ({"seed": 1}, {}, "model-b"),
    ({"model": "x"}, {"LLM_ROUTER_MODEL": "fast"}, "x"),
])  # fmt: skip
def test_a_body_file_without_a_model_leaves_the_usual_one(configured: Any, body: Any, env: Dict[str, str], model: str) -> None:
    cli = configured(model="best", aliases=NAMES)
    (Path(cli.cwd) / "body.json").write_text(json.dumps(body), encoding="utf-8")
    assert cli("chat", "Hi", "--dry-run", "--body-file", "body.json", env=env).json["body"]["model"] == model


def test_comma_lists_hold_aliases_too(configured: Any) -> None:
    cli = configured(aliases=NAMES)
    done = cli("compare", "--models", "best, fast,x", "Hi", "--dry-run")
    assert re.findall(rb'"model": "([\w-]+)"', done.out) == [b"model-b", b"model-f", b"x"]


def test_an_alias_of_an_alias_is_refused(configured: Any) -> None:
    done = configured(aliases={"a": "b", "b": "c"})("chat", "Hi", "--dry-run")
    assert done.code == 2 and b"which is an alias, too" in done.err
    assert aliases.expand(None, NAMES) is None and aliases.expand("", NAMES) == ""


# ---------------------------------------------------------------------------------------------- completion, manual page


def completed(*typed: str) -> List[str]:
    """What bash offers after these words, the last of them unfinished."""
    script = f"{completion.bash()}\nCOMP_WORDS=(llm-router {' '.join(completion.quote(word) for word in typed)})\n"
    script += f"COMP_CWORD={len(typed)}\n_llm_router\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0 and not done.stderr, done
    return done.stdout.splitlines() if done.stdout.strip() else []


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not on this machine")
def test_bash_completes_commands_options_and_words() -> None:
    assert completed("ch") == ["chat"]
    assert {"--message", "--message-file", "--messages-file"} <= set(completed("chat", "--mes"))
    assert completed("skill", "inst") == ["install"]
    assert set(completed("help", "")) == set(c.COMMANDS)
    assert completed("chat", "--model", "") == []
    assert completed("skill", "install", "--agent", "c") == ["claude", "codex"] == completed("skill", "--agent", "=", "c")
    assert completed("chat", "--prefer", "") == ["cost", "speed", "quality"] and completed("usage", "--by", "d") == ["day"]


@pytest.mark.skipif(not shutil.which("bash"), reason="bash is not on this machine")
def test_bash_completes_paths_after_options_that_take_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "question.txt").touch()
    monkeypatch.chdir(tmp_path)
    assert completed("chat", "--message-file", "ques") == ["question.txt"]
    (tmp_path / "a question.txt").touch()
    assert completed("chat", "--message-file", "a") == ["a question.txt"] == completed("chat", "--message-file", "=", "a")


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_every_command_and_option_is_in_every_script(shell: str) -> None:
    script = completion.SHELLS[shell]()
    for command in c.COMMANDS:
        assert command in script
        for flag in completion.flags_of(command):
            wanted = flag.spelled[-1] if shell != "fish" else f"-l {flag.spelled[-1][2:]}"
            assert wanted in script, (command, flag)
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=script, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, done.stderr


def test_the_manual_page_has_every_command_option_and_exit_code() -> None:
    page = manual.page()
    plain = page.replace("\\-", "-")
    for command in c.COMMANDS:
        assert f"\n.SS {command}\n" in plain
        assert all(f"\\fB{', '.join(flag.spelled)}" in plain for flag in completion.flags_of(command))
    assert all(f"\\fB{code}\\fR" in plain for code in c.EXIT_CODES)
    requests = {line.split()[0] for line in page.splitlines() if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".SS", ".TP", ".PP", ".B", ".br", ".nf", ".fi"}
    if shutil.which("man"):
        shown = subprocess.run(["man", "--warnings", "-l", "-"], input=page, capture_output=True, text=True, timeout=60)
        assert shown.returncode == 0 and not shown.stderr and "EXIT STATUS" in shown.stdout, shown.stderr


@pytest.mark.slow
def test_no_shell_named_says_which_there_are(cli: Any) -> None:
    done = cli("completion")
    assert done.code == 2 and b"bash, zsh, fish" in done.err
    assert cli("man").out.startswith(b".TH") and sys.version_info >= (3, 9)


# ---------------------------------------------------------------------------------------------------------- base URLs


def test_a_base_url_without_its_version_says_what_was_meant(cli: Any, demo: Any) -> None:
    done = cli("chat", "Hi", "-m", "demo", env={"LLM_ROUTER_BASE_URL": demo.url})
    assert done.code == 5 and f"Did you mean the base URL {demo.url}/v1?" in done.err.decode()


def test_a_model_that_is_not_there_is_no_matter_of_the_base_url(cli: Any, demo: Any) -> None:
    done = cli("chat", "Hi", "-m", "missing", env={"LLM_ROUTER_BASE_URL": demo.base_url})
    assert done.code == 5 and b"Did you mean the base URL" not in done.err
