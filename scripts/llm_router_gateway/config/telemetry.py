"""[telemetry] and OpenTelemetry's environment variables -> one immutable Telemetry, or None where nothing is to be sent.

    read_telemetry({"endpoint": "http://127.0.0.1:4318"}, {}, reading)             -> Telemetry(traces_url=".../v1/traces", ...)
    read_telemetry({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, reading)
    pairs("api-key=a%20b,x=y")                                                     -> {"api-key": "a b", "x": "y"}

An address turns it on. The variables win over the file; what is meant for other programs of the machine and cannot be done here
(grpc) is a note and turns telemetry off, and never prevents a start.
https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/, .../otel/protocol/exporter/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from .kinds import Secret
from .reader import Reading, read_settings
from .settings import TELEMETRY, Setting

TRACES_PATH, METRICS_PATH = "/v1/traces", "/v1/metrics"
CONTENT_WORDS = {"span_only": True, "span_and_event": True, "no_content": False, "event_only": False}
SESSION_HEADERS = ("x-session-id", "session-id", "session_id", "x-claude-code-session-id")
TIMES = ("timeout", "delay", "export_timeout", "metric_interval")
GRPC = "is grpc, which is not supported: set http/protobuf and the collector's HTTP port (4318); nothing is sent"


@dataclass(frozen=True, slots=True)
class Telemetry:
    """All that an exporter has to know; a url is "" where its signal is not sent."""

    traces_url: str = ""
    metrics_url: str = ""
    protocol: str = "http/protobuf"
    compression: str = "none"
    headers: Mapping[str, Secret] = field(default_factory=dict)  # for both
    traces_headers: Mapping[str, Secret] = field(default_factory=dict)
    metrics_headers: Mapping[str, Secret] = field(default_factory=dict)
    timeout_s: float = 10.0
    proxy: str = ""
    service_name: str = "llm-router"
    resource: Mapping[str, str | bool | int | float] = field(default_factory=dict)
    sampler: str = "parentbased_always_on"
    sampler_ratio: float = 1.0
    content: bool = False
    max_content_bytes: int = 65_536
    session_headers: tuple[str, ...] = SESSION_HEADERS
    queue_size: int = 2_048
    batch_size: int = 512
    delay_s: float = 5.0
    export_timeout_s: float = 30.0
    metric_interval_s: float = 60.0

    @property
    def traces(self) -> bool:
        return bool(self.traces_url)


def pairs(text: str) -> dict[str, str]:
    """A comma list of name=value, percent-decoded; ValueError for what is none."""
    found: dict[str, str] = {}
    for part in filter(str.strip, text.split(",")):
        name, sign, value = part.partition("=")
        if not sign or not name.strip():
            raise ValueError("is not a list of name=value with commas between them")
        found[unquote(name.strip())] = unquote(value.strip())
    return found


def from_variable(setting: Setting, text: str) -> object:
    """The text of a variable, as the value a file would hold."""
    word = text.strip().lower()
    if setting.name == "enabled":
        return word != "true"  # OTEL_SDK_DISABLED; any other word than true is false
    if setting.name in ("traces", "metrics"):
        return "otlp" in [each.strip() for each in word.split(",")]  # "none", or a kind that is not spoken here
    if setting.name == "content":
        return CONTENT_WORDS.get(word, setting.from_text(text))
    if setting.name in ("headers", "resource"):
        try:
            return pairs(text)
        except ValueError:
            return text
    return setting.from_text(text.strip())


def is_grpc(env: Mapping[str, str], table: Mapping[str, Any]) -> bool:
    said = env.get("OTEL_EXPORTER_OTLP_PROTOCOL", "").strip() or table.get("protocol", "")
    return said == "grpc"


def read_values(table: Mapping[str, Any], env: Mapping[str, str], reading: Reading) -> dict[str, Any]:
    """Every setting, from its first variable where that is set, else from the file, else its default."""
    values = read_settings(table, TELEMETRY, "telemetry", reading)
    for setting in TELEMETRY:
        name = setting.env[0] if setting.env else ""
        if env.get(name, "").strip():
            values[setting.name] = of_variable(setting, name, env[name], values[setting.name], reading)
    return values


def of_variable(setting: Setting, name: str, text: str, default: Any, reading: Reading) -> Any:
    """The checked value; the default, and a note, if it is invalid: it may be meant for other programs."""
    try:
        return setting.read(from_variable(setting, text))
    except ValueError as wrong:
        reading.notes.append(f"{name} {wrong}; it is not used")
        return default


def secret_headers(given: Mapping[str, str]) -> dict[str, Secret]:
    return {name.lower(): Secret(text) for name, text in given.items()}


def read_telemetry(table: Mapping[str, Any], env: Mapping[str, str], reading: Reading) -> Telemetry | None:
    """None where no address is set, or it is switched off."""
    if is_grpc(env, table):
        if any(env.get(name) for setting in TELEMETRY[:3] for name in setting.env) or table.get("endpoint"):
            reading.notes.append(f"telemetry.protocol (OTEL_EXPORTER_OTLP_PROTOCOL) {GRPC}")
        return None
    values = read_values(table, env, reading)
    endpoint: str = values.pop("endpoint")
    urls = {signal: values.pop(f"{signal}_endpoint") or (endpoint + path if endpoint else "")
            for signal, path in (("traces", TRACES_PATH), ("metrics", METRICS_PATH))}  # fmt: skip
    wanted = {signal: url if values.pop(signal) else "" for signal, url in urls.items()}
    if not values.pop("enabled") or not any(wanted.values()):
        return None
    setting = next(each for each in TELEMETRY if each.name == "headers")
    own: dict[str, Any] = {}
    for signal in ("traces", "metrics"):
        name = f"OTEL_EXPORTER_OTLP_{signal.upper()}_HEADERS"
        given = of_variable(setting, name, env[name], {}, reading) if env.get(name, "").strip() else {}
        own[f"{signal}_headers"] = secret_headers(given)
    headers = secret_headers(values.pop("headers"))
    resource = {name: item for name, item in values.pop("resource").items() if isinstance(item, (str, bool, int, float))}
    values["session_headers"] = tuple(name.lower() for name in values["session_headers"]) or SESSION_HEADERS
    times = {f"{name}_s": values.pop(f"{name}_ms") / 1_000 for name in TIMES}
    return Telemetry(traces_url=wanted["traces"], metrics_url=wanted["metrics"], headers=headers, resource=resource, **own,
                     **times, **values)  # fmt: skip
