"""The table of settings: every key of router.toml, its syntax, its valid values, its meaning.

    SERVER[1]  -> Setting("port", "whole", 8000, "port to listen on; ...", ("LLM_ROUTER_PORT",), "-p/--port", 0, 65535)
    SERVER[1].read(8000) -> 8000        SERVER[1].read("x") -> ValueError("is not a whole number")

`config` parses with it, the command line takes its flags from it, and references/gateway-configuration.md is generated from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..wire.registry import SPECS, UPSTREAMS
from .kinds import KINDS

LOG_LEVELS = ("trace", "debug", "info", "warn", "error")
TRUE, FALSE = frozenset({"true", "1", "yes", "on"}), frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: its name, kind, default, help text and limits."""

    name: str
    kind: str
    default: Any
    help: str
    env: tuple[str, ...] = ()
    flag: str = ""  # as in --help: "-p/--port"
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def read(self, value: object) -> Any:
        """The value, checked; ValueError with a text that follows the setting's name."""
        result = KINDS[self.kind][0](value)
        if self.choices and result not in self.choices:
            raise ValueError(f"is not one of {', '.join(self.choices)}")
        if isinstance(result, (int, float)) and not isinstance(result, bool):
            if self.low is not None and result < self.low:
                raise ValueError(f"is below {self.low:g}")
            if self.high is not None and result > self.high:
                raise ValueError(f"is above {self.high:g}")
        return result

    def from_text(self, text: str) -> object:
        """The text of an environment variable or a flag, as the value that a file would hold."""
        try:
            if self.kind == "whole":
                return int(text)
            if self.kind == "number":
                return float(text)
        except ValueError:
            return text
        if self.kind == "bool":
            return True if text.lower() in TRUE else False if text.lower() in FALSE else text
        return [part.strip() for part in text.split(",") if part.strip()] if self.kind == "texts" else text


PORT_HIGH, LONG_S, YEAR_S = 65_535, 86_400, 31_536_000
MAX_WORKERS = 64
STRATEGIES = ("roundrobin", "random", "leastconn", "latency", "cost", "priority")

