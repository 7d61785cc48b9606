"""model_list: the list of models in three shapes, with names that a call accepts."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from fakes import Upstream
from routed import Hosts, Ways, play, provider

from llm_router_gateway.config import config
from llm_router_gateway.errors import BadRequest, UnknownModel
from llm_router_gateway.proxy import model_list
from llm_router_gateway.proxy.gateway import prepare
from llm_router_gateway.proxy.request import dump_json
from llm_router_gateway.routing import resolve
from llm_router_gateway.wire.registry import DEFAULT, SPECS, wire

TEXT = """
[[providers]]
name = "one"
type = "ollama"
[[one.models]]
name = "claude-big"
display_name = "Big"
tags = ["chat"]
config = {context_window = "200k", max_output_tokens = 8000, supports_vision = true, input_usd_per_mtok = 2.5,
          output_usd_per_mtok = 10, languages = ["en"]}
[[one.models]]
name = "both"
[[providers]]
name = "two"
type = "lmstudio"
[[two.models]]
name = "both"
[[providers]]
name = "openai"
[[providers]]
name = "llama.cpp"
"""
ROUTES = resolve.routes_of(config.parse(tomllib.loads(TEXT.replace("\n          ", " "))))
FOUND = model_list.entries(ROUTES, {"openai": ("gpt-9",), "llama.cpp": ("tiny",)})


@pytest.mark.parametrize("protocol", SPECS)
def test_what_the_file_says_of_a_model_is_listed_whatever_toml_has_for_it(protocol: str) -> None:
    text = 'config = {released = 2026-05-01, at = [10:30:00], score = nan, languages = ["en"]}'
    routes = resolve.routes_of(
        config.parse(tomllib.loads(f'providers = [{{name = "ollama"}}]\n[[ollama.models]]\nname = "m"\n{text}'))
    )
    listed = json.loads(dump_json(wire(protocol).list_models(model_list.entries(routes, {}), {})))
    if protocol == DEFAULT:
        [model] = listed["data"]
        assert (model["released"], model["at"], model["languages"]) == ("2026-05-01", ["10:30:00"], ["en"])
        assert "score" not in model


def test_every_listed_name_is_one_that_a_call_accepts() -> None:
    for entry in FOUND:
        for name in (entry.name, entry.short):
            assert resolve.candidates(ROUTES, name)[0].name == entry.name
    assert [entry.name for entry in FOUND] == ["one/claude-big", "one/both", "two/both", "openai/gpt-9", "llama.cpp/tiny"]


def test_openai_shape_has_window_modalities_and_price_where_they_are_known() -> None:
    listing = wire("openai").list_models(FOUND, {})
    assert listing["object"] == "list"
    assert listing["data"][0] == {
        "id": "one/claude-big", "object": "model", "created": 0, "owned_by": "one", "name": "Big",
        "context_length": 200_000, "max_output_tokens": 8000, "tags": ["chat"], "languages": ["en"],
        "architecture": {"input_modalities": ["text", "image"]},
        "pricing": {"prompt": "0.0000025", "completion": "0.00001"},
    }  # fmt: skip
    assert listing["data"][3] == {"id": "openai/gpt-9", "object": "model", "created": 0, "owned_by": "openai"}


def test_anthropic_shape_uses_short_names_and_pages() -> None:
    list_models = wire("anthropic").list_models
    whole = list_models(FOUND, {"limit": "1000"})
    assert [entry["id"] for entry in whole["data"]] == ["claude-big", "one/both", "two/both", "gpt-9", "llama.cpp/tiny"]
    assert (whole["has_more"], whole["first_id"], whole["last_id"]) == (False, "claude-big", "llama.cpp/tiny")
    assert whole["data"][0]["display_name"] == "Big"
    page = list_models(FOUND, {"limit": "2", "after_id": "claude-big"})
    assert ([entry["id"] for entry in page["data"]], page["has_more"]) == (["one/both", "two/both"], True)
    back = list_models(FOUND, {"limit": "1", "before_id": "two/both"})
    assert [entry["id"] for entry in back["data"]] == ["one/both"]
    assert list_models([], {}) == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_gemini_shape_pages_with_a_token() -> None:
    shape, names, query = wire("gemini"), [], {"pageSize": "2"}
    while True:
        page = shape.list_models(FOUND, query)
        names += [entry["name"] for entry in page["models"]]
        if "nextPageToken" not in page:
            break
        query = {"pageSize": "2", "pageToken": page["nextPageToken"]}
    assert names == [f"models/{entry.name}" for entry in FOUND]
    assert shape.describe_model(FOUND[0])["inputTokenLimit"] == 200_000


def test_one_model_by_either_name_and_none_by_another() -> None:
    assert model_list.find_entry(FOUND, "claude-big").name == model_list.find_entry(FOUND, "models/one/claude-big").name
    for name in ("both", "nothing", ""):
        with pytest.raises(UnknownModel):
            model_list.find_entry(FOUND, name)
    with pytest.raises(BadRequest):
        wire("gemini").list_models(FOUND, {"pageSize": "many"})


@pytest.mark.parametrize(
    ("listing", "names"),
    [
        ({"data": [{"id": "a"}, {"id": None}, 3]}, ("a",)),
        ({"models": [{"name": "models/b"}]}, ("b",)),
        ({"data": []}, ()), ({"data": None}, ()), ([], ()), ("x", ()), (None, ()),
    ],
)  # fmt: skip
def test_names_are_read_from_any_upstreams_list(listing: object, names: tuple[str, ...]) -> None:
    assert model_list.names_in(listing) == names


def test_a_list_that_is_fetched_while_the_configuration_changes_is_not_the_new_ones(tmp_path: Path) -> None:
    lists: list[Any] = []

    def document(host: str) -> dict[str, Any]:
        return {"providers": [provider("o", any_model=True, base_url=f"http://{host}.example/v1")]}

    async def story(ways: Ways) -> None:
        def old(sent: dict[str, Any]) -> Upstream:
            ways.gateway.swap(prepare(config.parse(document("new"))))
            return Upstream(200, b'{"data":[{"id":"old"}]}')

        ways.hosts.scripts["old"] = [old]
        for _ in range(2):
            lists.append([each["id"] for each in (await ways.get("/v1/models"))["data"]])

    play(story, document("old"), Hosts(new=Upstream(200, b'{"data":[{"id":"new"}]}')), tmp_path)
    assert lists == [["o/old"], ["o/new"]]
