"""What is asked of the gateway itself: routes are found, and what is asked for in vain is told."""

from __future__ import annotations

from typing import Any

import pytest

from llm_router_gateway.errors import BadMethod, NotFound
from llm_router_gateway.net import router
from llm_router_gateway.proxy import paths


async def nothing(visit: router.ManagementRequest) -> router.ManagementResponse:
    return router.ManagementResponse()


ROUTES = [
    router.Route("GET", "monitor/invocations", nothing),
    router.Route("GET", "monitor/invocations/{id}", nothing),
    router.Route("GET", "monitor/invocations/export", nothing),
    router.Route("PATCH", "models/{provider}/{model...}", nothing),
    router.Route("DELETE", "api-keys/{id}", nothing),
]


@pytest.mark.parametrize(
    ("method", "path", "route", "args"),
    [
        ("GET", "monitor/invocations", 0, {}),
        ("HEAD", "/monitor/invocations/", 0, {}),
        ("GET", "monitor/invocations/7", 1, {"id": "7"}),
        ("GET", "monitor/invocations/export", 2, {}),
        ("PATCH", "models/p/a/b:c", 3, {"provider": "p", "model": "a/b:c"}),
        ("PATCH", "models/a%2Bb/m%3A8b", 3, {"provider": "a+b", "model": "m:8b"}),
    ],
)
def test_a_route_is_found_with_its_names(method: str, path: str, route: int, args: dict[str, str]) -> None:
    assert router.Router(ROUTES).find(method, path) == (ROUTES[route], args)


@pytest.mark.parametrize("path", ["", "/", "monitor", "monitor/invocations/7/8", "models/p", "nowhere"])
def test_what_is_not_there_is_not_found(path: str) -> None:
    with pytest.raises(NotFound):
        router.Router(ROUTES).find("GET", path)


def test_another_method_is_answered_with_those_that_exist() -> None:
    with pytest.raises(BadMethod) as told:
        router.Router(ROUTES).find("POST", "monitor/invocations")
    assert told.value.details["allow"] == "GET, HEAD, OPTIONS"


def test_bytes_say_what_they_are() -> None:
    with pytest.raises(TypeError):
        router.ManagementResponse(b"x")
    assert not router.ManagementResponse(b"x", headers=[("content-type", "text/plain")]).is_stream


@pytest.mark.parametrize(
    ("method", "path", "query", "kind"),
    [
        ("GET", "/monitor", {}, "management"),
        ("GET", "/v1/monitor/statistics", {}, "management"),
        ("POST", "/api-keys", {}, "management"),
        ("POST", "/models", {}, "management"),
        ("PATCH", "/models/p/m", {}, "management"),
        ("DELETE", "/v1/models/p/m", {}, "management"),
        ("GET", "/models", {"tags": "a"}, "management"),
        ("GET", "/models", {"limit": "3"}, "models"),
        ("GET", "/models/p/m", {"tags": "a"}, "model"),
        ("POST", "/v1beta/models/m:generateContent", {}, "chat"),
    ],
)
def test_the_surface_tells_its_paths_from_those_of_models(method: str, path: str, query: Any, kind: str) -> None:
    assert paths.read_call(method, path, query, {}).kind == kind
