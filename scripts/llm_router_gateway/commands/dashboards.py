"""A Grafana dashboard and Prometheus alert rules over the gateway's /metrics, as text.

    dashboard()  -> JSON to import into Grafana 9 or newer
    alerts()     -> YAML for `rule_files` of Prometheus 2 or newer

references/grafana-dashboard.json and references/prometheus-alerts.yml are what these print; every metric in them is one that
`management/metrics` has.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

WIDTH, HEIGHT = 12, 8  # of a panel, on Grafana's grid of 24 columns
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
CHOSEN = 'model=~"$model"'
FAILED = 'cause!="success",cause!="client_gone"'
LEFT_OUT = 'state=~"open|cooling|probe|probing"'  # a trial request changes the state for a moment, and nothing else
ERRORS, STAYED = 'outcome="error"', 'outcome!="client_gone"'


class Panel(NamedTuple):
    """One chart: its title, the unit of its axis, its queries with their legends, and what it is good for."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]
    help: str


def rate(metric: str, labels: str = "", window: str = "$__rate_interval") -> str:
    """rate("x_total", 'a="b"') -> 'rate(llm_router_x_total{a="b"}[$__rate_interval])'"""
    return f"rate(llm_router_{metric}{{{labels}}}[{window}])" if labels else f"rate(llm_router_{metric}[{window}])"


def quantile(share: float, metric: str, by: str, window: str = "$__rate_interval") -> str:
    return f"histogram_quantile({share}, sum by (le, {by}) ({rate(f'{metric}_bucket', CHOSEN, window)}))"


def model_rate(metric: str, labels: str = "") -> str:
    """The rate of a metric of the models that are chosen at the top of the page."""
    return rate(metric, f"{labels},{CHOSEN}" if labels else CHOSEN)


def percentiles(metric: str) -> tuple[tuple[str, str], ...]:
    return tuple((quantile(share, metric, "model"), f"p{share * 100:g} {{{{model}}}}") for share in (0.5, 0.95))


def share(part: str, whole: str) -> str:
    """0 where there is nothing to divide by."""
    return f"({part}) / clamp_min({whole}, 1e-9)"


# Errors of callers are subtracted from both sides: neither do they look like a failure of ours, nor do many of them hide one.
OURS = f"sum({model_rate('requests_total', ERRORS)}) - sum({model_rate('caller_errors_total')})"
GOOD = f"sum({model_rate('requests_total', STAYED)}) - sum({model_rate('caller_errors_total')})"
CALLERS = share(f"sum({model_rate('caller_errors_total')})", f"sum({model_rate('requests_total', STAYED)})")
PANELS = (
    Panel("Calls", "reqps", ((f"sum by (outcome) ({model_rate('requests_total')})", "{{outcome}}"),),
          "Calls that ended, by outcome. client_gone: the caller disconnected."),
    Panel("Share of errors", "percentunit", (
        (share(OURS, GOOD), "of providers and gateway"), (CALLERS, "of callers")),
        "Share of calls whose caller did not disconnect. Callers' errors are those due to what they sent or are allowed."),
    Panel("Errors by code", "reqps", ((f"sum by (code) ({model_rate('errors_total')})", "{{code}}"),),
          "What callers saw. Attempts that another model made up for are not included."),
    Panel("Failed attempts by provider and cause", "reqps", (
        (f"sum by (provider, cause) ({model_rate('attempts_total', FAILED)})", "{{provider}} {{cause}}"),),
        "Requests to providers that failed, whether or not another one answered; callers' own mistakes are included."),
    Panel("Duration of calls", "s", percentiles("request_duration_seconds"), "From arrival to the real end, streams included."),
    Panel("Time to first output", "s", percentiles("first_output_seconds"), "Of streams."),
    Panel("Tokens", "short", tuple((f"sum({model_rate(f'{kind}_tokens_total')}) * 60", kind)
                                    for kind in ("input", "output", "cached", "reasoning")),
          "Per minute. Cached are part of input, reasoning part of output."),
    Panel("Spend by model", "currencyUSD", ((f"sum by (model) ({model_rate('cost_usd_total')}) * 3600", "{{model}}"),),
          "US dollars an hour, as far as the cost is known."),
    Panel("Spend by key", "currencyUSD", ((f"sum by (key) ({rate('key_cost_usd_total')}) * 3600", "{{key}}"),),
          "US dollars an hour."),
    Panel("Health of models", "percentunit", ((f"min by (model) (llm_router_member_health_factor{{{CHOSEN}}})", "{{model}}"),),
          "The share of its weight that a model has now; 0: it is left out."),
    Panel("Requests under way", "short", (
        ("sum(llm_router_open_requests)", "all"),
        (f"sum by (model) (llm_router_member_active_requests{{{CHOSEN}}})", "{{model}}")), "At this moment."),
    Panel("Store and telemetry", "short", (
        ("sum(llm_router_store_rows_waiting)", "rows waiting"),
        ("sum(increase(llm_router_store_rows_dropped_total[$__rate_interval]))", "rows dropped"),
        ("sum(increase(llm_router_telemetry_spans_dropped_total[$__rate_interval]))", "spans dropped")),
        "All three should be near 0."),
)  # fmt: skip