SERVER: tuple[Setting, ...] = (
    Setting("host", "text", "127.0.0.1", "address to listen on; one that others can reach needs a token",
            ("LLM_ROUTER_HOST",), "-i/--ip"),
    Setting("port", "whole", 8000, "port to listen on; 0 takes a free one",
            ("LLM_ROUTER_PORT",), "-p/--port", 0, PORT_HIGH),
    Setting("workers", "whole", 1, "processes that answer model calls, on one machine; at most one for each core",
            ("LLM_ROUTER_WORKERS",), "-w/--workers", 1, MAX_WORKERS),
    Setting("reuse_port", "bool", False, "several workers: a listening socket for each (SO_REUSEPORT), over which the "
            "system spreads connections, instead of one that they share"),
    Setting("token", "secret", (), "token that callers must send; better in the environment or a file",
            ("LLM_ROUTER_TOKEN", "LLM_ROUTER_API_KEYS"), "-t/--token"),
    Setting("token_env", "variable", "", "name of the environment variable that holds the token"),
    Setting("token_file", "secret path", "", "file that holds the token, one a line",
            ("LLM_ROUTER_TOKEN_FILE",), "--token-file"),
    Setting("log_level", "text", "info", "least severe level that is logged; info has one line per request",
            ("LLM_ROUTER_LOG_LEVEL",), "-l/--log-level", choices=LOG_LEVELS),
    Setting("log_file", "text", "", "also write the log here; rotated at 10 MB, one old file kept",
            ("LLM_ROUTER_LOG_FILE",), "--log-file"),
    Setting("proxy", "proxy", "", "http, https or socks5 proxy for every provider that names none; not for loopback",
            ("LLM_ROUTER_PROXY",), "--proxy"),
    Setting("allowed_hosts", "texts", (), "further names accepted in the Host header on loopback"),
    Setting("cors_origins", "texts", (), 'web pages that may call it: "https://app.example", or "*"'),
    Setting("max_body_bytes", "whole", 33_554_432, "bytes of the longest request body; 413 above it", low=1_024),
    Setting("max_bytes_in_flight", "size", 268_435_456, "bytes of all request bodies in memory; 503 above it", low=1_024),
    Setting("max_connections_per_address", "whole", 0, "connections from one address; 0 = no limit but max_connections",
            low=0),
    Setting("max_connections", "whole", 4_096, "connections from all callers", low=1),
    Setting("connect_timeout_s", "number", 10.0, "connecting to a provider: name, TCP, proxy and TLS", low=0.01, high=LONG_S),
    Setting("timeout_s", "number", 600.0, "longest silence of an upstream, before its answer and within it",
            ("LLM_ROUTER_DEFAULT_TIMEOUT",), low=0.01, high=LONG_S),
    Setting("first_output_timeout_s", "number", 600.0, "streams: until the first output; keep-alives do not count",
            low=0.01, high=LONG_S),
    Setting("output_gap_timeout_s", "number", 300.0, "streams: between two outputs; keep-alives do not count",
            low=0.01, high=LONG_S),
    Setting("keepalive_s", "number", 10.0, "streams: silence after which the caller gets a keep-alive",
            low=0.01, high=LONG_S),
    Setting("drain_s", "number", 30.0, "time that open requests get to finish after SIGTERM or Ctrl-C", low=0, high=LONG_S),
    Setting("retry_alone_s", "number", 0.3, "pause before the only available model is tried once more after 502, 503 or 529; "
            "0 = no second try", low=0, high=60),
    Setting("key_limits", "table", {}, "what each caller's key may use, see `[models.limits]`"),
    Setting("admin_token", "secret", (), "token of administrators; better in the environment or a file",
            ("LLM_ROUTER_ADMIN_TOKEN", "LLM_ROUTER_ADMIN_KEY")),
    Setting("admin_token_env", "variable", "", "name of the environment variable that holds it"),
    Setting("admin_token_file", "secret path", "", "file that holds it, one a line"),
    Setting("loopback_without_key", "bool", False, "callers on this machine need no key and may administer; never those "
            "that come through a proxy"),
    Setting("trusted_proxies", "texts", (), 'networks whose X-Forwarded-For is trusted: "10.0.0.0/8"'),
    Setting("store", "text", "", 'where calls and keys are kept: a path beside this file (its own name with .db if not '
            'given); "memory" = until the gateway stops; "off"; postgresql://USER:PASSWORD@HOST/NAME for several gateways',
            ("LLM_ROUTER_STORE",)),
    Setting("spill_file", "text", "", 'where calls wait while PostgreSQL is away: a path beside this file (its own name with '
            '.spill.db when not given); "off" = only in memory', ("LLM_ROUTER_SPILL_FILE",)),
    Setting("keys_valid_offline_s", "number", 3_600, "how long known keys of the store keep working while PostgreSQL is away; "
            "new ones get 503", low=0, high=31_536_000),
    Setting("keep_days", "number", 90, "how long calls are kept", low=0.01, high=36_500),
    Setting("max_store_bytes", "size", 1_073_741_824, "size above which the oldest calls are removed",
            low=1_048_576),
    Setting("log_bodies", "bool", False, "store requests and answers, too, without keys and images"),
    Setting("log_body_bytes", "size", 65_536, "bytes kept of each body; the rest is cut off", low=256),
    Setting("keep_bodies_days", "number", 7, "how long bodies are kept", low=0.01, high=36_500),
    Setting("keep_conversations_hours", "number", 24, "how long answers are kept for previous_response_id; "
            "0 = not at all", low=0, high=876_000),
    Setting("max_conversations_bytes", "size", 268_435_456, "their part of the store; then the oldest are removed", low=65_536),
    Setting("answer_with_alias", "bool", False, "true: answers name the model as their caller did, not as the provider does"),
    Setting("cache_ttl_s", "number", 0, "how long a key's same request gets the cached answer; 0 = never", low=0, high=YEAR_S),
    Setting("max_cache_bytes", "size", 67_108_864, "memory for these answers, all workers together", low=65_536),
    Setting("keep_files_days", "number", 400, "how long the owner of a file or batch is remembered", low=0.01, high=36_500),
    Setting("files_provider", "text", "", "provider for files and batches when the caller names none"),
    Setting("log_format", "text", "text", "format of the log: plain lines, or one JSON object per line",
            ("LLM_ROUTER_LOG_FORMAT",), choices=("text", "json")),
    Setting("labels_header", "text", "x-llm-router-labels", "header whose comma list becomes a call's tags in statistics"),
)  # fmt: skip

