"""The mock server and the gateway as processes would see them: two addresses, and keys made up for this run.

A test asks for `way`: an SDK's client and where it leads, either direct to the mock server ("direct": proves the test) or
through the gateway to the mock server's OpenAI, Anthropic, Gemini or Responses side.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from started import StartedGateway

sys.path.insert(0, str(Path(__file__).parent))  # --import-mode=importlib leaves a test's neighbours unfindable
ROOT = Path(__file__).parents[2]
UPSTREAMS = ("openai", "anthropic", "gemini", "responses")
OURS = ("OPENAI_", "ANTHROPIC_", "GEMINI_", "GOOGLE_")  # what the SDKs read
KEEPALIVE_S = 10.0  # the default: nothing here is silent for so long, unless a test asks for another value
CONFIG = """\
[server]
retry_alone_s = 0
keepalive_s = {keepalive_s}
drain_s = 1

[[providers]]
name = "to-openai"
api = "openai"
base_url = "{url}/v1"
api_key_env = "KEY_OPENAI"

[[providers]]
name = "to-anthropic"
api = "anthropic"
base_url = "{url}"
api_key_env = "KEY_ANTHROPIC"

[[providers]]
name = "to-gemini"
api = "gemini"
base_url = "{url}/v1beta"
api_key_env = "KEY_GEMINI"

[[providers]]
name = "to-responses"
api = "responses"
base_url = "{url}/v1"
api_key_env = "KEY_RESPONSES"
settings = {{ quirks = {{ encrypted = true }} }}
"""

collect_ignore = [] if sys.version_info >= (3, 11) else ["test_group.py", "test_interop.py"]  # the gateway needs 3.11


class Gateway(StartedGateway):
    """With a key of its own for the mock server as the upstream of each protocol."""

    def __init__(self, folder: Path, mock_server: str, keepalive_s: float, more: str = "") -> None:
        """`more` is added to the configuration."""
        self.keys = {api: f"key-{api}-{secrets.token_hex(12)}" for api in UPSTREAMS}
        env = {f"KEY_{api.upper()}": key for api, key in self.keys.items()}
        super().__init__(folder, CONFIG.format(url=mock_server, keepalive_s=keepalive_s) + more, env)


@pytest.fixture(scope="session")
def mock_server() -> Iterator[Any]:
    from llm_router_demo import DemoServer

    with DemoServer(strict=True) as server:
        yield server


@pytest.fixture(scope="session")
def gateways(mock_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[float, Gateway]]:
    """The processes by their keepalive_s, each started when it is first wanted; their logs hold no fault at the end."""

    class Started(dict[float, Gateway]):
        def __missing__(self, keepalive_s: float) -> Gateway:
            self[keepalive_s] = Gateway(tmp_path_factory.mktemp("gateway"), mock_server.url, keepalive_s)
            return self[keepalive_s]

    started = Started()
    yield started
    codes = [each.close() for each in started.values()]
    log = [line for each in started.values() for line in each.lines]
    assert codes == [0] * len(codes)
    assert [line for line in log if "Please report this line" in line or "Traceback" in line] == []


@pytest.fixture
def keepalive_s(request: pytest.FixtureRequest) -> float:
    """The gateway's setting, for a test that says another."""
    return float(getattr(request, "param", KEEPALIVE_S))


@pytest.fixture
def gateway(gateways: dict[float, Gateway], keepalive_s: float) -> Gateway:
    return gateways[keepalive_s]


@pytest.fixture(autouse=True)
def no_keys_of_this_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDKs read keys, addresses and projects from these."""
    for name in list(os.environ):
        if name.upper().startswith(OURS):
            monkeypatch.delenv(name)


class Way(NamedTuple):
    """An SDK's client, and what answers it."""

    sdk: Any
    url: str
    key: str
    upstream: str  # whose protocol the mock server is asked in
    prefix: str  # of a model's name; "" goes straight to the mock server
    mock_server: Any
    begun: int  # requests of the mock server before this test
    upstream_key: str

    @property
    def direct(self) -> bool:
        return not self.prefix

    def chat(self, model: str = "demo", **wish: Any) -> Any:
        return self.sdk.chat(self.prefix + model, **wish)

    @property
    def asked(self) -> list[dict[str, Any]]:
        """The requests that this test made the mock server see, model lists left out."""
        return [each for each in self.mock_server.requests[self.begun :] if each["method"] == "POST"]


@pytest.fixture(params=list(UPSTREAMS))
def vendor(request: pytest.FixtureRequest) -> str:
    """Whose SDK asks."""
    return str(request.param)


@pytest.fixture(params=["direct", *UPSTREAMS])
def upstream(request: pytest.FixtureRequest) -> str:
    """Where it leads."""
    return str(request.param)


@pytest.fixture
def way(vendor: str, upstream: str, mock_server: Any, gateways: dict[float, Gateway], keepalive_s: float) -> Iterator[Way]:
    from sdks import opened, require

    require(vendor)
    if upstream == "direct":
        key, url, upstream_key = f"key-{secrets.token_hex(12)}", mock_server.url, ""
    else:
        running = gateways[keepalive_s]
        key, url, upstream_key = running.token, running.url, running.keys[upstream]
    protocol, prefix = (vendor, "") if upstream == "direct" else (upstream, f"to-{upstream}/")
    with opened(vendor, url, key) as sdk:
        yield Way(sdk, url, key, protocol, prefix, mock_server, len(mock_server.requests), upstream_key)