def panel_object(number: int, panel: Panel) -> dict[str, Any]:
    column, row = number % 2, number // 2
    return {
        "id": number + 1, "type": "timeseries", "title": panel.title, "description": panel.help, "datasource": SOURCE,
        "gridPos": {"x": column * WIDTH, "y": row * HEIGHT, "w": WIDTH, "h": HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "table", "placement": "bottom", "calcs": ["lastNotNull", "max"]},
                    "tooltip": {"mode": "multi", "sort": "desc"}},
        "targets": [{"refId": chr(ord("A") + at), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
                    for at, (expression, legend) in enumerate(panel.queries)],
    }  # fmt: skip


def variables() -> list[dict[str, Any]]:
    """What is chosen at the top of the page: the source of data, and models."""
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {"name": "model", "label": "Model", "type": "query", "datasource": SOURCE, "refresh": 2, "includeAll": True,
         "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"},
         "query": {"query": "label_values(llm_router_requests_total, model)", "refId": "model"}},
    ]  # fmt: skip


def dashboard() -> str:
    """The whole page, for "Dashboards - Import"."""
    value = {
        "title": "llm-router", "uid": "llm-router", "tags": ["llm"], "timezone": "browser", "schemaVersion": 39,
        "editable": True, "refresh": "30s", "time": {"from": "now-6h", "to": "now"}, "templating": {"list": variables()},
        "panels": [panel_object(number, panel) for number, panel in enumerate(PANELS)],
    }  # fmt: skip
    return json.dumps(value, indent=1) + "\n"


# -------------------------------------------------------------------------------------------------------------- alerts


class Alert(NamedTuple):
    """One rule: its condition, how long it must hold, how bad it is, what has happened and what to do."""

    name: str
    condition: str
    lasts: str
    severity: str
    summary: str
    action: str


def total(metric: str, labels: str = "", window: str = "5m") -> str:
    return f"sum({rate(metric, labels, window)})"


def by_provider(metric: str, labels: str = "", window: str = "10m") -> str:
    return f"sum by (provider) ({rate(metric, labels, window)})"


CALLER_ERRORS, CALLS_STAYED = total("caller_errors_total"), total("requests_total", STAYED)
SENT_BACK = by_provider("attempt_caller_errors_total")