OVERRIDES: tuple[Setting, ...] = (  # of a provider and of a model; the model's take precedence
    Setting("default_params", "params", {}, "fields added to a request that lacks them, as its provider spells them"),
    Setting("drop_params", "texts", (), 'fields removed from a request: "top_k", "generationConfig.topK"'),
    Setting("rewrite_body", "patch", {}, "JSON merge patch (RFC 7396) on the outgoing request; null deletes"),
    Setting("rewrite_header", "header patch", {}, "headers that replace those of the same name; null removes"),
)

PROVIDER: tuple[Setting, ...] = (
    Setting("name", "text", None, "the part of a model's name before the slash"),
    Setting("type", "text", "", "one of the presets; default: the name, if it is one of them"),
    Setting("api", "text", "", "protocol it speaks, if not that of its type", choices=tuple(UPSTREAMS)),
    Setting("base_url", "url", "", "address to which paths are appended; a segment that both have is not repeated"),
    Setting("api_key", "secret", (), "the key, or a comma list of them; better api_key_env or api_key_file"),
    Setting("api_key_env", "variable", "", "name of the environment variable that holds the key"),
    Setting("api_key_file", "secret path", "", "file that holds the key; beside this one unless absolute"),
    Setting(
        "api_key_command",
        "command",
        (),
        "program that prints the key, alone or as a JSON object with its expiry, and its arguments; run without a shell",
    ),
    Setting(
        "api_key_command_ttl_s",
        "number",
        300,
        "how long such a key is used if the program prints no expiry",
        low=1,
        high=31_536_000,
    ),
    Setting("api_key_command_timeout_s", "number", 30, "limit for one run of the program", low=0.1, high=600),
    Setting("resource", "label", "", "name of the resource, for types whose address has one"),
    Setting("region", "label", "", "region, for types whose address has one"),
    Setting("project", "label", "", "id or number of the project, for types whose address has one"),
    Setting("is_active", "bool", True, "false: ignored, as if it were not listed"),
    Setting("any_model", "bool", None, "accept names that no [[models]] entry lists; default: true if it has no entries"),
    Setting(
        "rename",
        "names",
        {},
        "name that callers use = name at the provider; * stands for any text, and such names go to this provider",
    ),
    *OVERRIDES,
    Setting("limits", "table", {}, "for all its models together, see `[models.limits]`"),
    Setting("settings", "table", {}, "see the next table"),
)

