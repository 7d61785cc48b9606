"""Types whose address has parts that only its user knows: a resource, a region, a project."""

import pytest
from configs import parse, problems, provider

from llm_router_gateway.config.config import implied_document
from llm_router_gateway.config.presets import PARTS, PRESETS

KEY = "k" + "ey-" * 4
VERTEX = 'type = "vertex"\nname = "v"\nproject = "my-project-1"\n'
ADDRESSES = {
    'type = "azure"\nname = "a"\nresource = "my-resource"': "https://my-resource.openai.azure.com/openai/v1",
    'type = "bedrock"\nname = "b"\nregion = "us-west-2"': "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1",
    f'{VERTEX}region = "europe-west4"': "https://europe-west4-aiplatform.googleapis.com/v1/projects/my-project-1/locations/"
    "europe-west4/endpoints/openapi",
    f'{VERTEX}region = "global"': "https://aiplatform.googleapis.com/v1/projects/my-project-1/locations/global/endpoints/openapi",
    f'{VERTEX}region = "eu"': "https://aiplatform.eu.rep.googleapis.com/v1/projects/my-project-1/locations/eu/endpoints/openapi",
}


@pytest.mark.parametrize("lines", ADDRESSES)
def test_the_parts_are_put_into_the_address(lines: str) -> None:
    made = provider(f'{lines}\napi_key = "{KEY}"')
    assert made.base_url == ADDRESSES[lines]
    assert made.url("chat") == ADDRESSES[lines] + "/chat/completions"
    assert (made.auth_header, made.auth_scheme) == ("Authorization", "Bearer")


def test_the_parts_may_come_from_the_environment() -> None:
    made = provider('name = "azure"', AZURE_OPENAI_API_KEY=KEY, AZURE_RESOURCE_NAME="r-1")
    assert (made.base_url, len(made.keys)) == ("https://r-1.openai.azure.com/openai/v1", 1)
    made = provider('name = "bedrock"', AWS_BEARER_TOKEN_BEDROCK=KEY, AWS_REGION="eu-west-1", AWS_DEFAULT_REGION="x")
    assert made.base_url == "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1"
    made = provider('name = "vertex"\nproject = "p"', GOOGLE_CLOUD_LOCATION="us-east5", GOOGLE_CLOUD_PROJECT="other")
    assert "/projects/p/locations/us-east5/" in made.base_url


def test_a_missing_part_is_one_problem_that_names_the_ways_to_give_it() -> None:
    assert problems('[[providers]]\nname = "azure"') == {
        "providers[0].resource": "is missing: the name of the resource, with which its address begins; or set "
        "AZURE_OPENAI_RESOURCE_NAME or AZURE_RESOURCE_NAME, or give base_url"
    }
    assert set(problems('[[providers]]\nname = "vertex"')) == {"providers[0].project", "providers[0].region"}


@pytest.mark.parametrize("value", ["a.b", "evil.example/x", "a b", "-a", "{region}", "a" * 64])
def test_a_part_that_would_change_the_host_is_a_problem(value: str) -> None:
    assert set(problems(f'[[providers]]\nname = "azure"\nresource = "{value}"')) == {"providers[0].resource"}
    assert set(problems('[[providers]]\nname = "azure"', AZURE_RESOURCE_NAME=value)) == {"providers[0].resource"}


def test_a_part_that_no_address_takes_is_a_problem() -> None:
    assert problems('[[providers]]\nname = "claude"\nregion = "eu"') == {
        "providers[0].region": "is not used: the address of claude has none"
    }
    whole = '[[providers]]\nname = "azure"\nresource = "r"\nbase_url = "https://r.services.ai.azure.com/openai/v1"'
    assert problems(whole) == {"providers[0].resource": "is not used: base_url is the whole address"}


def test_what_is_known_of_a_type_holds_at_its_own_address_alone() -> None:
    assert set(provider('name = "azure"\nresource = "r"').also) == {"responses"}
    assert set(provider('name = "azure"\nbase_url = "http://127.0.0.1:1/openai/v1"').also) == set()


def test_no_list_is_fetched_for_a_type_without_one() -> None:
    assert provider('name = "bedrock"\nregion = "r"').url("models") == ""
    assert provider('name = "azure"\nresource = "r"').url("models").endswith("/openai/v1/models")


def test_without_a_file_a_key_counts_where_the_address_is_known_as_well() -> None:
    key = {"AZURE_OPENAI_API_KEY": KEY, "AWS_BEARER_TOKEN_BEDROCK": KEY}
    assert implied_document(key) == {"providers": []}
    assert implied_document({**key, "AWS_REGION": "us-east-1"}) == {"providers": [{"name": "bedrock", "type": "bedrock"}]}


def test_a_missing_key_says_what_would_give_one() -> None:
    notes = parse('[[providers]]\nname = "vertex"\nproject = "p"\nregion = "global"').notes
    assert notes == ('vertex: no key (api_key_command = "gcloud auth print-access-token" is not set); its models answer 503',)


def test_every_part_of_every_address_is_a_setting_and_filled() -> None:
    for name, preset in PRESETS.items():
        values = {part: f"x-{part}" for part in PARTS}
        assert "{" not in preset.base_url.format(**values) if preset.parts else "{" not in preset.base_url, name
        assert all("{" + part + "}" in preset.base_url for part in preset.parts), name
        assert set(preset.parts) <= set(PARTS), name
