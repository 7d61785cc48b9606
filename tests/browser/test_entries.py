"""Providers and models on the page: add one, change it, take it back; what the gateway refuses stands at its field."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.slow

BROKEN = ("Failed to load resource",)
WRONG = """
    const control = [...document.querySelectorAll("dialog label")].find((each) => each.textContent === arguments[0])?.control;
    const texts = (control?.getAttribute("aria-describedby") ?? "").split(" ").map((id) => document.getElementById(id));
    const wrong = texts.find((each) => each?.className === "wrong");
    return control?.getAttribute("aria-invalid") === "true" && wrong?.checkVisibility() ? wrong.textContent : "" """


def open_models(page: Any, gateway: Any) -> None:
    page.go(f"{gateway.url}?view=models")
    page.until("return document.querySelector('.models tbody tr')")


def refused(*problems: tuple[str, str]) -> tuple[int, Any]:
    told = [{"path": path, "message": message} for path, message in problems]
    text = "nothing was changed: " + "; ".join(f"{path}: {message}" for path, message in problems)
    error = {"message": text, "type": "invalid_request_error", "code": "impossible_config", "param": problems[0][0]}
    return 422, {"error": {**error, "problems": told}}


def choose(page: Any, label: str, value: str) -> None:
    script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('change', { bubbles: true }))"
    page.run(script, page.field(label), value)


def test_a_provider_is_added_with_a_type_and_a_key_and_nothing_that_was_not_said(page: Any, gateway: Any) -> None:
    open_models(page, gateway)
    page.labelled("Add a provider").click()
    choose(page, "Type", "deepseek")
    assert page.run("return arguments[0].value", page.field("Name")) == "deepseek", "the type's name, until another is typed"
    assert "deepseek.com" in page.field("Address").attribute("placeholder")
    page.field("Name").fill("seek")
    choose(page, "Type", "grok")
    assert page.run("return arguments[0].value", page.field("Name")) == "seek"
    page.field("Key").type("sk-made-up")
    assert page.field("Key").attribute("type") == "password"
    page.labelled("Add the provider").click()
    page.until_text("#toasts", "seek is added.")
    added = {"type": "grok", "name": "seek", "api_key": "sk-made-up"}  # pragma: allowlist secret
    assert gateway.came("POST", "providers") == [added]
    page.gone("dialog")
    page.until_text(".cards", "seek")
    assert "sk-made-up" not in page.run("return document.documentElement.outerHTML") and gateway.csrf == []


def test_what_is_wrong_stands_at_its_field_also_in_a_folded_group_and_the_rest_below(page: Any, gateway: Any) -> None:
    page.allowed = BROKEN
    open_models(page, gateway)
    page.labelled("Add a model").click()
    page.labelled("Add the model").click()
    page.until(WRONG, "Name")
    assert page.run(WRONG, "Name") == "is needed"
    page.field("Name").type("new")
    page.labelled("Size and abilities").click()
    page.field("Context window, tokens").type("12 elephants")
    page.labelled("Size and abilities 1 set").click()
    gateway.answers["POST models"] = refused(
        ("models.openai/new.config.context_window", "is no number of tokens"),
        ("models.openai/new.limits", "sets no limit"),
        ("groups[0].members[3].model", "is another matter"),
    )
    page.labelled("Add the model").click()
    page.until_text("dialog .failure", "groups[0].members[3].model: is another matter")
    assert "is no number" not in page.text("dialog .failure"), "each is said once"
    assert page.run(WRONG, "Context window, tokens") == "is no number of tokens"
    assert page.run(WRONG, "Requests") == "sets no limit"
    assert page.run("return document.activeElement.name") == "config.context_window"
    assert page.run("return arguments[0].value", page.field("Name")) == "new"
    gateway.answers["POST models"] = (
        409,
        {"error": {"message": "openai/new exists already: PATCH changes it", "type": "x", "code": "conflict", "param": "name"}},
    )
    page.labelled("Add the model").click()
    page.until(WRONG, "Name")
    assert page.run(WRONG, "Name") == "openai/new exists already: PATCH changes it"
    assert page.run(WRONG, "Requests") == "" and not page.has("dialog .failure")


def test_a_model_is_added_with_prices_tags_and_limits(page: Any, gateway: Any) -> None:
    open_models(page, gateway)
    page.labelled("Add a model").click()
    choose(page, "Provider", "claude")
    page.field("Name").type("opus/large")
    page.field("Input").type("15")
    page.field("Output").type("75.5")
    for group in ("Description and tags", "Size and abilities", "Rate limits"):
        page.labelled(group).click()
    page.field("Tags").type("coding, slow")
    page.field("Context window, tokens").type("200k")
    page.field("Requests").type("20")
    page.until("return [...document.querySelectorAll('summary')].some((each) => each.textContent === 'Prices 2 set')")
    page.labelled("Add the model").click()
    page.until_text("#toasts", "claude/opus/large is added.")
    assert gateway.came("POST", "models") == [
        {
            "provider": "claude",
            "name": "opus/large",
            "config": {"input_usd_per_mtok": 15, "output_usd_per_mtok": 75.5, "context_window": "200k"},
            "tags": ["coding", "slow"],
            "limits": {"max_requests": 20, "per_seconds": 60},
        }
    ]


def test_an_edit_sends_what_changed_and_an_empty_field_goes_back_to_the_file(page: Any, gateway: Any) -> None:
    open_models(page, gateway)
    page.labelled("Edit model openai/gpt-4.1").click()
    page.labelled("Prices 2 set").click()
    page.field("Output").fill("9")
    page.labelled("Description and tags 2 set").click()
    page.field("Shown as").fill("")
    page.labelled("Rate limits 2 set").click()
    page.field("Requests").fill("")
    page.field("Per seconds").fill("")
    page.labelled("Save").click()
    page.gone("dialog")
    assert gateway.came("PATCH", "models/openai/gpt-4.1") == [
        {"config": {"output_usd_per_mtok": 9}, "display_name": None, "limits": {}}
    ]
    page.labelled("Edit provider claude").click()
    assert page.field("Name").attribute("disabled") is not None
    page.field("Address").fill("https://proxy.example/v1")
    page.labelled("Save").click()
    page.gone("dialog")
    assert gateway.came("PATCH", "providers/claude") == [{"base_url": "https://proxy.example/v1"}]


def test_what_was_added_here_can_be_removed_and_what_was_changed_here_undone(page: Any, gateway: Any) -> None:
    open_models(page, gateway)
    page.labelled("Edit provider office").click()
    page.labelled("Remove").click()
    page.until_text("dialog", "It is removed with its models.")
    page.labelled("Remove").click()
    page.until_text("#toasts", "office is removed.")
    assert gateway.came("DELETE", "providers/office") == [None]
    page.labelled("Edit provider gemini").click()
    page.labelled("Undo changes").click()
    page.until_text("dialog", "These were changed here: is_active.")
    page.labelled("Undo").click()
    page.until_text("#toasts", "Restored from the file.")
    assert [query for method, path, query, _ in gateway.asked if (method, path) == ("DELETE", "providers/gemini")] == [
        {"only": "changes"}
    ]
    page.labelled("Edit provider claude").click()
    page.until_text("dialog", "Save")
    assert "Remove" not in page.text("dialog .form-end") and "Undo" not in page.text("dialog .form-end")


def test_an_empty_gateway_begins_with_a_provider(page: Any, empty: Any) -> None:
    page.go(f"{empty.url}?view=models")
    page.until_text(".empty", "No provider is configured.")
    page.labelled("Add a model").click()
    page.until_text("#toasts", "A model needs a provider: add that first.")
    page.labelled("Add the first provider").click()
    page.until_text("dialog h2", "Add a provider")
