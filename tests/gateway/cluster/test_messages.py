"""What crosses between home and workers comes out as it went in, through JSON."""

import json
from dataclasses import replace
from typing import Any

from storing import call

from llm_router_gateway.access.sessions import Logins
from llm_router_gateway.cluster.messages import (
    pack_logins,
    pack_record,
    pack_row,
    pack_turn,
    unpack_logins,
    unpack_record,
    unpack_row,
    unpack_turn,
)
from llm_router_gateway.config.keys import digest_of, read_json, reset_now
from llm_router_gateway.net.frames import FrameReader, frame
from llm_router_gateway.store.conversations import Turn, text_of
from llm_router_gateway.store.keys import Row
from llm_router_gateway.store.redaction import Bodies, redact

TERMS = {
    "name": "ci", "owner": "o", "note": "\u2028é", "expires_at": "2030-01-31T18:00:00Z", "is_admin": True,
    "allowed_models": ["openai/*"], "allowed_tags": ["cheap"], "parameter_limits": {"max_tokens": 20, "temperature": 0.5},
    "limits": {"max_requests": 5, "per_seconds": 60, "queue": 2, "max_concurrent": 3, "wait_s": 5},
    "budget": {"usd_per_day": 1.5},
    "networks": ["10.0.0.0/8"],
}  # fmt: skip


def crossed(value: Any) -> Any:
    """As the other process reads it."""
    (found,) = FrameReader().feed(frame(value))
    return found


def test_a_call_with_every_kind_of_field() -> None:
    one = call(asked="caf\u00e9 \ud83d", cost_usd=0.1 + 0.2, input_tokens=7, first_ms=None, status=200)
    assert unpack_record(crossed(pack_record((one, None)))) == (one, None)


def test_bodies_of_any_bytes() -> None:
    bodies = Bodies(bytes(range(256)), None, 65_536, (b"secret\xff",))
    assert unpack_record(crossed(pack_record((call(), bodies)))) == (call(), bodies)


def test_pictures_stay_in_the_worker_and_what_is_kept_is_the_same() -> None:
    picture = b'{"url": "data:image/png;base64,' + b"A" * 5_000_000 + b'", "text": "key-of-mine ' + b"x" * 70_000 + b'"}'
    whole = Bodies(picture, picture, 65_536, (b"key-of-mine",))
    _, passed = unpack_record(crossed(pack_record((call(), whole))))
    assert passed is not None and passed.request is not None and len(passed.request) < 100_000
    assert redact(passed.request, 65_536, passed.secrets) == redact(picture, 65_536, whole.secrets)


def test_a_key_with_all_its_terms() -> None:
    key = replace(read_json(TERMS), id="key_1", hint="llmr_ab...", created=12.0)
    row = Row(key, digest_of("s"), 3.5)
    assert unpack_row(crossed(pack_row(row))) == row


def test_the_reset_of_a_key_of_the_file() -> None:
    key = replace(
        read_json({"name": "ci", "is_active": False, **reset_now({"usd_day": 4.5}, 60.0)}), id="config:ci", created=0.0
    )
    row = Row(key, b"config:ci", None)
    assert unpack_row(crossed(pack_row(row))) == row and key.is_of_file


def test_a_key_that_cannot_be_read_is_refused_and_not_forgotten() -> None:
    values = pack_row(Row(read_json({"name": "ci"}), digest_of("s"), None))
    values[-1]["budget"] = {"usd_per_day": "much"}
    assert unpack_row(values).key.is_active is False


def test_logins_and_turns() -> None:
    logins = Logins([(b"\x00\xff", b"\x01", 9.5)], b"\x80secret", [b"\x02"])
    assert unpack_logins(crossed(pack_logins(logins))) == logins
    turn = Turn("resp_1", "key_1", "", 1.0, "p/m", "5f", text_of({"output": [{"id": "m"}], "text": "\ud83d"}), ("m",))
    assert unpack_turn(json.loads(json.dumps(pack_turn(turn)))) == turn
