"""otlp and protobuf: bodies byte for byte, and as Google's own parser reads them, where that is installed."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from llm_router_gateway.telemetry import otlp, protobuf
from llm_router_gateway.telemetry.instruments import COST, DURATION, MAX_SERIES, OVERFLOW, Instruments
from llm_router_gateway.telemetry.otlp import CLIENT, JSON, METRICS, PROTOBUF, TRACES, Long, Span, body

TRACE, ROOT, CHILD = "0af7651916cd43dd8448eb211c80319c", "00f067aa0ba902b7", "b7ad6b7169203331"  # pragma: allowlist secret
IDS = ("traceId", "spanId", "parentSpanId")
SCOPE = {"name": "llm_router", "version": "1"}
SMALL = Span(TRACE, CHILD, "", "", "chat m", CLIENT, 1, 2, {"a": 1})
FULL = Span(
    TRACE, CHILD, ROOT, "v=1", "chat gpt-\u00fc", CLIENT, 1_795_893_556_431_000_000, 1_795_893_558_431_000_000,
    {"text": "\u00fc\ud800", "yes": True, "no": False, "whole": -120, "big": 2**70, "real": 0.25, "none": float("nan"),
     "list": ["stop", "x"], "empty": []},
    "503: overloaded",
)  # fmt: skip


def traces(*spans: Span) -> dict[str, Any]:
    return otlp.traces(spans, {"service.name": "llm-router"}, SCOPE)


def test_json_is_what_receivers_take() -> None:
    value = json.loads(body(traces(FULL), TRACES, JSON))
    span = value["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert (span["traceId"], span["spanId"], span["parentSpanId"], span["kind"]) == (TRACE, CHILD, ROOT, 3)
    assert (span["startTimeUnixNano"], span["status"]) == ("1795893556431000000", {"message": "503: overloaded", "code": 2})
    assert {each["key"]: each["value"] for each in span["attributes"]} == {
        "text": {"stringValue": "\u00fc?"}, "yes": {"boolValue": True}, "no": {"boolValue": False},
        "whole": {"intValue": "-120"}, "real": {"doubleValue": 0.25}, "empty": {"arrayValue": {"values": []}},
        "list": {"arrayValue": {"values": [{"stringValue": "stop"}, {"stringValue": "x"}]}},
    }  # fmt: skip
    plain = json.loads(body(traces(SMALL._replace(attributes={})), TRACES, JSON))
    span = plain["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert span["status"] == {"code": 0} and span["attributes"] == [] and "parentSpanId" not in span


GOLDEN = "".join((
    "0a8001",  # resourceSpans, 128 bytes
    "0a1e0a1c", "0a0c", b"service.name".hex(), "120c0a0a", b"llm-router".hex(),  # its resource: one attribute, a text
    "125e", "0a0f", "0a0a", b"llm_router".hex(), "1201", b"1".hex(),  # scopeSpans, their scope
    "124b", "0a10", TRACE, "1208", CHILD, "2a06", b"chat m".hex(), "3003",  # the span: ids, name, kind
    "390100000000000000", "410200000000000000",  # beginning and end, 8 bytes each
    "4a07", "0a01", b"a".hex(), "12021801",  # an attribute, a whole number
    "7a021800", "850101000000",  # status 0, flags
))  # fmt: skip


def test_protobuf_byte_for_byte() -> None:
    assert body(traces(SMALL), TRACES, PROTOBUF).hex() == GOLDEN


@pytest.mark.parametrize(
    "number, data",
    [(0, "00"), (1, "01"), (127, "7f"), (128, "8001"), (300, "ac02"), (-1, "ff" * 9 + "01"), (2**63, "80" * 9 + "01")],
)
def test_numbers_of_any_length(number: int, data: str) -> None:
    assert protobuf.varint(number).hex() == data
    assert protobuf.read_varint(bytes.fromhex(data), 0) == (number % 2**64, len(data) // 2)


def test_long_texts_are_cut_and_messages_are_not() -> None:
    assert len(otlp.clean("x" * 20_000)) == otlp.MAX_TEXT
    assert len(otlp.clean(Long("x" * 20_000))) == 20_000 and type(otlp.clean(Long("x"))) is str


@pytest.mark.parametrize(
    "data, is_json, told",
    [
        (b'{"partialSuccess": {"rejectedSpans": "2", "errorMessage": "why"}}', True, (2, "why")),
        (b'{"partialSuccess": {"rejectedDataPoints": 3}}', True, (3, "")),
        (b'{"partialSuccess": {}}', True, (0, "")),
        (b"{}", True, (0, "")), (b"", True, (0, "")), (b"[]", True, (0, "")), (b"<html>", True, (0, "")),
        (bytes.fromhex("0a0708021203776879"), False, (2, "why")),
        (b"", False, (0, "")), (bytes.fromhex("0a00"), False, (0, "")), (b"<html>", False, (0, "")),
        (bytes.fromhex("0a7f08"), False, (0, "")),
    ],
)  # fmt: skip
def test_an_answer_says_what_it_did_not_take_or_nothing(data: bytes, is_json: bool, told: tuple[int, str]) -> None:
    assert otlp.rejection_in(data, is_json) == told


def measured() -> dict[str, Any]:
    made = Instruments(1_000)
    for value in (0.005, 0.3, 0.3, 100.0, -1.0, float("nan")):
        made.record(DURATION, value, (("gen_ai.request.model", "m"),))
    made.record(COST, 0.5, ())
    made.record(COST, 0.25, ())
    return otlp.metrics(made.collect(2_000), {"service.name": "llm-router"}, SCOPE)


def test_histograms_and_sums_are_cumulative() -> None:
    found = json.loads(body(measured(), METRICS, JSON))["resourceMetrics"][0]["scopeMetrics"][0]["metrics"]
    duration, cost = found
    (point,) = duration["histogram"]["dataPoints"]
    assert (duration["unit"], duration["histogram"]["aggregationTemporality"]) == ("s", 2)
    assert (point["count"], point["sum"], point["min"], point["max"]) == ("4", 100.605, 0.005, 100.0)
    assert len(point["bucketCounts"]) == len(point["explicitBounds"]) + 1 == 15
    assert (point["bucketCounts"][0], point["bucketCounts"][5], point["bucketCounts"][14]) == ("1", "2", "1")
    assert (cost["sum"]["isMonotonic"], cost["sum"]["dataPoints"][0]["asDouble"]) == (True, 0.75)


def test_the_number_of_series_is_bounded() -> None:
    made = Instruments(0)
    for number in range(MAX_SERIES + 5):
        made.record(COST, 1.0, (("gen_ai.request.model", f"m{number}"),))
    points = made.collect(1)[0]["sum"]["dataPoints"]
    assert len(points) == MAX_SERIES + 1
    assert (points[-1]["asDouble"], points[-1]["attributes"][0]["key"]) == (5.0, OVERFLOW[0][0])


@pytest.mark.slow
def test_googles_parser_reads_both_encodings_as_the_same() -> None:
    """With the package opentelemetry-proto: its messages from our protobuf, and from our JSON, are equal."""
    service = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="opentelemetry-proto")
    metrics = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
    from google.protobuf import json_format  # comes with it

    def as_google_has_it(value: Any) -> Any:
        """Protobuf's own JSON has bytes in base64, OTLP's in hex."""
        if isinstance(value, list):
            return [as_google_has_it(each) for each in value]
        if not isinstance(value, dict):
            return value
        return {name: b64encode(bytes.fromhex(each)).decode() if name in IDS else as_google_has_it(each)
                for name, each in value.items()}  # fmt: skip

    for request, signal, kind in ((traces(FULL, SMALL), TRACES, service.ExportTraceServiceRequest),
                                  (measured(), METRICS, metrics.ExportMetricsServiceRequest)):  # fmt: skip
        read = kind.FromString(body(request, signal, PROTOBUF))
        text = json.loads(body(request, signal, JSON))
        assert json_format.ParseDict(as_google_has_it(text), kind()) == read
        assert json_format.MessageToDict(read)
