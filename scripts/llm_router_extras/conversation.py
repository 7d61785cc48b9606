"""Conversations: a JSON list of messages in a file, one process at a time, replaced whole or not at all."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llm_router_client import (
    IncompleteError,
    LLMRouterError,
    SafetyError,
    UsageError,
    as_dict,
    check_inside,
    check_messages,
    dump_json,
    first_dict,
    one_line,
    parse_json,
    read_upload,
)

from .files import lock_file, private_file

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_router_client import JSON, Answer, Turns

MAX_CONVERSATION_BYTES = 8_388_608


class Conversation:
    """A JSON list of messages in a file that the caller names, which may not exist yet; no other process can open it.

    talk = Conversation("talk.json")  # a str path lies inside the working directory or allow_paths, a Path anywhere
    question = {"role": "user", "content": "Hello"}
    talk.add([question], client.chat("MODEL", [*talk.messages, question]))  # once; or close()
    """

    def __init__(self, path: Any, allow_paths: Sequence[str] = ()) -> None:
        self.path = os.path.realpath(path)
        if isinstance(path, str):
            check_inside(path, self.path, allow_paths)
        self._part = f"{self.path}.part"  # the lock, and then what takes the file's place
        try:
            self._file = private_file(self._part)
            free = lock_file(self._file) and os.path.exists(self._part)
            free = free and os.path.samestat(os.fstat(self._file), os.stat(self._part))  # else it has just become the file
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None
        if not free:
            os.close(self._file)
            raise SafetyError(f"{path} is in use by another process", next_step="Wait for it to end, or name another file.")
        try:
            self.messages = self._read() if os.path.lexists(self.path) else []
        except (ValueError, LLMRouterError) as error:
            self.close()
            known = isinstance(error, SafetyError)
            raise error if known else UsageError(f"{path} is no conversation: {one_line(error, 100)}") from None

    def _read(self) -> Turns:
        turns = parse_json(read_upload(self.path, MAX_CONVERSATION_BYTES, anywhere=True).decode("utf-8-sig"))
        return check_messages(turns) if turns != [] else []

    def add(self, question: Sequence[JSON], answer: Answer) -> None:
        """Add a turn, and close. IncompleteError for half an answer; not_written: the file is as it was."""
        if not answer.complete or answer.finish_reason == "length":
            raise IncompleteError("an incomplete answer is not added to a conversation")
        said = as_dict(first_dict(answer.get("choices")).get("message"))
        calls = {name: said[name] for name in ("tool_calls", "function_call") if said.get(name)}
        turns = [*self.messages, *question, {"role": "assistant", "content": answer.text or None, **calls}]
        try:
            self._replace(dump_json(turns, indent=1).encode())
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
        os.ftruncate(self._file, 0)
        with open(os.dup(self._file), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(self._file)
        if os.path.exists(self.path):
            os.chmod(self._part, os.stat(self.path).st_mode & 0o777)
        if os.name == "nt":
            os.close(self._file)  # open files cannot be moved there
        os.replace(self._part, self.path)
        if os.name != "nt":
            os.close(self._file)
        self._file = -1  # close() must not take away what another process has under that name now

    def close(self) -> None:
        """Let others have the conversation."""
        if self._file >= 0:
            if os.path.exists(self._part) and os.name != "nt":
                os.unlink(self._part)
            os.close(self._file)
            self._file = -1