ALERTS = (
    Alert("LLMRouterAbsent", "absent(llm_router_build_info)", "2m", "critical", "No gateway is scraped.",
          "Check whether the process runs (GET /health/live) and whether Prometheus has its key (keys create --monitor)."),
    Alert("LLMRouterErrors", share(f"{total('requests_total', ERRORS)} - {CALLER_ERRORS}",
                                   f"{CALLS_STAYED} - {CALLER_ERRORS}") + " > 0.05", "10m", "critical",
          "{{ $value | humanizePercentage }} of calls fail, callers' own errors not counted.",
          "GET /monitor/statistics lists them by code."),
    Alert("LLMRouterCallerErrors", share(CALLER_ERRORS, CALLS_STAYED) + " > 0.5", "30m", "info",
          "{{ $value | humanizePercentage }} of calls are refused because of what callers send or are allowed.",
          "GET /monitor/invocations?status=caller_error lists them: has a key expired, or used up its budget?"),
    Alert("LLMRouterProviderFailing", share(f"{by_provider('attempts_total', FAILED)} - {SENT_BACK}",
                                            f"{by_provider('attempts_total')} - {SENT_BACK}") + " > 0.5", "10m", "warning",
          "{{ $labels.provider }} fails {{ $value | humanizePercentage }} of its requests.",
          "Other models of its groups answer; check its key, its credit and its status page."),
    Alert("LLMRouterModelLeftOut", f"max by (model) (llm_router_member_state{{{LEFT_OUT}}}) == 1", "15m", "warning",
          "{{ $labels.model }} has been left out for 15 minutes.", "GET /health/models says why."),
    Alert("LLMRouterSlowFirstOutput", "histogram_quantile(0.95, sum by (le, model) "
          "(rate(llm_router_first_output_seconds_bucket[10m]))) > 20", "10m", "warning",
          "{{ $labels.model }} takes {{ $value | humanizeDuration }} to its first output (p95).",
          "first_output_timeout_s of its group lets the next member answer sooner."),
    Alert("LLMRouterSpend", "sum(increase(llm_router_cost_usd_total[1h])) > 50", "5m", "warning",
          "{{ $value | humanize }} US dollars were spent in an hour.",
          "Set your own figure here; budgets of keys stop a caller."),
    Alert("LLMRouterUnpriced", "sum by (model) (increase(llm_router_unpriced_requests_total[1h])) > 0", "1h", "info",
          "Calls of {{ $labels.model }} have no price.", "Write its prices into [models.config]."),
    Alert("LLMRouterStoreFailing", "llm_router_store_ok == 0", "5m", "critical", "Calls cannot be written to the store.",
          "The log says why; up to 20,000 calls wait in memory."),
    Alert("LLMRouterCallsLost", "increase(llm_router_store_rows_dropped_total[15m]) > 0", "0m", "critical",
          "Calls are missing from the log.", "Budgets and statistics lack them; check the store's disk."),
    Alert("LLMRouterSpansLost", "increase(llm_router_telemetry_spans_dropped_total[15m]) > 0", "15m", "info",
          "Spans do not reach the collector.", "The log says why, and which setting fixes it."),
    Alert("LLMRouterRestarts", "changes(llm_router_start_time_seconds[15m]) > 3", "0m", "warning",
          "The gateway restarts again and again.", "Read the last lines of the log before each start."),
)  # fmt: skip


def alert_lines(alert: Alert) -> str:
    """Texts as JSON, which YAML reads as well."""
    return (
        f"      - alert: {alert.name}\n"
        f"        expr: {json.dumps(alert.condition)}\n"
        f"        for: {alert.lasts}\n"
        f"        labels: {{severity: {alert.severity}}}\n"
        "        annotations:\n"
        f"          summary: {json.dumps(alert.summary)}\n"
        f"          description: {json.dumps(alert.action)}\n"
    )


def alerts() -> str:
    """The rules, as a file for `rule_files`."""
    head = (
        "# Prometheus alert rules: printed by `llm-router-gateway install alerts`. Thresholds are yours to change.\ngroups:\n"
    )
    return head + "  - name: llm-router\n    rules:\n" + "".join(map(alert_lines, ALERTS))
