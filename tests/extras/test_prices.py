"""`prices`: LiteLLM's list becomes the user's own, and what the user set stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict

import pytest

from llm_router_extras.prices import price_of

CASES = json.loads((Path(__file__).parents[1] / "corpus" / "pricing" / "lists.json").read_text(encoding="utf-8"))
LIST = {
    "sample_spec": {"input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
    "gpt-x": {"input_cost_per_token": 2.5e-06, "output_cost_per_token": 1e-05, "cache_read_input_token_cost": 1.25e-06},
    "gemini-x": {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06, "input_cost_per_token_above_200k_tokens": 2e-06,
                 "output_cost_per_token_above_200k_tokens": 4e-06},
    "dall-e": {"output_cost_per_image": 0.04},
    "free": {"input_cost_per_token": 0, "output_cost_per_token": 0},
}  # fmt: skip


@pytest.fixture
def setup(cli: Any, tmp_path: Path) -> Any:
    (tmp_path / "list.json").write_text(json.dumps(LIST), encoding="utf-8")
    cli.env["LLM_ROUTER_CONFIG"] = str(tmp_path / "own" / "config.json")
    return cli


def config(cli: Any) -> Any:
    return json.loads(Path(cli.env["LLM_ROUTER_CONFIG"]).read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("entry", "price"),
    [
        *((case["entry"], case["price"]) for case in CASES),
        (LIST["dall-e"], None),
        ({"input_cost_per_token": -1, "output_cost_per_token": 1e-06}, None),
        ({"input_cost_per_token": "1", "output_cost_per_token": 1e-06}, None),
        ({"input_cost_per_token": 5.0, "output_cost_per_token": 1e-06}, None),
        (
            {"tiered_pricing": [{"range": [32_000, 128_000], "input_cost_per_token": 1e-06, "output_cost_per_token": 1e-06}]},
            None,
        ),
        ({"tiered_pricing": [{"max_results_range": [0, 25], "input_cost_per_query": 0.005}]}, None),
        ({"tiered_pricing": [{"range": [True, None]}, "no range"]}, None),
        ("no table", None),
    ],
)
def test_an_entry_is_a_price_for_a_million_tokens_or_none(entry: Any, price: Any) -> None:
    assert price_of(entry) == price


def test_every_price_of_a_list_is_one_that_the_configuration_takes(setup: Any, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text(json.dumps({case["name"]: case["entry"] for case in CASES}), encoding="utf-8")
    Path(setup.env["LLM_ROUTER_CONFIG"]).parent.mkdir()
    Path(setup.env["LLM_ROUTER_CONFIG"]).write_text("{}", encoding="utf-8")
    assert setup("prices", "import", "list.json").code == 0
    assert config(setup)["prices"] == {case["name"]: case["price"] for case in CASES}
    done = setup("prices", "list", "--search", "ranges come")
    assert done.code == 0 and done.out == b"ranges come before flat prices, but for an output that they leave out\t1\t10\n", (
        done.err
    )


def test_the_list_is_imported_and_shown(setup: Any) -> None:
    path = Path(setup.env["LLM_ROUTER_CONFIG"])
    path.parent.mkdir()
    path.write_text("{}", encoding="utf-8")
    done = setup("prices", "import", "list.json")
    assert done.code == 0 and b"3 prices imported" in done.out, done.err
    assert set(config(setup)["prices"]) == {"gpt-x", "gemini-x", "free"}
    assert setup("prices", "list", "--search", "gpt").out == b"gpt-x\t2.5\t10\n"
    none = setup("prices", "list", "--search", "nothing")
    assert none.out == b"" and b"none of 3 prices match 'nothing'; without --search all are listed" in none.err


def test_a_range_beyond_all_numbers_is_imported_and_still_priced(setup: Any, tmp_path: Path) -> None:
    rate = {"input_cost_per_token": 1e-06, "output_cost_per_token": 2e-06}
    table = [{**rate, "range": [0, 10**400]}, {**rate, "range": [10**400, 10**401]}]
    (tmp_path / "list.json").write_text(json.dumps({"far": {"tiered_pricing": table}}), encoding="utf-8")
    assert setup("prices", "import", "list.json").code == 0
    done = setup("chat", "--demo", "-m", "far", "--message", "Hi", "--max-cost", "1")
    assert done.code == 0 and b"Traceback" not in done.err, done.err


def test_a_configuration_is_made_where_none_was(setup: Any, tmp_path: Path) -> None:
    del setup.env["LLM_ROUTER_CONFIG"]
    setup.env["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    assert setup("prices", "import", "list.json", "--search", "gpt").code == 0
    made = tmp_path / "xdg" / "llm-router" / "config.json"
    assert set(json.loads(made.read_text(encoding="utf-8"))["prices"]) == {"gpt-x"}
    assert made.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["made.json", "new/made.json"])
def test_a_configuration_that_is_named_is_made_too(setup: Any, name: str) -> None:
    setup.env["LLM_ROUTER_CONFIG"] = name
    assert setup("prices", "import", "list.json", "--search", "gpt").code == 0
    assert set(json.loads((Path(setup.cwd) / name).read_text(encoding="utf-8"))["prices"]) == {"gpt-x"}


OWN: Dict[str, Any] = {
    "tiers": {"cheap": ["a"]},
    "prices": {"gpt-x": {"input": 9, "output": 9}, "mine": {"input": 1, "output": 1}},
}


@pytest.mark.parametrize(("words", "gpt"), [((), 9), (("--replace",), 2.5)])
def test_what_the_user_set_stays_without_replace(setup: Any, words: Any, gpt: float) -> None:
    path = Path(setup.env["LLM_ROUTER_CONFIG"])
    path.parent.mkdir()
    path.write_text(json.dumps(OWN), encoding="utf-8")
    done = setup("prices", "import", "list.json", *words)
    assert done.code == 0 and (b"gpt-x" in done.err) == (not words)
    after = config(setup)
    assert after["prices"]["gpt-x"]["input"] == gpt
    assert after["prices"]["mine"] == OWN["prices"]["mine"] and after["tiers"] == OWN["tiers"]


@pytest.mark.parametrize(
    ("text", "said"), [("{", b"is not JSON"), ("[]", b"no prices"), ('{"a": {"mode": "chat"}}', b"no prices")]
)
def test_a_file_that_is_no_list_of_prices_changes_nothing(setup: Any, tmp_path: Path, text: str, said: bytes) -> None:
    del setup.env["LLM_ROUTER_CONFIG"]
    setup.env["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    (tmp_path / "bad.json").write_text(text, encoding="utf-8")
    done = setup("prices", "import", "bad.json")
    assert done.code == 2 and said in done.err and not (tmp_path / "xdg").exists()
