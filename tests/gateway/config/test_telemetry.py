"""[telemetry] and the OTEL_* variables: what turns it on, what wins, what is wrong with which words."""

from __future__ import annotations

import pytest
from configs import parse, problems

from llm_router_gateway.config.describe import config_text
from llm_router_gateway.config.kinds import Secret
from llm_router_gateway.config.telemetry import pairs

COLLECTOR = "http://127.0.0.1:4318"
SECRET = "shh" * 5  # pragma: allowlist secret
KEYED = {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_EXPORTER_OTLP_HEADERS": f"api-key={SECRET},x=a%2Cb"}


def test_without_an_address_there_is_none() -> None:
    assert parse().telemetry is None
    assert parse("[telemetry]\nservice_name = 'x'").telemetry is None
    assert parse(OTEL_SERVICE_NAME="x", OTEL_TRACES_EXPORTER="otlp").telemetry is None


@pytest.mark.parametrize(
    "text, env, traces, metrics",
    [
        (f"[telemetry]\nendpoint = '{COLLECTOR}/'", {}, f"{COLLECTOR}/v1/traces", f"{COLLECTOR}/v1/metrics"),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, f"{COLLECTOR}/v1/traces", f"{COLLECTOR}/v1/metrics"),
        (
            "[telemetry]\nendpoint = 'http://file'",
            {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR},
            f"{COLLECTOR}/v1/traces",
            f"{COLLECTOR}/v1/metrics",
        ),
        ("", {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x/api/traces"}, "http://x/api/traces", ""),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_METRICS_EXPORTER": "none"}, f"{COLLECTOR}/v1/traces", ""),
        ("", {"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, "OTEL_TRACES_EXPORTER": "console"}, "", f"{COLLECTOR}/v1/metrics"),
        (f"[telemetry]\nendpoint = '{COLLECTOR}'\nmetrics = false", {}, f"{COLLECTOR}/v1/traces", ""),
    ],
)
def test_addresses(text: str, env: dict[str, str], traces: str, metrics: str) -> None:
    found = parse(text, **env).telemetry
    assert found is not None and (found.traces_url, found.metrics_url) == (traces, metrics)


@pytest.mark.parametrize(
    "text, env",
    [
        ("", {"OTEL_SDK_DISABLED": "true"}),
        ("[telemetry]\nenabled = false", {}),
        ("", {"OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"}),
    ],
)
def test_it_can_be_switched_off(text: str, env: dict[str, str]) -> None:
    assert parse(text, **{"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR, **env}).telemetry is None


def test_every_variable_has_its_place() -> None:
    found = parse(
        "[telemetry]\nservice_name = 'of the file'\nqueue_size = 9\nsession_headers = ['X-Mine']",
        **KEYED,
        OTEL_EXPORTER_OTLP_PROTOCOL="http/json", OTEL_EXPORTER_OTLP_TIMEOUT="1500", OTEL_SERVICE_NAME="mine",
        OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=prod,team=a%20b", OTEL_TRACES_SAMPLER="traceidratio",
        OTEL_TRACES_SAMPLER_ARG="0.25", OTEL_BSP_SCHEDULE_DELAY="200", OTEL_BSP_MAX_EXPORT_BATCH_SIZE="7",
        OTEL_METRIC_EXPORT_INTERVAL="2000", OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
        OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="SPAN_ONLY",
        OTEL_EXPORTER_OTLP_TRACES_HEADERS="x-project-name=a",
    ).telemetry  # fmt: skip
    assert found is not None
    assert (found.protocol, found.timeout_s, found.service_name, found.compression) == ("http/json", 1.5, "mine", "gzip")
    assert found.resource == {"deployment.environment.name": "prod", "team": "a b"}
    assert (found.sampler, found.sampler_ratio, found.content) == ("traceidratio", 0.25, True)
    assert (found.queue_size, found.batch_size, found.delay_s, found.metric_interval_s) == (9, 7, 0.2, 2.0)
    assert found.headers == {"api-key": Secret(SECRET), "x": Secret("a,b")}
    assert (found.traces_headers, found.metrics_headers) == ({"x-project-name": Secret("a")}, {})
    assert found.session_headers == ("x-mine",)


@pytest.mark.parametrize(
    "word, wanted", [("NO_CONTENT", False), ("span_and_event", True), ("EVENT_ONLY", False), ("true", True)]
)
def test_content_is_off_by_default(word: str, wanted: bool) -> None:
    name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    found = parse(OTEL_EXPORTER_OTLP_ENDPOINT=COLLECTOR, **{name: word}).telemetry
    assert found is not None and found.content is wanted
    plain = parse(OTEL_EXPORTER_OTLP_ENDPOINT=COLLECTOR).telemetry
    assert plain is not None and not plain.content


def test_variables_for_other_programs_never_prevent_a_start() -> None:
    config = parse(**KEYED, OTEL_EXPORTER_OTLP_PROTOCOL="grpc")
    assert config.telemetry is None and "4318" in str(config.notes)
    config = parse(**KEYED, OTEL_BSP_MAX_QUEUE_SIZE="many", OTEL_TRACES_SAMPLER="xray", OTEL_RESOURCE_ATTRIBUTES="a")
    assert config.telemetry is not None and config.telemetry.queue_size == 2_048
    for name in ("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_TRACES_SAMPLER", "OTEL_RESOURCE_ATTRIBUTES"):
        assert any(note.startswith(name) for note in config.notes), config.notes
    assert not parse(OTEL_EXPORTER_OTLP_PROTOCOL="grpc").notes


def test_the_file_is_checked_like_any_other_table() -> None:
    found = problems("[telemetry]\nendpoint = 'x'\nprotocol = 'grcp'\nqueue_size = 0\nenpoint = 'y'")
    assert {path: text.partition(";")[0] for path, text in found.items()} == {
        "telemetry.endpoint": '"x" is not an http or https address without user, query and fragment',
        "telemetry.protocol": '"grcp" is not one of http/protobuf, http/json',
        "telemetry.queue_size": "0 is below 1", "telemetry.enpoint": "unknown key",
    }  # fmt: skip


def test_print_config_shows_all_but_the_secrets() -> None:
    text = config_text(parse("[telemetry]\nproxy = 'http://u:pass@p:1'", **KEYED))
    assert SECRET not in text and "u:pass" not in text
    for line in (
        f'traces_endpoint = "{COLLECTOR}/v1/traces"',
        "timeout_ms = 10000",
        'headers = {"api-key" = "***", "x" = "***"}',
    ):
        assert line in text


@pytest.mark.parametrize("text", ["a", "=b", "a=b,c"])
def test_what_is_no_list_of_pairs(text: str) -> None:
    with pytest.raises(ValueError, match="name=value"):
        pairs(text)
