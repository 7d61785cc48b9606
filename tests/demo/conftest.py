"""Requests to the mock server over http.client, in each protocol."""

from __future__ import annotations

import http.client
import json
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Tuple

import pytest

TIMEOUT_S = 30.0  # a hang is a failure
VERSION = {"anthropic-version": "2023-06-01"}


class Response(NamedTuple):
    """A response as it came."""

    status: int
    headers: Dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> List[Tuple[str, Any]]:
        """(name, data) of each server-sent event; the name is "" where there is none, broken data stay text."""
        found = []
        for block in filter(None, self.body.decode().replace("\r\n", "\n").split("\n\n")):
            fields = dict(line.partition(": ")[::2] for line in block.split("\n"))
            try:
                data = json.loads(fields.get("data", ""))
            except ValueError:
                data = fields.get("data", "")
            found.append((fields.get("event", ""), data))
        return found


class Api:
    """One keep-alive connection to a mock server; every verb returns a Response."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)

    def send(self, method: str, path: str, body: Any = None, headers: Optional[Dict[str, str]] = None) -> Response:
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        try:
            self.connection.request(method, path, data, headers or {})
            response = self.connection.getresponse()
            return Response(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        except (http.client.HTTPException, OSError):
            self.connection.close()
            raise

    def anthropic(self, model: str = "demo", say: Any = "Hello there", headers: Any = VERSION, **more: Any) -> Response:
        """A message; a list is the whole of messages. None takes a field away: max_tokens=None"""
        messages = say if isinstance(say, list) else [{"role": "user", "content": say}]
        body = {"model": model, "max_tokens": 2048, "messages": messages, **more}
        body = {name: value for name, value in body.items() if value is not None}
        return self.send("POST", "/v1/messages", body, headers)

    def openai(self, model: str = "demo", say: Any = "Hello there", **more: Any) -> Response:
        messages = say if isinstance(say, list) else [{"role": "user", "content": say}]
        return self.send("POST", "/v1/chat/completions", {"model": model, "messages": messages, **more})

    def responses(self, model: str = "demo", say: Any = "Hello there", **more: Any) -> Response:
        """A response; a list is the whole of input."""
        return self.send("POST", "/v1/responses", {"model": model, "input": say, **more})

    def complete(self, model: str = "demo", say: Any = "Hello there", **more: Any) -> Response:
        return self.send("POST", "/v1/completions", {"model": model, "prompt": say, **more})

    def gemini(self, model: str = "demo", say: Any = "Hello there", action: str = "generateContent", **more: Any) -> Response:
        contents = say if isinstance(say, list) else [{"role": "user", "parts": [{"text": say}]}]
        return self.send("POST", f"/v1beta/models/{model}:{action}", {"contents": contents, **more})


@pytest.fixture
def api(demo: Any) -> Iterator[Api]:
    client = Api(demo.port)
    yield client
    client.connection.close()
