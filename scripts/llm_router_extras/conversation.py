"""Conversations: a JSON list of messages in a file, one process at a time, replaced whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llm_router_client import (
    Answer,
    IncompleteError,
    LLMRouterError,
    SafetyError,
    UsageError,
    check_inside,
    check_messages,
    dump_json,
    one_line,
    own_file,
    parse_json,
    path_list,
    read_upload,
)

from .files import lock_file, private_file
from .message import message_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_router_client import JSON, Console, Turns

MAX_CONVERSATION_BYTES = 8_388_608


def version_of(path: str) -> tuple[int, ...]:
    """A fingerprint of the file that any change alters; () if there is no file."""
    try:
        facts = os.stat(path)
    except OSError:
        return ()
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


class Conversation:
    """A JSON list of messages in a file that the caller names, which may not exist yet; no other process can open it.

    talk = Conversation("talk.json")  # a str path lies inside the working directory or allow_paths, a Path anywhere
    question = {"role": "user", "content": "Hello"}
    talk.add([question], client.chat("MODEL", [*talk.messages, question]))  # once; or close()
    """

    def __init__(self, path: Any, allow_paths: Sequence[str] = ()) -> None:
        allow_paths = path_list(allow_paths)
        if not isinstance(path, (str, os.PathLike)):
            raise UsageError("the path of a conversation is a text or a pathlib.Path", next_step="Name its file.")
        self.path = os.path.realpath(path)
        if isinstance(path, str):
            check_inside(path, self.path, allow_paths)
        if os.path.isdir(self.path):
            raise SafetyError(f"{path} is a directory, not a file", next_step="Name a file in it; it may not exist yet.")
        self._lock = f"{self.path}.part"  # an empty file, locked until close()
        try:
            self._file = private_file(self._lock)
            free = lock_file(self._file) and os.path.exists(self._lock)
            free = free and os.path.samestat(os.fstat(self._file), os.stat(self._lock))  # else its owner has just removed it
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None
        if not free:
            os.close(self._file)
            raise SafetyError(f"{path} is in use by another process", next_step="Wait for it to end, or name another file.")
        if os.fstat(self._file).st_size:
            os.close(self._file)
            step = "Move it away: this name is reserved for the lock of the conversation, an empty file."
            raise SafetyError(f"{self._lock} exists and is not a lock", next_step=step)
        self._version = version_of(self.path)
        try:
            self.messages = self._read() if os.path.lexists(self.path) else []
        except (ValueError, LLMRouterError) as error:
            self.close()
            known = isinstance(error, SafetyError)
            raise error if known else UsageError(f"{path} is not a conversation: {one_line(error, 100)}") from None

    def _read(self) -> Turns:
        turns = parse_json(read_upload(self.path, MAX_CONVERSATION_BYTES, anywhere=True).decode("utf-8-sig"))
        return check_messages(turns) if turns != [] else []

    def add(self, question: Sequence[JSON], answer: Answer) -> None:
        """Add a turn, and close. IncompleteError for half an answer; not_written: the file is as it was."""
        if not isinstance(answer, Answer):
            raise UsageError("answer is what chat() returned", next_step="Add a stream's .response once it has ended.")
        if not answer.complete or answer.finish_reason == "length":
            raise IncompleteError("an incomplete answer is not added to a conversation")
        said = message_of(answer)
        calls = {name: said[name] for name in ("tool_calls", "function_call") if said.get(name)}
        turns = check_messages(question, "question must be") if question not in ([], ()) else []
        turns = [*self.messages, *turns, {"role": "assistant", "content": answer.text or None, **calls}]
        try:
            self._replace(dump_json(turns, indent=1).encode())
            self.messages = turns
        except OSError as error:
            why = f"the turn was not added to {self.path}: {error.strerror or error}"
            failure = LLMRouterError(why, code="not_written")
            failure.response = answer
            raise failure from None
        finally:
            self.close()

    def _replace(self, data: bytes) -> None:
        if len(data) > MAX_CONVERSATION_BYTES:
            raise OSError(f"it would be over its limit of {MAX_CONVERSATION_BYTES} bytes")
        new = f"{self.path}.{os.urandom(4).hex()}.part"
        try:
            with open(private_file(new, os.O_EXCL), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if version_of(self.path) != self._version:  # an editor takes no lock
                raise OSError("another program changed it in the meantime")
            if self._version:
                os.chmod(new, os.stat(self.path).st_mode & 0o777)
            os.replace(new, self.path)
        finally:
            if os.path.lexists(new):
                os.unlink(new)

    def close(self) -> None:
        """Let others have the conversation."""
        if self._file < 0:
            return
        file, self._file = self._file, -1
        if os.name == "nt":  # where no open file can be removed
            os.close(file)
        try:
            os.unlink(self._lock)  # elsewhere before the lock ends: what has that name afterwards is another's
        except OSError:
            pass  # it is gone, or another process has it already
        if os.name != "nt":
            os.close(file)


def own_conversation() -> Path:
    """The file of --continue, in the user's state directory; its folder is made if there is none."""
    path = Path(own_file("", "XDG_STATE_HOME", ".local/state", "conversation.json"))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        why, step = error.strerror or error, "Set XDG_STATE_HOME to a folder that you can write to."
        raise UsageError(f"{path.parent}, where --continue keeps its file, cannot be created: {why}", next_step=step) from None
    return path


def check_new(args: Any) -> None:
    """UsageError for --new without the conversation that it begins anew."""
    if args.new and not args.go_on:
        raise UsageError("--new goes with --continue", next_step="Add --continue, or leave out --new.")


def open_for(args: Any, console: Console) -> None:
    """Open the conversation of --continue, the user's own, or of --append; it is the command's until that ends."""
    if args.go_on and (args.messages is not None or args.messages_file or args.append):
        raise UsageError("--continue has a file of its own", next_step="Leave out --messages, --messages-file and --append.")
    check_new(args)
    if args.append and (args.messages is not None or not args.messages_file):
        raise UsageError("--append adds to a file", next_step="Name it with --messages-file; it may not exist yet.")
    args.talk = Conversation(own_conversation()) if args.go_on else Conversation(args.messages_file, args.allow_path or ())
    console.closers.append(args.talk.close)
    if args.go_on and args.new:
        args.talk.messages = []