PROVIDER_SETTINGS: tuple[Setting, ...] = (
    Setting("endpoint", "text", "", "path of the chat call below base_url"),
    Setting(
        "also",
        "texts",
        None,
        "further protocols that base_url serves; requests in them are relayed unchanged: "
        f"{', '.join(UPSTREAMS)}. Default: those known of the type at its own address",
    ),
    Setting("endpoint_template", "text", "", "Gemini: the same with {model}, as /models/{model}:generateContent"),
    Setting("headers", "headers", {}, "sent with each request, in place of the caller's of the same name"),
    Setting("auth_header", "text", "", "header that carries the key"),
    Setting("auth_scheme", "text", None, 'scheme before the key; "" for none'),
    *(
        Setting(version.setting, "text", version.default, f"sent to {SPECS[name].title} if the caller sent none")
        for name, upstream in UPSTREAMS.items()
        if (version := upstream.version)
    ),
    Setting("proxy", "proxy", None, 'proxy for this provider; "" for none'),
    Setting("connect_timeout_s", "number", None, "as [server]", low=0.01, high=LONG_S),
    Setting("timeout", "number", None, "as [server] timeout_s", low=0.01, high=LONG_S),
    Setting("first_output_timeout_s", "number", None, "as [server]", low=0.01, high=LONG_S),
    Setting("output_gap_timeout_s", "number", None, "as [server]", low=0.01, high=LONG_S),
    Setting("quirks", "table", {}, "peculiarities of this server, see below; added to those of its type"),
)

MODEL: tuple[Setting, ...] = (
    Setting("name", "text", None, "name that callers use, alone or after PROVIDER/"),
    Setting("provider", "text", "", "name of its provider; not needed in [[PROVIDER.models]]"),
    Setting("remote_identifier", "text", "", "its name at the provider, if different"),
    Setting("display_name", "text", "", "shown in model lists"),
    Setting("description", "text", "", "shown in model lists"),
    Setting("is_active", "bool", True, "false: ignored, as if it were not listed"),
    Setting("tags", "texts", (), "its capabilities: callers can request tag:coding,cheap|fast,-slow"),
    *OVERRIDES,
    Setting("config", "table", {}, "see the next table; keys not listed there are only shown"),
    Setting("limits", "table", {}, "see `[models.limits]`"),
    Setting("rate_limit", "table", {}, "older name of limits"),
    Setting("download_uri", "text", "", "accepted from older files, not used"),
    Setting("local_path", "text", "", "accepted from older files, not used"),
)

MODEL_CONFIG: tuple[Setting, ...] = (
    Setting("model", "text", "", "the same as remote_identifier, which takes precedence"),
    Setting(
        "endpoint", "text", "", f"path of the chat call for this model, or the protocol that it speaks: {', '.join(UPSTREAMS)}"
    ),
    Setting("context_window", "size", None, "tokens, shown in model lists", low=1),
    Setting("max_output_tokens", "size", None, "tokens, shown; sent where the protocol needs a limit", low=1),
    Setting("modalities", "texts", (), 'what it reads: "text", "image", "audio", "video", "file"'),
    Setting("supports_vision", "bool", None, 'as "image" in modalities'),
    Setting("supports_tools", "bool", None, "shown in model lists"),
    Setting("input_usd_per_mtok", "number", None, "price of a million input tokens", low=0),
    Setting("output_usd_per_mtok", "number", None, "price of a million output tokens", low=0),
    Setting("cached_input_usd_per_mtok", "number", None, "price of a million input tokens read from a cache", low=0),
    Setting(
        "cache_write_usd_per_mtok",
        "number",
        None,
        "price of a million tokens written to a cache for 5 minutes; else 1.25 x input",
        low=0,
    ),
    Setting("cache_write_1h_usd_per_mtok", "number", None, "the same for an hour; else 2 x input", low=0),
    Setting("long_context", "tables", (), "prices of requests with a long input, see the next table"),
    Setting("cost_per_1k_tokens", "number", None, "older form: price of a thousand input tokens", low=0),
    Setting("cost_per_1k_completion_tokens", "number", None, "older form: price of a thousand output tokens", low=0),
    Setting("cache_ttl_s", "number", None, "as [server]; 0 = its answers are never cached", low=0, high=YEAR_S),
    Setting("priority", "number", 0, "among models that a tag query finds, higher comes first"),
)

