"""install compose|kubernetes: what is printed is valid, holds no secret, and gives every part its probe."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from llm_router_gateway.commands import install, install_cluster

yaml = pytest.importorskip("yaml")
NAMES = ("POSTGRES_PASSWORD", "REDIS_PASSWORD")


@pytest.fixture
def printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """printed("compose") -> (text, steps), for a configuration in a folder with a difficult name."""

    def of(what: str, *words: str) -> tuple[str, str]:
        folder = tmp_path / "a $folder 'of' \"mine\""
        folder.mkdir(exist_ok=True)
        (folder / "router.toml").write_text('[server]\nport = 8123\ndrain_s = 20\n[[providers]]\nname = "ollama"\n')
        assert install.run([what, "-c", str(folder / "router.toml"), *words]) == 0
        told = capsys.readouterr()
        return told.out, told.err

    return of


def test_the_compose_file_has_gateways_behind_a_proxy_and_what_they_share(printed: Any, tmp_path: Path) -> None:
    text, steps = printed("compose")
    found = yaml.safe_load(text)
    services = found["services"]
    assert set(services) == {"gateway", "proxy", "postgres", "redis"} and services["gateway"]["deploy"]["replicas"] == 2
    gateway = services["gateway"]
    assert gateway["stop_grace_period"] == "35s" and gateway["read_only"] and gateway["cap_drop"] == ["ALL"]
    bind = gateway["volumes"][0]["source"].replace("$$", "$")
    assert bind == str(tmp_path / "a $folder 'of' \"mine\"" / "router.toml")
    assert gateway["depends_on"] == {name: {"condition": "service_healthy"} for name in ("postgres", "redis")}
    assert all("healthcheck" in services[name] for name in ("postgres", "redis")) and "HEALTHCHECK" in gateway["build"][
        "dockerfile_inline"]  # fmt: skip
    assert services["proxy"]["ports"] == ["127.0.0.1:8123:8123"]
    for name in NAMES:
        assert set(re.findall(rf"\$\{{{name}[^}}]*\}}", text)) == {f"${{{name}:?write it into .env}}"}
    assert "proxy_buffering off" in found["configs"]["nginx"]["content"] and "8123" in steps


def test_the_proxys_configuration_is_one(printed: Any, tmp_path: Path) -> None:
    nginx = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    text = yaml.safe_load(printed("compose")[0])["configs"]["nginx"]["content"].replace("$$", "$")
    known = text.replace("server gateway:8123 resolve max_fails=0;", "server 127.0.0.1:8123 max_fails=0;")  # since 1.27.3
    assert known != text
    path = tmp_path / "nginx.conf"
    path.write_text(f"pid {tmp_path}/pid;\nerror_log stderr;\n{known}")
    done = subprocess.run([nginx, "-t", "-p", str(tmp_path), "-c", str(path)], capture_output=True, timeout=60, check=False)
    assert b"syntax is ok" in done.stderr, done.stderr


def manifests(text: str) -> dict[tuple[str, str], Any]:
    return {(each["kind"], each["metadata"]["name"]): each for each in yaml.safe_load_all(text)}


def test_every_container_of_the_manifests_is_probed_bounded_and_has_no_rights(printed: Any) -> None:
    found = manifests(printed("kubernetes")[0])
    pods = {name: each["spec"]["template"]["spec"] for (_, name), each in found.items() if "template" in each["spec"]}
    assert set(pods) == {"llm-router", "llm-router-postgres", "llm-router-redis"}
    for pod in pods.values():
        (container,) = pod["containers"]
        assert "readinessProbe" in container and "livenessProbe" in container and container["resources"]["limits"]["memory"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                                "capabilities": {"drop": ["ALL"]}}  # fmt: skip
        assert pod["securityContext"]["runAsNonRoot"] and pod["automountServiceAccountToken"] is False
        names = {mount["name"] for mount in container["volumeMounts"]}
        claims = {"state", "data"} if pod is not pods["llm-router-redis"] else set()
        assert names <= {volume["name"] for volume in pod["volumes"]} | claims
    assert pods["llm-router"]["enableServiceLinks"] is False  # or LLM_ROUTER_PORT would be the Service's
    gateway = pods["llm-router"]["containers"][0]
    assert gateway["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    assert gateway["livenessProbe"]["httpGet"]["path"] == "/health/live"  # which asks nothing of PostgreSQL
    assert (
        pods["llm-router"]["terminationGracePeriodSeconds"] == 40
        and found["StatefulSet", "llm-router"]["spec"]["replicas"] == 2
    )


def test_services_lead_to_pods_and_passwords_come_from_secrets_alone(printed: Any) -> None:
    text, steps = printed("kubernetes")
    found = manifests(text)
    labels = [each["spec"]["template"]["metadata"]["labels"] for each in found.values() if "template" in each["spec"]]
    for (kind, _), each in found.items():
        if kind == "Service":
            assert each["spec"]["selector"] in labels
    variables = found["StatefulSet", "llm-router"]["spec"]["template"]["spec"]["containers"][0]["env"]
    named = [each["name"] for each in variables]
    for name in NAMES:
        assert named.index(name) < named.index("LLM_ROUTER_STORE")  # or $(NAME) would stay as it is
        assert name in steps and not re.search(rf"{name}=\w", text)
    assert json.dumps(variables).count("secretKeyRef") == 2


def test_the_manifests_fit_their_schemas(printed: Any) -> None:
    schemas = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    for each in manifests(printed("kubernetes")[0]).values():
        schemas.validate(each, schemas.latest_version(), strict=True)


def test_the_drivers_are_in_the_image_only_where_they_are_needed(printed: Any) -> None:
    plain, _ = printed("container")
    several, _ = printed("container", "--cluster")
    assert "pip install" not in plain and "psycopg[binary]" in several and "psycopg[binary]" in printed("compose")[0]
    assert install_cluster.REPLICAS == 2
