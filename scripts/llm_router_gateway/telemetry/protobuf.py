"""The little of protobuf that OTLP needs, written from the same objects as its JSON. Pure.

    encode({"name": "chat", "kind": 3}, "Span")  -> b"*\\x04chat0\\x03"
    fields(b"\\x08\\x05")                         -> [(1, 5)]

A message is a dict in the JSON form of OTLP: ids in hex, 64-bit integers as text, enums as numbers. SCHEMA says which number
and which type each name has; a name that is not in it is a mistake in this package and raises KeyError.
https://protobuf.dev/programming-guides/encoding/, https://github.com/open-telemetry/opentelemetry-proto (1.x)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

VARINT, FIXED64, BYTES = 0, 1, 2  # wire types
MASK_64 = 0xFFFF_FFFF_FFFF_FFFF

# Types: text, hex (bytes), int (varint), bool, fixed64, sfixed64, double, fixed32; or the name of a message
SCHEMA: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "ExportTraceServiceRequest": {"resourceSpans": (1, "ResourceSpans")},
    "ResourceSpans": {"resource": (1, "Resource"), "scopeSpans": (2, "ScopeSpans"), "schemaUrl": (3, "text")},
    "ScopeSpans": {"scope": (1, "Scope"), "spans": (2, "Span"), "schemaUrl": (3, "text")},
    "ExportMetricsServiceRequest": {"resourceMetrics": (1, "ResourceMetrics")},
    "ResourceMetrics": {"resource": (1, "Resource"), "scopeMetrics": (2, "ScopeMetrics"), "schemaUrl": (3, "text")},
    "ScopeMetrics": {"scope": (1, "Scope"), "metrics": (2, "Metric"), "schemaUrl": (3, "text")},
    "Resource": {"attributes": (1, "KeyValue")},
    "Scope": {"name": (1, "text"), "version": (2, "text")},
    "KeyValue": {"key": (1, "text"), "value": (2, "AnyValue")},
    "AnyValue": {"stringValue": (1, "text"), "boolValue": (2, "bool"), "intValue": (3, "int"), "doubleValue": (4, "double"),
                 "arrayValue": (5, "ArrayValue")},
    "ArrayValue": {"values": (1, "AnyValue")},
    "Span": {"traceId": (1, "hex"), "spanId": (2, "hex"), "traceState": (3, "text"), "parentSpanId": (4, "hex"),
             "name": (5, "text"), "kind": (6, "int"), "startTimeUnixNano": (7, "fixed64"), "endTimeUnixNano": (8, "fixed64"),
             "attributes": (9, "KeyValue"), "status": (15, "Status"), "flags": (16, "fixed32")},
    "Status": {"message": (2, "text"), "code": (3, "int")},
    "Metric": {"name": (1, "text"), "description": (2, "text"), "unit": (3, "text"), "sum": (7, "Sum"),
               "histogram": (9, "Histogram")},
    "Sum": {"dataPoints": (1, "NumberDataPoint"), "aggregationTemporality": (2, "int"), "isMonotonic": (3, "bool")},
    "Histogram": {"dataPoints": (1, "HistogramDataPoint"), "aggregationTemporality": (2, "int")},
    "NumberDataPoint": {"startTimeUnixNano": (2, "fixed64"), "timeUnixNano": (3, "fixed64"), "asDouble": (4, "double"),
                        "asInt": (6, "sfixed64"), "attributes": (7, "KeyValue")},
    "HistogramDataPoint": {"startTimeUnixNano": (2, "fixed64"), "timeUnixNano": (3, "fixed64"), "count": (4, "fixed64"),
                           "sum": (5, "double"), "bucketCounts": (6, "fixed64"), "explicitBounds": (7, "double"),
                           "attributes": (9, "KeyValue"), "min": (11, "double"), "max": (12, "double")},
}  # fmt: skip
PACKED = frozenset({"fixed64", "double"})  # lists of these are one field (proto3)


def varint(number: int) -> bytes:
    """varint(300) -> b"\\xac\\x02"; of a negative one its two's complement in 64 bits."""
    number &= MASK_64
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def scalar(value: Any, kind: str) -> tuple[int, bytes]:
    """The wire type and the bytes of a value."""
    if kind == "text":
        data = value.encode("utf-8", "replace")
        return BYTES, varint(len(data)) + data
    if kind in ("int", "bool"):
        return VARINT, varint(int(value))
    if kind == "double":
        return FIXED64, struct.pack("<d", value)
    if kind in ("fixed64", "sfixed64"):
        return FIXED64, (int(value) & MASK_64).to_bytes(8, "little")
    if kind == "fixed32":
        return 5, int(value).to_bytes(4, "little")
    data = bytes.fromhex(value) if kind == "hex" else encode(value, kind)
    return BYTES, varint(len(data)) + data


def encode(message: Mapping[str, Any], kind: str) -> bytes:
    """The bytes of a message, its fields in the order of the dict."""
    schema, out = SCHEMA[kind], []
    for name, value in message.items():
        number, of = schema[name]
        if isinstance(value, Sequence) and not isinstance(value, str):
            if of in PACKED:
                data = b"".join(scalar(each, of)[1] for each in value)
                out.append(varint(number << 3 | BYTES) + varint(len(data)) + data)
                continue
            values: Sequence[Any] = value
        else:
            values = (value,)
        for each in values:
            wire_type, data = scalar(each, of)
            out.append(varint(number << 3 | wire_type) + data)
    return b"".join(out)


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message, by their numbers: integers, and bytes of what has a length. ValueError for what is none."""
    at = 0
    while at < len(data):
        key, at = read_varint(data, at)
        wire_type = key & 7
        if wire_type == VARINT:
            value: int | bytes
            value, at = read_varint(data, at)
        elif wire_type in (FIXED64, 5):
            size = 8 if wire_type == FIXED64 else 4
            value, at = int.from_bytes(data[at : at + size], "little"), at + size
        elif wire_type == BYTES:
            size, at = read_varint(data, at)
            value, at = data[at : at + size], at + size
        else:
            raise ValueError(f"wire type {wire_type}")
        if at > len(data):
            raise ValueError("a field is cut off")
        yield key >> 3, value


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(the number, where it ends)."""
    number = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut off")
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return number & MASK_64, at