LONG_CONTEXT: tuple[Setting, ...] = (
    Setting(
        "above",
        "size",
        None,
        "requests with more input tokens than this, cached ones included, have the prices of this table",
        low=1,
    ),
    Setting("input_usd_per_mtok", "number", None, "as in `[models.config]`, but required", low=0),
    Setting("output_usd_per_mtok", "number", None, "the same", low=0),
    Setting("cached_input_usd_per_mtok", "number", None, "as in `[models.config]`; else that of input here", low=0),
    Setting("cache_write_usd_per_mtok", "number", None, "else 1.25 x input here", low=0),
    Setting("cache_write_1h_usd_per_mtok", "number", None, "else 2 x input here", low=0),
)

LIMITS: tuple[Setting, ...] = (
    Setting("max_requests", "whole", None, "requests in one window", low=1),
    Setting("per_seconds", "number", None, "length of the window in seconds", low=0.001),
    Setting("burst_size", "whole", None, "most at once; default: max_requests", low=1),
    Setting("tokens_per_minute", "size", None, "input and output together", low=1),
    Setting("wait_s", "number", 0.0, "how long a request may wait for its turn; 0 = refused at once with 429", low=0,
            high=600),
    Setting("max_concurrent", "whole", None, "concurrent requests; a stream counts until it ends", low=1),
    Setting("queue", "whole", 0, "how many may wait for a slot, each for wait_s", low=0, high=100_000),
    Setting("notes", "text", "", "for people"),
    Setting("config", "table", {}, "for people"),
)  # fmt: skip

GROUP: tuple[Setting, ...] = (
    Setting("name", "text", None, "name that callers use; takes precedence over a model of the same name"),
    Setting("description", "text", "", "shown in model lists"),
    Setting("strategy", "text", "roundrobin", "how one of the members of the highest priority is chosen", choices=STRATEGIES),
    Setting("members", "tables", (), "see the next table"),
    Setting("fallbacks", "texts", (), "models and groups tried in order when no member is left"),
    Setting("affinity", "text", "", 'header ("x-claude-code-session-id") or jq expression (".user") whose value keeps '
            "a conversation on one member while that is healthy"),
    Setting("first_output_timeout_s", "number", None, "until the first output, then the next member; else the provider's",
            low=0.01, high=LONG_S),
)  # fmt: skip

MEMBER: tuple[Setting, ...] = (
    Setting("model", "text", None, "a model's name, as callers write it"),
    Setting("weight", "number", 100, "its share; 0 = only if no other is left", low=0, high=1_000_000),
    Setting("selector", "text", "", "jq expression over the request; the member takes part if its first output is true"),
    Setting("priority", "number", 0, "higher comes first, under every strategy"),
)

ROUTING: tuple[Setting, ...] = (
    Setting("tag_strategy", "text", "priority", "as a group's strategy, for tag queries", choices=STRATEGIES),
    Setting(
        "default_model",
        "text",
        "",
        "model or group that answers for every unknown name: clients request helper models of their own",
    ),
)

HEALTH: tuple[Setting, ...] = (
    Setting("failures_to_open", "whole", 3, "consecutive failures after which a member is skipped", low=1),
    Setting("open_s", "number", 30.0, "how long it is skipped before one trial request; doubles each time, to 8 x at most",
            low=0.01, high=LONG_S),
    Setting("recover_s", "number", 120.0, "time in which the full weight returns without requests", low=0.01, high=LONG_S),
)  # fmt: skip

STATE: tuple[Setting, ...] = (
    Setting("url", "state url", None, "Redis or Valkey, through which several gateways share limits, budgets and health: "
            "redis://, rediss://, redis+sentinel://HOST,HOST/NAME or redis+cluster://HOST; needs the package redis",
            ("LLM_ROUTER_STATE_URL",)),
    Setting("prefix", "text", "llm-router", "prefix of all names there; gateways with the same prefix share"),
    Setting("timeout_s", "number", 0.05, "longest that a request waits for it", low=0.001, high=10),
)  # fmt: skip

