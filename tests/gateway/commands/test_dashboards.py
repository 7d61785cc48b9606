"""dashboards: every metric that they name is one that /metrics has, and their formats are those of Grafana and Prometheus."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from quick import every
from running import command

from llm_router_gateway.commands.dashboards import ALERTS, alerts, dashboard
from llm_router_gateway.management import metrics
from llm_router_gateway.management.metrics import Gauges, Metrics
from llm_router_gateway.routing.plan import STATES

REFERENCES = Path(__file__).parents[3] / "references"
NAME = re.compile(r"\bllm_router_\w+")
MEMBER = {"model": "p/m", "state": "ok", "factor": 1, "active": 0, "consecutive_failures": 0, "back_in_s": 0}
STORE = {"written": 1, "dropped": 0, "rows_waiting": 0, "bytes": 1, "last_error": ""}


def all_metrics() -> str:
    """What /metrics shows once there has been a call of each kind."""
    made = Metrics()
    for error in ("", "upstream_failed"):  # without an error of a caller: rules subtract those, and what is missing is no 0
        made.observe(SimpleNamespace(
            kind="chat", protocol="p", provider="p", served="p/m", error=error, ended="complete", attempts=1, duration_ms=1.0,
            first_ms=1.0, input_tokens=1, output_tokens=1, cached_tokens=1, reasoning_tokens=1, cost_usd=1.0, key_name="k",
            cost_source="prices", is_caller_error=False,
        ))  # fmt: skip
    made.observe_attempts([SimpleNamespace(name="p/m", provider="p", cause="", is_caller_error=False)])
    return made.render(Gauges(1, [MEMBER], STORE, {"exported": 1, "dropped": 0, "waiting": 0}, "1", 1.0))


def known() -> set[str]:
    text = all_metrics()
    return set(NAME.findall("\n".join(line for line in text.splitlines() if not line.startswith("#"))))


@pytest.mark.parametrize("made", [dashboard, alerts])
def test_every_metric_exists(made: Any) -> None:
    named = set(NAME.findall(made()))
    assert len(named) > 5 and not named - known()


def test_the_states_in_which_a_model_is_left_out_are_those_that_it_can_have() -> None:
    [named] = re.findall(r'state=~"([\w|]+)"', alerts().replace("\\", ""))
    assert set(named.split("|")) == STATES.keys() - {"ok", "no_key", "off"} and metrics.LEFT_OUT.issubset(STATES)


def test_every_metric_has_its_line_on_the_page_about_monitoring() -> None:
    """By its whole name, or by its end beside another of the same beginning: `llm_router_a_b_total`, `_c_total`."""
    cells = "\n".join(
        re.findall(r"(?m)^\| (`llm_router_.*?) \|", (REFERENCES / "gateway-monitoring.md").read_text(encoding="utf-8"))
    )
    named = set(re.findall(r"`(?:llm_router)?(_\w+)`", cells))
    source = Path(metrics.__file__).read_text(encoding="utf-8")
    families = set(re.findall(r'(?:Family|Histogram)\(\s*"(\w+)"', source)) | set(
        re.findall(r'(?m)^    \("(\w+)", [^\n]*"[A-Z]', source)
    )
    assert len(families) > 30
    assert not [name for name in families if not any(f"_{name}".endswith(each) for each in named)]


@pytest.mark.parametrize("made, name", [(dashboard, "grafana-dashboard.json"), (alerts, "prometheus-alerts.yml")])
def test_the_files_among_the_references_are_up_to_date(made: Any, name: str) -> None:
    assert (REFERENCES / name).read_text(encoding="utf-8") == made(), f"print it anew: install ... > references/{name}"


@pytest.mark.parametrize("made, name", every(2, [(alerts, "alerts"), (dashboard, "grafana")]))
def test_the_command_prints_them(made: Any, name: str, tmp_path: Path) -> None:
    done = command(tmp_path, "install", name)
    assert (done.returncode, done.stdout.decode()) == (0, made())
    assert b"keys create --monitor" in done.stderr


def test_the_dashboard_is_one_that_grafana_imports() -> None:
    page = json.loads(dashboard())
    assert {"title", "panels", "templating", "schemaVersion", "uid"} <= page.keys()
    places = [tuple(panel["gridPos"].values()) for panel in page["panels"]]
    assert len(set(places)) == len(places) and all(x + w <= 24 for x, _, w, _ in places)
    assert len({panel["id"] for panel in page["panels"]}) == len(page["panels"])
    for panel in page["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            assert expression.count("(") == expression.count(")") and expression.count("{") == expression.count("}")
            assert "$model" not in expression or 'model=~"$model"' in expression
    assert [each["name"] for each in page["templating"]["list"]] == ["datasource", "model"]


def promtool(*words: str, told: str = "") -> subprocess.CompletedProcess[str]:
    if not shutil.which("promtool"):
        pytest.skip("promtool is not installed (Debian: prometheus)")
    return subprocess.run(["promtool", *words], input=told, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_prometheus_finds_nothing_odd_in_what_metrics_shows() -> None:
    done = promtool("check", "metrics", told=all_metrics())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.slow
def test_prometheus_takes_the_rules_and_every_query_of_the_dashboard(tmp_path: Path) -> None:
    path = tmp_path / "alerts.yml"
    path.write_text(alerts())
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0 and f"SUCCESS: {len(ALERTS)} rules found" in done.stdout, done.stderr
    queries = [target["expr"] for panel in json.loads(dashboard())["panels"] for target in panel["targets"]]
    rules = [{"record": f"q{at}", "expr": text.replace("$__rate_interval", "5m")} for at, text in enumerate(queries)]
    path.write_text(json.dumps({"groups": [{"name": "g", "rules": rules}]}))  # JSON is YAML
    done = promtool("check", "rules", str(path))
    assert done.returncode == 0, done.stderr


SERIES = {
    'llm_router_requests_total{outcome="success"}': "0+90x60", 'llm_router_requests_total{outcome="error"}': "0+10x60",
    'llm_router_caller_errors_total{model="a/m"}': "0+0x60",
    'llm_router_attempts_total{provider="a",cause="rate_limited"}': "0+9x60",
    'llm_router_attempts_total{provider="a",cause="success"}': "0+1x60",
    'llm_router_attempts_total{provider="b",cause="success"}': "0+9x60",
    **{f'llm_router_attempt_caller_errors_total{{provider="{name}"}}': "0+0x60" for name in "ab"},
    'llm_router_member_state{model="a/m",state="open"}': "1x20 stale _x19 1x20",  # by turns: its trial fails, too
    'llm_router_member_state{model="a/m",state="probe"}': "_x20 1x20 stale",
    'llm_router_member_state{model="b/m",state="ok"}': "1x60", 'llm_router_store_ok': "0+0x60",
    'llm_router_build_info{version="1"}': "1+0x60",
}  # fmt: skip
FIRING = {"LLMRouterErrors": "10%", "LLMRouterProviderFailing": "90%", "LLMRouterModelLeftOut": "", "LLMRouterStoreFailing": ""}
SILENT = ("LLMRouterAbsent", "LLMRouterSpend", "LLMRouterRestarts")
# Two of three calls and nine of ten attempts fail for what callers sent: nothing is wrong with provider or gateway.
OF_CALLERS = {
    'llm_router_requests_total{outcome="success"}': "0+30x60", 'llm_router_requests_total{outcome="error"}': "0+60x60",
    'llm_router_caller_errors_total{model="a/m"}': "0+60x60",
    'llm_router_attempts_total{provider="a",cause="bad_request"}': "0+9x60",
    'llm_router_attempts_total{provider="a",cause="success"}': "0+1x60",
    'llm_router_attempt_caller_errors_total{provider="a"}': "0+9x60",
}  # fmt: skip
# The same, and of the calls that were right a tenth fails: many mistakes of callers hide no outage.
OF_BOTH = {**OF_CALLERS, 'llm_router_requests_total{outcome="success"}': "0+27x60",
           'llm_router_requests_total{outcome="error"}': "0+63x60",
           'llm_router_attempts_total{provider="a",cause="rate_limited"}': "0+4x60"}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("series", "firing"),
    [
        (SERIES, FIRING),
        (OF_CALLERS, {"LLMRouterCallerErrors": "66.67%"}),
        (OF_BOTH, {"LLMRouterErrors": "10%", "LLMRouterCallerErrors": "66.67%", "LLMRouterProviderFailing": "80%"}),
    ],
    ids=["providers", "callers", "both"],
)
def test_the_rules_fire_when_they_should(series: dict[str, str], firing: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "alerts.yml").write_text(alerts())
    texts = {alert.name: alert for alert in ALERTS}
    labels = {"LLMRouterProviderFailing": {"provider": "a"}, "LLMRouterModelLeftOut": {"model": "a/m"}}
    names = {*firing, *FIRING, "LLMRouterCallerErrors", *(SILENT if series is SERIES else ())}

    def expected(name: str) -> list[dict[str, Any]]:
        alert, own = texts[name], labels.get(name, {})
        summary = re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: own[match[1]], alert.summary)
        summary = re.sub(r"\{\{ \$value [^}]*\}\}", firing.get(name, ""), summary)
        told = {"summary": summary, "description": alert.action}
        return [{"exp_labels": {"severity": alert.severity, **own}, "exp_annotations": told}] if name in firing else []

    test = {
        "rule_files": ["alerts.yml"], "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m", "input_series": [{"series": name, "values": text} for name, text in series.items()],
            "alert_rule_test": [{"eval_time": "45m", "alertname": name, "exp_alerts": expected(name)} for name in names],
        }],
    }  # fmt: skip
    (tmp_path / "test.yml").write_text(json.dumps(test))
    done = promtool("test", "rules", str(tmp_path / "test.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
