"""A provider with files and batches, as OpenAI's API describes them: for gateways between fakes, and behind a socket."""

from __future__ import annotations

import json
import re
import socket
from typing import Any
from urllib.parse import urlsplit

from running import Asked, chunked, http

FIELD = re.compile(rb'name="purpose"\r\n\r\n(\w+)')
FILE = re.compile(rb'filename="([^"]*)"[^\n]*\r\n(?:[^\r\n]+\r\n)*\r\n(.*?)\r\n--', re.DOTALL)


def form(data: bytes, purpose: str = "batch", name: str = "in.jsonl") -> bytes:
    """An upload, with the boundary "b"."""
    return (b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n%s\r\n--b\r\nContent-Disposition: form-data; '
            b'name="file"; filename="%s"\r\nContent-Type: application/octet-stream\r\n\r\n%s\r\n--b--\r\n'
            % (purpose.encode(), name.encode(), data))  # fmt: skip


class Vendor:
    """One account's objects. `answer` takes a request and gives (status, JSON object or bytes)."""

    def __init__(self, name: str = "v") -> None:
        self.name, self.objects, self.contents = name, {}, {}  # type: str, dict[str, dict[str, Any]], dict[str, bytes]
        self.seen: list[tuple[str, str]] = []
        self.more: dict[str, Any] = {}  # further fields of what is made

    def answer(self, method: str, url: str, body: bytes) -> tuple[int, dict[str, Any] | bytes]:
        path = urlsplit(url).path.removeprefix("/v1/")
        self.seen.append((method, path))
        kind, _, rest = path.partition("/")
        name, _, action = rest.partition("/")
        if not name:
            if method == "GET":  # of all callers: a gateway must not show it
                return 200, {"object": "list", "data": list(self.objects.values()), "has_more": False}
            return 200, self._upload(body) if kind == "files" else self._start(json.loads(body))
        if name not in self.objects:
            return 404, {"error": {"message": f"No such object: {name}", "type": "invalid_request_error", "code": None}}
        if action == "content":
            return 200, self.contents[name]
        if action == "cancel":
            self.objects[name]["status"] = "cancelling"
        if method == "DELETE":
            del self.objects[name]
            return 200, {"id": name, "object": "file", "deleted": True}
        return 200, self.objects[name]

    def _new(self, kind: str, **fields: Any) -> dict[str, Any]:
        name = f"{kind}-{self.name}{len(self.objects)}"
        self.objects[name] = {"id": name, "object": kind, "created_at": 1_792_567_680, **fields, **self.more}
        return self.objects[name]

    def _upload(self, body: bytes) -> dict[str, Any]:
        purpose, file = FIELD.search(body), FILE.search(body)
        assert purpose and file, body
        made = self._new("file", purpose=purpose[1].decode(), filename=file[1].decode(), bytes=len(file[2]))
        self.contents[made["id"]] = file[2]
        return made

    def _start(self, fields: dict[str, Any]) -> dict[str, Any]:
        return self._new("batch", status="in_progress", output_file_id=None, error_file_id=None, **fields)

    def finish(self, batch: str, output: bytes) -> str:
        """The batch is done; the id of its output."""
        made = self._new("file", purpose="batch_output", filename="out.jsonl", bytes=len(output))
        self.contents[made["id"]] = output
        self.objects[batch].update(status="completed", output_file_id=made["id"])
        return str(made["id"])


def acts(vendor: Vendor) -> Any:
    """What a `running.Upstream` does that is this provider."""

    def act(sock: socket.socket, asked: Asked) -> bool:
        method, url, _ = asked.line.split()
        status, value = vendor.answer(method, url, asked.body)
        if isinstance(value, bytes):
            sock.sendall(chunked(value[:5], value[5:], kind="application/octet-stream"))
        else:
            sock.sendall(http(json.dumps(value).encode(), status=f"{status} X"))
        return True

    return act