CALLER_KEY: tuple[Setting, ...] = (  # one caller's key and its rights; for [[keys]] and for keys in the store
    Setting("name", "text", None, "unique name in logs and statistics"),
    Setting("owner", "text", "", "owner, shown only"),
    Setting("note", "text", "", "for people"),
    Setting("expires_at", "time", None, "end of its validity; a date counts until its end"),
    Setting("is_active", "bool", True, "false: refused with 403"),
    Setting("is_admin", "bool", False, "may see the monitor and change keys, providers and models"),
    Setting("is_monitor", "bool", False, "may read statistics, /metrics and the models' health, and nothing else"),
    Setting("allowed_models", "patterns", None, 'models it may use, however they are reached: "openai/*"; a pattern without '
            "a slash is compared with the name after the provider's"),
    Setting("allowed_groups", "patterns", None, "groups it may request; with these and without allowed_models it reaches "
            "models only through them"),
    Setting("allowed_providers", "patterns", None, "providers whose models it may use"),
    Setting("allowed_tags", "patterns", None, "tags of which a model must have one"),
    Setting("parameter_limits", "table", {}, "see below: { max_tokens = 2000, temperature = { min = 0, max = 1 } }"),
    Setting("limits", "table", {}, "instead of [server] key_limits, see `[models.limits]`"),
    Setting("budget", "table", {}, "see the next table"),
    Setting("reset", "table", {}, "spending before the last reset; written by `keys reset`"),
    Setting("soft_budget", "table", {}, "the same for `[alerts]`, without refusing calls"),
    Setting("cache_ttl_s", "number", None, "as [server], which it takes precedence over; 0 = never", low=0, high=YEAR_S),
    Setting("allow_batches", "bool", False, "true: may upload files and start batches although its models, parameters or "
            "spending are limited: a batch can name any model, and the gateway sees neither its contents nor its cost"),
    Setting("networks", "networks", (), 'addresses it may be used from: "10.0.0.0/8"'),
)  # fmt: skip

KEY_SECRET: tuple[Setting, ...] = (  # where [[keys]] have the key itself
    Setting("key", "secret", (), "the key, or a comma list of them; better key_env or key_file"),
    Setting("key_env", "variable", "", "name of the environment variable that holds it"),
    Setting("key_file", "secret path", "", "file that holds it, one a line; beside this one unless absolute"),
)

BUDGET: tuple[Setting, ...] = (
    Setting("usd_per_day", "number", None, "US dollars in a day of UTC", low=0),
    Setting("usd_per_month", "number", None, "US dollars in a calendar month of UTC", low=0),
    Setting("tokens_per_day", "size", None, "input and output tokens together", low=0),
    Setting("tokens_per_month", "size", None, "the same in a month", low=0),
)

RESET: tuple[Setting, ...] = (
    Setting("at", "time", None, "when"),
    Setting("usd_day", "number", 0.0, "US dollars of that day, until then", low=0),
    Setting("usd_month", "number", 0.0, "of that month", low=0),
    Setting("tokens_day", "number", 0, "tokens of that day", low=0),
    Setting("tokens_month", "number", 0, "of that month", low=0),
)

ALERTS: tuple[Setting, ...] = (
    Setting("webhook", "webhook", None, "address to which a POST is sent when a key has used a part of its budget",
            ("LLM_ROUTER_ALERT_WEBHOOK",)),
    Setting("at", "shares", (), "parts of a budget or soft budget at which that happens; default: [0.8, 1.0]"),
    Setting("headers", "headers", {}, "sent along, such as a key"),
    Setting("proxy", "proxy", "", "proxy to the webhook"),
)  # fmt: skip

