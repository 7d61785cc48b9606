"""Real receivers of traces, as their users run them: what each shows of a call with a failed attempt before the good one.

LLM_ROUTER_RECEIVERS names a folder with an environment for each: phoenix/ with requirements-phoenix.txt, mlflow/ with
requirements-mlflow.txt. `.ci/run telemetry` makes them. Each server listens on loopback, with a folder of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from material import material, needs
from running import Asked, Process, Upstream, command, http, sends, until

pytestmark = [pytest.mark.slow, needs("LLM_ROUTER_RECEIVERS")]

START_LIMIT_S = 240.0  # both import a great deal
WAIT_S = 60.0
QUIET = {"DO_NOT_TRACK": "true", "PHOENIX_TELEMETRY_ENABLED": "false", "MLFLOW_DISABLE_TELEMETRY": "true",
         "PYTHONDONTWRITEBYTECODE": "1"}  # fmt: skip
GOOD = {
    "id": "c1", "object": "chat.completion", "model": "gpt-4o-mini-2024-07-18",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Paris"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 120, "completion_tokens": 45, "prompt_tokens_details": {"cached_tokens": 20}},
}  # fmt: skip
CALL = {"model": "g", "user": "u-17", "messages": [{"role": "user", "content": "Capital of France?"}]}


def act(sock: socket.socket, asked: Asked) -> Any:
    """The model `broken` is overloaded; any other answers."""
    if asked.json["model"] == "broken":
        return sends(http(b'{"error": {"message": "overloaded"}}', status="503 Service Unavailable"))(sock, asked)
    return sends(http(json.dumps(GOOD).encode()))(sock, asked)


def config(upstream: Upstream) -> str:
    """A group whose first member fails; prices far from any list, so that a receiver's own cost is told from ours."""
    return (
        f'[server]\nretry_alone_s = 0\n[[providers]]\nname = "openai"\nbase_url = "{upstream.url}/v1"\n'
        'api_key = "none"\n'  # pragma: allowlist secret
        '[[models]]\nname = "broken"\nprovider = "openai"\n[[models]]\nname = "gpt-4o-mini"\nprovider = "openai"\n'
        "[models.config]\ninput_usd_per_mtok = 1000\noutput_usd_per_mtok = 2000\n"
        '[[groups]]\nname = "g"\nstrategy = "priority"\nmembers = [{model = "openai/broken", priority = 2}, '
        '{model = "openai/gpt-4o-mini", priority = 1}]\n'
    )


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def fetch(url: str, body: object = None) -> Any:
    """The JSON of an answer; None while nothing answers."""
    data = None if body is None else json.dumps(body).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, data, {"content-type": "application/json"}), timeout=WAIT_S) as answer:
            return json.loads(answer.read() or b"null")
    except (OSError, ValueError):
        return None


@contextmanager
def serving(name: str, words: list[str], folder: Path, env: dict[str, str], is_ready: Callable[[], Any]) -> Iterator[None]:
    root = material("LLM_ROUTER_RECEIVERS")
    assert root is not None
    program = root / name / "bin" / name
    if not program.exists():
        pytest.skip(f"{name} is not in LLM_ROUTER_RECEIVERS")
    own = {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder), **QUIET, **env}
    with (folder / "log").open("wb") as log:
        argv, quiet = [str(program), *words], subprocess.DEVNULL
        process = subprocess.Popen(argv, cwd=folder, env=own, stdin=quiet, stdout=log, stderr=log, start_new_session=True)
    try:
        until(lambda: is_ready() or process.poll() is not None, f"{name} is ready", START_LIMIT_S)
        assert process.poll() is None, (folder / "log").read_text()[-2_000:]
        yield
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait(WAIT_S)


