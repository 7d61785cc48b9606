"""Audio, pictures and moderations through the gateway, as the vendor's SDK sends and reads them."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from conftest import KEEPALIVE_S, Gateway

openai = pytest.importorskip("openai", reason="none of the vendors' SDKs is installed (tests/interop/README.md)")

pytestmark = pytest.mark.slow
SOUND = b"RIFF" + bytes(range(256)) * 400
USAGE = {"type": "tokens", "input_tokens": 14, "output_tokens": 45, "total_tokens": 59}
ANSWERS: dict[str, Any] = {
    "/v1/images/generations": {"created": 1, "data": [{"b64_json": "AAAA"}], "usage": USAGE},
    "/v1/images/edits": {"created": 1, "data": [{"b64_json": "BBBB"}], "usage": USAGE},
    "/v1/audio/transcriptions": {"text": "Hello there", "usage": USAGE},
    "/v1/audio/translations": {"text": "Hello"},
    "/v1/moderations": {"id": "modr-1", "model": "m", "results": [{"flagged": True, "categories": {}, "category_scores": {}}]},
}


class Media(BaseHTTPRequestHandler):
    """An upstream with the calls that the mock server does not have."""

    seen: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.seen.append((self.path, body))
        data, kind = json.dumps(ANSWERS.get(self.path, {})).encode(), "application/json"
        if self.path == "/v1/audio/speech":
            data, kind = SOUND, "audio/wav"
        elif b'name="stream"\r\n\r\ntrue' in body:
            done = json.dumps({"type": "transcript.text.done", "text": "Hello", "usage": USAGE})
            data = b'data: {"type":"transcript.text.delta","delta":"Hel"}\n\ndata: ' + done.encode() + b"\n\n"
            kind = "text/event-stream"
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The SDK in front of a gateway in front of Media; Media.seen has what the upstream got."""
    media = ThreadingHTTPServer(("127.0.0.1", 0), Media)
    Media.seen = []
    threading.Thread(target=media.serve_forever, daemon=True).start()
    gateway = Gateway(tmp_path_factory.mktemp("media"), f"http://127.0.0.1:{media.server_port}", KEEPALIVE_S)
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.token, max_retries=0) as client:
        yield client
    assert gateway.close() == 0
    media.shutdown()
    media.server_close()


def test_speech_comes_whole_and_in_pieces(client: Any) -> None:
    arguments = {"model": "to-openai/m", "voice": "alloy", "input": "Hello"}
    assert client.audio.speech.create(**arguments).content == SOUND
    with client.audio.speech.with_streaming_response.create(**arguments) as response:
        assert b"".join(response.iter_bytes()) == SOUND
    assert json.loads(Media.seen[-1][1])["model"] == "m"


def test_sound_is_transcribed_and_translated(client: Any) -> None:
    found = client.audio.transcriptions.create(model="to-openai/m", file=("a.wav", SOUND), language="en")
    assert found.text == "Hello there" and found.usage.total_tokens == 59
    assert SOUND in Media.seen[-1][1] and b'name="model"\r\n\r\nm\r\n' in Media.seen[-1][1]
    events = list(client.audio.transcriptions.create(model="to-openai/m", file=("a.wav", SOUND), stream=True))
    assert [event.type for event in events] == ["transcript.text.delta", "transcript.text.done"]
    with pytest.warns(DeprecationWarning):  # by the SDK
        assert client.audio.translations.create(model="to-openai/m", file=("a.wav", SOUND)).text == "Hello"


def test_pictures_are_made_and_edited(client: Any) -> None:
    assert client.images.generate(model="to-openai/m", prompt="a cat").data[0].b64_json == "AAAA"
    files = [("a.png", b"\x89PNG\r\n\x1a\n"), ("b.png", b"\x89PNG\r\n\x1a\n")]
    assert client.images.edit(model="to-openai/m", prompt="a dog", image=files, n=2).data[0].b64_json == "BBBB"
    assert Media.seen[-1][1].count(b'name="image[]"') == 2


def test_texts_are_moderated(client: Any) -> None:
    assert client.moderations.create(model="to-openai/m", input="x").results[0].flagged
    with pytest.raises(openai.BadRequestError, match="model is missing"):
        client.moderations.create(input="x")