MINUTE_MS, LONG_MS = 60_000, 86_400_000
TELEMETRY: tuple[Setting, ...] = (  # the variables are OpenTelemetry's, and their times milliseconds
    Setting("endpoint", "url", "", "address of an OTLP collector over HTTP; /v1/traces and /v1/metrics are appended",
            ("OTEL_EXPORTER_OTLP_ENDPOINT",)),
    Setting("traces_endpoint", "url", "", "whole address for traces, in its place", ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",)),
    Setting("metrics_endpoint", "url", "", "whole address for metrics, in its place", ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",)),
    Setting("enabled", "bool", True, "false: nothing is sent, whatever else is set", ("OTEL_SDK_DISABLED",)),
    Setting("traces", "bool", True, "whether traces are sent", ("OTEL_TRACES_EXPORTER",)),
    Setting("metrics", "bool", True, "whether metrics are sent", ("OTEL_METRICS_EXPORTER",)),
    Setting("protocol", "text", "http/protobuf", "encoding of what is sent",
            ("OTEL_EXPORTER_OTLP_PROTOCOL",), choices=("http/protobuf", "http/json")),
    Setting("compression", "text", "none", "compression of requests", ("OTEL_EXPORTER_OTLP_COMPRESSION",),
            choices=("none", "gzip")),
    Setting("headers", "headers", {}, "sent along, such as a key; better in the environment: name=value,name=value",
            ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_METRICS_HEADERS")),
    Setting("timeout_ms", "whole", 10_000, "limit for one request to the collector",
            ("OTEL_EXPORTER_OTLP_TIMEOUT",), low=1, high=LONG_MS),
    Setting("proxy", "proxy", "", "proxy to the collector"),
    Setting("service_name", "text", "llm-router", "service.name of what is sent", ("OTEL_SERVICE_NAME",)),
    Setting("resource", "table", {}, "further attributes of the resource: deployment.environment.name, ...",
            ("OTEL_RESOURCE_ATTRIBUTES",)),
    Setting("sampler", "text", "parentbased_always_on", "which traces are sent", ("OTEL_TRACES_SAMPLER",), choices=(
        "always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off",
        "parentbased_traceidratio")),
    Setting("sampler_ratio", "number", 1.0, "fraction of them, for traceidratio", ("OTEL_TRACES_SAMPLER_ARG",), low=0, high=1),
    Setting("content", "bool", False, "whether spans carry the messages of requests and answers",
            ("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT",)),
    Setting("max_content_bytes", "size", 65_536, "longest answer that a span carries; a longer one is left out", low=256),
    Setting("session_headers", "texts", (), "headers that name a call's session; the first one present counts. Default: "
            "x-session-id, session-id, session_id, x-claude-code-session-id"),
    Setting("queue_size", "whole", 2_048, "most spans that may wait; more are dropped and counted",
            ("OTEL_BSP_MAX_QUEUE_SIZE",), low=1, high=1_000_000),
    Setting("batch_size", "whole", 512, "most spans in one request",
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE",), low=1, high=100_000),
    Setting("delay_ms", "whole", 5_000, "how long a span may wait for others", ("OTEL_BSP_SCHEDULE_DELAY",), low=1,
            high=LONG_MS),
    Setting("export_timeout_ms", "whole", 30_000, "limit for one batch with all its attempts",
            ("OTEL_BSP_EXPORT_TIMEOUT",), low=1, high=LONG_MS),
    Setting("metric_interval_ms", "whole", MINUTE_MS, "between two exports of metrics", ("OTEL_METRIC_EXPORT_INTERVAL",),
            low=1, high=LONG_MS),
)  # fmt: skip

TABLES: Mapping[str, tuple[Setting, ...]] = {
    "[server]": SERVER,
    "[[providers]]": PROVIDER,
    "[providers.settings]": PROVIDER_SETTINGS,
    "[[models]]": MODEL,
    "[models.config]": MODEL_CONFIG,
    "[[models.config.long_context]]": LONG_CONTEXT,
    "[models.limits]": LIMITS,
    "[[groups]]": GROUP,
    "[[groups.members]]": MEMBER,
    "[routing]": ROUTING,
    "[health]": HEALTH,
    "[state]": STATE,
    "[[keys]]": (*CALLER_KEY, *KEY_SECRET),
    "[keys.budget]": BUDGET,
    "[alerts]": ALERTS,
    "[telemetry]": TELEMETRY,
}
