"""Spans and metrics as bodies of OTLP over HTTP, in JSON and in protobuf. Pure.

    body(traces([span], resource), TRACES, "http/json")      -> b'{"resourceSpans": [...]}'
    body(metrics(found, resource), METRICS, "http/protobuf") -> bytes of an ExportMetricsServiceRequest
    rejection_in(data, is_json)                                  -> (2, "why"): what an answer of status 200 did not take

Both come from the same object. Its form is what receivers take, some of them nothing else: ids in lower-case hex, 64-bit
integers as text, enums as numbers, `attributes` always there, `status` with its code or not at all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .protobuf import encode, fields

TRACES, METRICS = "traces", "metrics"
MESSAGES = {TRACES: "ExportTraceServiceRequest", METRICS: "ExportMetricsServiceRequest"}
PATHS = {TRACES: "/v1/traces", METRICS: "/v1/metrics"}  # below an endpoint that is for both
JSON, PROTOBUF = "http/json", "http/protobuf"
CONTENT_TYPES = {JSON: "application/json", PROTOBUF: "application/x-protobuf"}
SERVER, CLIENT = 2, 3  # kinds of span
ERROR = 2  # code of a status
SAMPLED = 0x01  # flag of a trace
MAX_INT = 2**63 - 1
MAX_TEXT = 8_000  # characters of an attribute

Value = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Value]


class Span(NamedTuple):
    """One operation. Ids are lower-case hex; `parent_id` is "" for the first of a trace; times are Unix nanoseconds."""

    trace_id: str
    span_id: str
    parent_id: str
    trace_state: str
    name: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: Attributes
    error: str | None = None  # what went wrong; None: nothing


class Long(str):
    """A text that is not cut: the messages of a call, whose JSON would be none any more."""

    __slots__ = ()


def clean(text: str) -> str:
    """As UTF-8 can say it, and not endless."""
    if len(text) > MAX_TEXT and not isinstance(text, Long):
        text = text[:MAX_TEXT]
    return str(text) if text.isascii() else text.encode("utf-8", "replace").decode()


def any_value(value: Value) -> dict[str, Any] | None:
    """any_value(120) -> {"intValue": "120"}; None for a number that JSON cannot say."""
    if isinstance(value, str):
        return {"stringValue": clean(value)}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)} if abs(value) <= MAX_INT else None
    if isinstance(value, float):
        return {"doubleValue": value} if math.isfinite(value) else None
    return {"arrayValue": {"values": [{"stringValue": clean(each)} for each in value]}}


def key_values(attributes: Attributes) -> list[dict[str, Any]]:
    """key_values({"a": "b"}) -> [{"key": "a", "value": {"stringValue": "b"}}]"""
    found = ((name, any_value(value)) for name, value in attributes.items())
    return [{"key": name, "value": value} for name, value in found if value is not None]


def span_object(span: Span) -> dict[str, Any]:
    made: dict[str, Any] = {"traceId": span.trace_id, "spanId": span.span_id}
    if span.trace_state:
        made["traceState"] = span.trace_state
    if span.parent_id:
        made["parentSpanId"] = span.parent_id
    made |= {
        "name": clean(span.name), "kind": span.kind, "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(max(span.start_ns, span.end_ns)), "attributes": key_values(span.attributes),
    }  # fmt: skip
    if span.error is None:
        made["status"] = {"code": 0}
    else:
        made["status"] = {"message": clean(span.error), "code": ERROR}
    made["flags"] = SAMPLED
    return made


def traces(spans: Sequence[Span], resource: Attributes, scope: Mapping[str, str]) -> dict[str, Any]:
    """A request with spans; there must be one at least: an empty batch is refused by some receivers."""
    inner = [{"scope": dict(scope), "spans": [span_object(span) for span in spans]}]
    return {"resourceSpans": [{"resource": {"attributes": key_values(resource)}, "scopeSpans": inner}]}


def metrics(found: Sequence[Mapping[str, Any]], resource: Attributes, scope: Mapping[str, str]) -> dict[str, Any]:
    """A request with metrics, as `instruments.collect` makes them."""
    inner = [{"scope": dict(scope), "metrics": list(found)}]
    return {"resourceMetrics": [{"resource": {"attributes": key_values(resource)}, "scopeMetrics": inner}]}


def body(request: Mapping[str, Any], signal: str, protocol: str) -> bytes:
    """The bytes of a request."""
    if protocol == JSON:
        return json.dumps(request, separators=(",", ":")).encode()
    return encode(request, MESSAGES[signal])


def rejection_in(data: bytes, is_json: bool) -> tuple[int, str]:
    """What a receiver says that it did not take, and why; (0, "") for any other answer, whatever it is."""
    try:
        if is_json:
            part = json.loads(data).get("partialSuccess") or {}
            count = part.get("rejectedSpans") or part.get("rejectedDataPoints") or 0
            return int(count), str(part.get("errorMessage") or "")
        status = next((value for number, value in fields(data) if number == 1), b"")
        inner = dict(fields(status)) if isinstance(status, bytes) else {}
        count, why = inner.get(1, 0), inner.get(2, b"")
        return (count if isinstance(count, int) else 0), why.decode("utf-8", "replace") if isinstance(why, bytes) else ""
    except (ValueError, TypeError, AttributeError, RecursionError):
        return 0, ""
