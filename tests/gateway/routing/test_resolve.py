"""resolve: a model's name -> who could answer it."""

import tomllib

import pytest

from llm_router_gateway.config import config
from llm_router_gateway.errors import UnknownModel
from llm_router_gateway.routing import resolve

LISTED = """
[[providers]]
name = "one"
type = "ollama"
[[one.models]]
name = "small"
remote_identifier = "vendor/small-2"
[[one.models]]
name = "both"
[[one.models]]
name = "team/nested"
[[one.models]]
name = "off"
is_active = false
[[providers]]
name = "two"
type = "lmstudio"
[[two.models]]
name = "both"
[[providers]]
name = "gone"
type = "ollama"
is_active = false
[[gone.models]]
name = "lost"
"""


def routes(text: str = LISTED) -> resolve.Routes:
    return resolve.routes_of(config.parse(tomllib.loads(text)))


def opened(*names: str) -> resolve.Routes:
    return resolve.routes_of(config.parse({"providers": [{"name": name} for name in names]}))


def found(table: resolve.Routes, name: str) -> list[tuple[str, str]]:
    return [(candidate.provider.name, candidate.remote_id) for candidate in resolve.candidates(table, name)]


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("one/small", ("one", "vendor/small-2")),
        ("small", ("one", "vendor/small-2")),
        ("models/one/small", ("one", "vendor/small-2")),
        ("two/both", ("two", "both")),
        ("team/nested", ("one", "team/nested")),
        ("one/team/nested", ("one", "team/nested")),
    ],
)
def test_listed_models_by_full_name_and_by_unambiguous_bare_name(name: str, answer: tuple[str, str]) -> None:
    assert found(routes(), name) == [answer]


def test_a_bare_name_that_two_providers_have_is_ambiguous_and_the_error_says_what_to_write() -> None:
    with pytest.raises(UnknownModel, match="ambiguous: write one of one/both, two/both"):
        found(routes(), "both")


@pytest.mark.parametrize("name", ["smal", "off", "one/off", "gone/lost", "lost", "one/else", "", "a b", "a?x=1", "x" * 999])
def test_what_is_not_there_or_switched_off_is_unknown(name: str) -> None:
    with pytest.raises(UnknownModel) as caught:
        found(routes(), name)
    assert (caught.value.status, caught.value.code) == (404, "model_not_found")
    assert len(caught.value.message) < 600


def test_the_error_names_what_is_near() -> None:
    with pytest.raises(UnknownModel, match="similar names: small"):
        found(routes(), "smal")
    with pytest.raises(UnknownModel, match="one lists its models"):
        found(routes(), "one/zzz")


def test_a_provider_without_listed_models_takes_any_name() -> None:
    table = opened("openai", "openrouter")
    assert found(table, "openai/gpt-9") == [("openai", "gpt-9")]
    assert found(table, "openrouter/anthropic/claude-9") == [("openrouter", "anthropic/claude-9")]


def test_a_bare_name_goes_to_its_family_else_to_the_one_that_serves_all() -> None:
    table = opened("openai", "claude", "ollama")
    assert found(table, "gpt-9") == [("openai", "gpt-9")]
    assert found(table, "claude-9") == [("claude", "claude-9")]
    assert found(table, "llama9") == [("ollama", "llama9")]
    assert found(opened("claude"), "anything") == [("claude", "anything")]
    with pytest.raises(UnknownModel, match="ambiguous"):
        found(opened("openai", "claude"), "llama9")
    with pytest.raises(UnknownModel, match="ambiguous"):
        found(opened("glm", "glm-z"), "glm-5")


def test_a_name_cannot_climb_out_of_a_path() -> None:
    for name in ("gemini/../x", "../x", "gemini/a/../../b"):
        with pytest.raises(UnknownModel):
            found(opened("gemini"), name)


def test_a_model_may_have_an_endpoint_of_its_own() -> None:
    table = routes('[[providers]]\nname="ollama"\n[[ollama.models]]\nname="m"\nconfig={endpoint="/x/chat"}')
    assert resolve.candidates(table, "m")[0].url("chat") == "http://127.0.0.1:11434/v1/x/chat"


def test_what_is_switched_off_does_not_go_to_a_provider_that_takes_any_name() -> None:
    table = routes(LISTED + '[[providers]]\nname = "openrouter"')
    with pytest.raises(UnknownModel, match="switched off"):
        found(table, "one/off")
    assert found(table, "anthropic/claude-9") == [("openrouter", "anthropic/claude-9")]