@pytest.fixture(scope="module")
def phoenix(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("phoenix"), free_port()
    env = {"PHOENIX_WORKING_DIR": str(folder), "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": str(port),
           "PHOENIX_GRPC_PORT": str(free_port())}  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with serving("phoenix", ["serve"], folder, env, lambda: fetch(f"{url}/v1/projects")):
        yield url


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    url, found = f"http://127.0.0.1:{port}", "api/2.0/mlflow/experiments/search"
    words = ["server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1", "--backend-store-uri",
             f"sqlite:///{folder}/m.db", "--artifacts-destination", str(folder / "artifacts")]  # fmt: skip
    with serving("mlflow", words, folder, {}, lambda: fetch(f"{url}/{found}", {"max_results": 1})):
        yield url


def call(start: Callable[..., Process], upstream: Upstream, variables: dict[str, str]) -> Process:
    """One call with a session, through a gateway that sends its spans at once."""
    upstream.does(act)
    always = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPAN_ONLY", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    gateway = start(config(upstream), env={**always, **variables})
    answer = gateway.send("POST", "/v1/chat/completions", json.dumps(CALL).encode(), x_session_id="s-1")
    assert answer.status == 200
    return gateway


QUERY = """{ projects { edges { node { name tokenCountTotal
  sessions(first: 5) { edges { node { sessionId } } }
  spans(first: 10) { edges { node { name spanKind statusCode statusMessage tokenCountPrompt tokenCountCompletion
    cumulativeTokenCountTotal costSummary { total { cost } } input { value } output { value } attributes } } } } } } }"""


def test_phoenix_shows_models_tokens_session_user_and_the_failed_attempt(
    start: Callable[..., Process], upstream: Upstream, phoenix: str
) -> None:
    project = f"p-{secrets.token_hex(4)}"
    call(start, upstream, {"OTEL_EXPORTER_OTLP_ENDPOINT": phoenix, "OTEL_EXPORTER_OTLP_HEADERS": f"x-project-name={project}"})

    def there() -> Any:
        found = fetch(f"{phoenix}/graphql", {"query": QUERY}) or {}
        nodes = [each["node"] for each in found["data"]["projects"]["edges"] if each["node"]["name"] == project]
        return nodes[0] if nodes and len(nodes[0]["spans"]["edges"]) == 3 else None

    seen = until(there, "three spans", WAIT_S)  # it stores them in the background
    spans = {each["node"]["name"]: each["node"] for each in seen["spans"]["edges"]}
    root, bad, good = spans["POST /v1/chat/completions"], spans["chat broken"], spans["chat gpt-4o-mini"]
    assert (root["spanKind"], bad["spanKind"], good["spanKind"]) == ("chain", "llm", "llm")
    assert (bad["statusCode"], bad["statusMessage"], good["statusCode"]) == ("ERROR", "overloaded", "UNSET")
    assert (good["tokenCountPrompt"], good["tokenCountCompletion"]) == (120, 45)
    assert (root["cumulativeTokenCountTotal"], seen["tokenCountTotal"]) == (165, 165), "counted once"
    assert good["costSummary"]["total"]["cost"] > 0, "by its own prices"
    assert [each["node"]["sessionId"] for each in seen["sessions"]["edges"]] == ["s-1"]
    assert (root["input"]["value"], root["output"]["value"]) == ("Capital of France?", "Paris")
    told = json.loads(good["attributes"])
    assert (told["llm"]["model_name"], told["user"]["id"]) == ("gpt-4o-mini", "u-17")
    assert told["llm"]["output_messages"][0]["message"]["content"] == "Paris"


def experiment(mlflow: str) -> str:
    made = fetch(f"{mlflow}/api/2.0/mlflow/experiments/create", {"name": f"e-{secrets.token_hex(4)}"})
    return str(made["experiment_id"])


def test_mlflow_shows_models_tokens_cost_session_user_and_the_failed_attempt(
    start: Callable[..., Process], upstream: Upstream, mlflow: str
) -> None:
    number = experiment(mlflow)
    headers = {"OTEL_EXPORTER_OTLP_HEADERS": f"x-mlflow-experiment-id={number}"}
    gateway = call(start, upstream, {"OTEL_EXPORTER_OTLP_ENDPOINT": mlflow, "OTEL_METRIC_EXPORT_INTERVAL": "50", **headers})
    place = {"locations": [{"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": number}}]}

    def there() -> Any:
        found = fetch(f"{mlflow}/api/3.0/mlflow/traces/search", place) or {}
        return (found.get("traces") or [None])[0]

    trace = until(there, "the trace", WAIT_S)
    told = {name: json.loads(text) if text.startswith("{") else text for name, text in trace["trace_metadata"].items()}
    assert (told["mlflow.trace.session"], told["mlflow.trace.user"], trace["state"]) == ("s-1", "u-17", "OK")
    usage = told["mlflow.trace.tokenUsage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (120, 45, 165)
    assert told["mlflow.trace.cost"] == pytest.approx({"input_cost": 0.12, "output_cost": 0.09, "total_cost": 0.21})
    assert (trace["request_preview"], trace["response_preview"]) == ('"Capital of France?"', '"Paris"')
    spans = fetch(f"{mlflow}/api/3.0/mlflow/traces/get?trace_id={trace['trace_id']}")["trace"]["spans"]
    assert [span["name"] for span in spans] == ["POST /v1/chat/completions", "chat broken", "chat gpt-4o-mini"]
    assert spans[1]["status"]["message"] == "overloaded"
    model = next(each["value"] for each in spans[2]["attributes"] if each["key"] == "gen_ai.response.model")
    assert model == {"string_value": "gpt-4o-mini-2024-07-18"}
    gateway.logged("accepts no metrics (status 404)")


def test_what_each_refuses_is_reported_with_the_setting_that_mends_it(
    start: Callable[..., Process], upstream: Upstream, phoenix: str, mlflow: str
) -> None:
    gateway = call(start, upstream, {"OTEL_EXPORTER_OTLP_ENDPOINT": mlflow})
    gateway.logged("x-mlflow-experiment-id")
    gateway.end()
    gateway = call(start, upstream, {"OTEL_EXPORTER_OTLP_ENDPOINT": phoenix, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"})
    gateway.logged("OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf")


@pytest.mark.parametrize("protocol", ["http/json", "http/protobuf"])
def test_mlflow_takes_the_test_span_of_a_check_in_either_encoding(
    tmp_path: Path, upstream: Upstream, mlflow: str, protocol: str
) -> None:
    upstream.does(act)
    (tmp_path / "router.toml").write_text(config(upstream))
    headers = f"x-mlflow-experiment-id={experiment(mlflow)}"
    done = command(tmp_path, "--check", OTEL_EXPORTER_OTLP_ENDPOINT=mlflow, OTEL_EXPORTER_OTLP_HEADERS=headers,
                   OTEL_EXPORTER_OTLP_PROTOCOL=protocol, OTEL_EXPORTER_OTLP_COMPRESSION="gzip")  # fmt: skip
    assert f"a test span went to {mlflow}/v1/traces ({protocol})" in done.stdout.decode()