def test_a_provider_may_rename_and_a_models_own_name_there_wins() -> None:
    text = '[[providers]]\nname="ollama"\nany_model=true\nrename={a="a:1", b="b:1", c="c:1"}\n'
    table = routes(text + '[[ollama.models]]\nname="a"\n[[ollama.models]]\nname="b"\nremote_identifier="b:2"')
    assert [found(table, name)[0][1] for name in ("a", "ollama/b", "ollama/c", "d")] == ["a:1", "b:2", "c:1", "d"]
    assert resolve.candidates(table, "ollama/c")[0].name == "ollama/c"


SMALL = """
[[providers]]
name = "here"
type = "vllm"
base_url = "http://127.0.0.1:9001/v1"
rename = { "gemini-3*-flash*" = "small", "claude-haiku*" = "other", "exact" = "big" }
[[here.models]]
name = "small"
tags = ["quick"]
[[providers]]
name = "gemini"
api_key = "k"
"""


@pytest.mark.parametrize(("name", "remote"), [
    ("gemini-3-flash-preview", ("here/small", "small")),  # though Gemini, which takes any name, has a family of such
    ("here/gemini-3.5-flash", ("here/small", "small")),
    ("claude-haiku-4-5-20251001", ("here/claude-haiku-4-5-20251001", "other")),
    ("gemini-3-pro", ("gemini/gemini-3-pro", "gemini-3-pro")),
    ("gemini/gemini-3-flash", ("gemini/gemini-3-flash", "gemini-3-flash")),
])  # fmt: skip
def test_a_star_in_rename_draws_names_to_its_provider(name: str, remote: tuple[str, str]) -> None:
    (candidate,) = resolve.candidates(routes(SMALL), name)
    assert (candidate.name, candidate.remote_id) == remote
    assert (candidate.model is not None) == (remote[0] == "here/small")


TF = {"name": "tf", "type": "vllm", "base_url": "http://127.0.0.1:9001/v1"}


@pytest.mark.parametrize("name", [
    "/models/x.gguf", "My Model (Q4) [v2]", "C:\\models\\x", "модель", "模型-7b", "a?b#c", "llama3:8b", "100% real",
])  # fmt: skip
def test_every_name_that_a_server_may_list_is_one(name: str) -> None:
    table = resolve.routes_of(config.parse({"providers": [TF]}))
    for asked in (name, f"tf/{name}"):
        (candidate,) = resolve.candidates(table, asked)
        assert candidate.remote_id == name
        assert found(routes_with(name), asked) == [("tf", name)]


def routes_with(name: str) -> resolve.Routes:
    return resolve.routes_of(config.parse({"providers": [TF], "models": [{"name": name, "provider": "tf"}]}))


@pytest.mark.parametrize("name", ["bad\ud83d", "tf/bad\ud83d", " a", "a ", "a\nb", "a\x00b", "a\u2028b", "a\x85b"])
def test_a_name_that_cannot_be_sent_is_unknown(name: str) -> None:
    table = resolve.routes_of(config.parse({"providers": [TF]}))
    with pytest.raises(UnknownModel) as caught:
        resolve.candidates(table, name)
    assert caught.value.status == 404 and caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("provider", "model", "caller", "spoken"),
    [
        ("openai", "gpt-5.1", "openai", "openai"),
        ("openai", "gpt-5.1", "anthropic", "openai"),
        ("openai", "gpt-5.1", "responses", "responses"),
        ("openai", "o3-pro", "openai", "responses"),
        ("openai", "gpt-5.1-codex-max", "anthropic", "responses"),
        ("openai", "gpt-5-pro", "gemini", "responses"),
        ("grok", "grok-4", "responses", "openai"),
    ],
)
def test_openais_models_are_called_in_the_protocol_that_they_have(provider: str, model: str, caller: str, spoken: str) -> None:
    candidate = resolve.candidates(opened(provider), f"{provider}/{model}")[0]
    assert candidate.speaking(caller).provider.api == spoken


def test_a_model_may_be_said_to_have_only_the_newer_protocol() -> None:
    text = '[[providers]]\nname = "openai"\n[[openai.models]]\nname = "gpt-x"\nconfig = { endpoint = "responses" }\n'
    assert resolve.candidates(routes(text), "gpt-x")[0].speaking("openai").provider.api == "responses"


def test_at_another_address_a_preset_speaks_what_servers_there_speak() -> None:
    text = '[[providers]]\nname = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'
    candidate = resolve.candidates(routes(text), "openai/o3-pro")[0]
    assert candidate.speaking("responses").provider.api == "openai"
