"""The page against the real gateway with the mock server behind it: what the two promise each other holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from running import Process, made_up, until

from llm_router_demo import DemoServer

pytestmark = pytest.mark.slow

ADMIN = made_up("admin")
BROKEN = ("Failed to load resource",)
CONFIG = """
[server]
log_bodies = true

[[providers]]
name = "north"
api = "openai"
base_url = "{url}/v1"

[[providers]]
name = "south"
api = "anthropic"
base_url = "{url}"

[[models]]
name = "large"
provider = "north"
remote_identifier = "demo"
tags = ["coding"]
[models.config]
context_window = "128k"
input_usd_per_mtok = 2
output_usd_per_mtok = 8
supports_vision = true

[[models]]
name = "writer"
provider = "south"
remote_identifier = "demo"
[models.config]
input_usd_per_mtok = 3
output_usd_per_mtok = 15

[[models]]
name = "slow"
provider = "north"
remote_identifier = "demo-slow-150"

[[models]]
name = "broken"
provider = "north"
remote_identifier = "fail-500"

[[groups]]
name = "smart"
strategy = "priority"
[[groups.members]]
model = "north/broken"
priority = 2
[[groups.members]]
model = "north/large"
"""


@pytest.fixture(scope="module")
def mock_server() -> Iterator[Any]:
    with DemoServer() as server:
        yield server


@pytest.fixture
def real(mock_server: Any, tmp_path: Path) -> Iterator[Any]:
    """A gateway with an admin token, on its own store."""
    url = mock_server.base_url.removesuffix("/v1")
    gateway = Process(tmp_path, CONFIG.format(url=url), env={"LLM_ROUTER_ADMIN_TOKEN": ADMIN})
    gateway.token = ADMIN
    yield gateway
    gateway.end()
    assert not gateway.faults(), gateway.log


def address(gateway: Any, query: str = "") -> str:
    return f"http://127.0.0.1:{gateway.port}/monitor{query}"


def signed_in(page: Any, gateway: Any, query: str = "") -> None:
    page.allowed = BROKEN  # the 401 that asks for the key
    page.go(address(gateway, query))
    page.field("Admin key").type(ADMIN)
    page.press("enter")
    page.until("return document.querySelector('#nav a') && document.querySelector('main h1')")


def logged(gateway: Any, number: int, query: str = "") -> None:
    """Waits until so many calls are in the log; the writer takes up to half a second."""
    until(lambda: gateway.get(f"/monitor/invocations?{query}").json["total"] == number, f"{number} calls in the log")


def shows(page: Any, *texts: str) -> None:
    for text in texts:
        page.until("return document.body.innerText.includes(arguments[0])", text)


def test_traffic_is_seen_counted_and_found(page: Any, real: Any, shot: Any) -> None:
    for model in ("large", "writer", "smart"):
        assert real.chat("openai", model, text="\x1b[31m <script>x</script> \u202eevil").status == 200
    assert real.chat("anthropic", "north/large", stream=True).status == 200
    assert real.chat("openai", "broken").status == 500
    logged(real, 5)
    signed_in(page, real)
    shows(page, "north/large", "Spend by model")
    page.until("return document.querySelector('[data-key=\"tile:calls\"]').innerText.includes('5')")
    page.until("return document.querySelector('.plot .bar')")
    shot("real-activity")
    page.labelled("Calls").click()
    shows(page, "5 calls")
    page.find("[data-key='call:1']").click()
    shows(page, "Request id", "<script>x</script>", "\\u001b[31m", "RLO U+202E", "as the provider said")
    shot("real-call")
    page.press("escape")
    page.gone("dialog")
    page.go(address(real, "?view=calls&model=south/writer"))
    shows(page, "1 call")
    page.go(address(real, "?view=calls&status=error"))
    shows(page, "1 call", "north/broken")
    csv = page.run("return fetch(document.querySelector('a[download]').href).then((answer) => answer.text())")
    assert len(csv.splitlines()) == 2 and "broken" in csv
    lines = page.run("return fetch(document.querySelectorAll('a[download]')[1].href).then((answer) => answer.text())")
    assert [json.loads(line)["asked"] for line in lines.splitlines()] == ["broken"]


def test_every_range_and_group_is_drawn(page: Any, real: Any) -> None:
    assert real.chat("openai", "large").status == 200
    logged(real, 1)
    signed_in(page, real)
    for span, by in (("1h", "all"), ("24h", "model"), ("7d", "provider"), ("30d", "key")):
        page.go(address(real, f"?range={span}&by={by}&metric=calls"))
        page.until("return document.querySelector('.plot .bar') && document.querySelector('.figures-table tbody tr')")
        assert len(page.run("return [...document.querySelectorAll('.columns .panel:first-child .axis text')]")) >= 5


def test_a_key_made_on_the_page_works_and_ends_with_it(page: Any, real: Any) -> None:
    signed_in(page, real, "?view=keys")
    page.labelled("New key").click()
    page.field("Name").type("team")
    page.field("Models").type("north/*")
    for group in ("Rate limits", "More budgets", "Caps on parameters"):
        page.labelled(group).click()
    page.field("Requests").type("100")
    page.field("USD per day").type("5")
    page.labelled("Add a cap").click()
    page.field("Parameter").type("max_tokens")
    page.field("Most").type("200")
    page.labelled("Create the key").click()
    shown = "return [...document.querySelectorAll('dialog input')].find((each) => /^llmr_/.test(each.value))?.value"
    secret = page.until(shown)
    page.labelled("Done").click()
    bearer = {"authorization": f"Bearer {secret}"}
    body = json.dumps({"model": "large", "messages": [{"role": "user", "content": "hi"}]}).encode()
    assert real.send("POST", "/v1/chat/completions", body, **bearer).status == 200
    assert real.send("POST", "/v1/chat/completions", body.replace(b"large", b"writer"), **bearer).status == 403
    shows(page, "Models: north/*", "max_tokens ≤ 200", "100 requests per minute", "of $5.00 today")
    page.labelled("Edit team").click()
    page.field("Models").fill("")
    page.labelled("Save").click()
    page.gone("dialog")
    assert real.send("POST", "/v1/chat/completions", body.replace(b"large", b"writer"), **bearer).status == 200
    page.labelled("Disable team").click()
    page.until_text("#toasts", "team is disabled.")
    assert real.send("POST", "/v1/chat/completions", body, **bearer).status in (401, 403)
    page.labelled("Enable team").click()
    page.until_text("#toasts", "team is enabled.")
    page.labelled("Rotate team").click()
    page.labelled("Rotate").click()
    renewed = page.until(shown)
    page.labelled("Done").click()
    assert real.send("POST", "/v1/chat/completions", body, **bearer).status == 401
    assert real.send("POST", "/v1/chat/completions", body, authorization=f"Bearer {renewed}").status == 200
    before = real.get("/api-keys/team").json["spent"]
    assert before["usd_day"] > 0 and before["tokens_month"] > 0
    page.labelled("Reset spending team").click()
    page.until_text("dialog", f"{before['tokens_day']:,} tokens today")
    page.labelled("Reset spending").click()
    page.until_text("#toasts", "The spending of team is set to zero.")
    assert set(real.get("/api-keys/team").json["spent"].values()) == {0}
    page.labelled("Delete team").click()
    page.labelled("Delete").click()
    page.until_text("#toasts", "team is deleted.")
    assert real.send("POST", "/v1/chat/completions", body, authorization=f"Bearer {renewed}").status == 401


def test_the_first_key_is_an_administrators_and_lets_its_maker_in(page: Any, mock_server: Any, tmp_path: Path) -> None:
    page.allowed = BROKEN
    gateway = Process(tmp_path, CONFIG.format(url=mock_server.base_url.removesuffix("/v1")))
    try:
        page.go(address(gateway, "?view=keys"))
        page.labelled("Create the first key").click()
        page.field("Name").type("me")
        page.labelled("Create the key").click()
        page.until("return [...document.querySelectorAll('dialog input')].some((each) => each.value.startsWith('llmr_'))")
        page.labelled("Done").click()
        shows(page, "admin")
        page.find("[data-key=logout]").click()
        shows(page, "Sign in")
    finally:
        gateway.end()
    assert not gateway.faults(), gateway.log


def test_the_calls_of_a_key_are_a_link_away(page: Any, real: Any) -> None:
    body = json.dumps({"name": "team"}).encode()
    made = real.send("POST", "/api-keys", body, content_type="application/json").json
    chat = json.dumps({"model": "large", "messages": [{"role": "user", "content": "hi"}]}).encode()
    assert real.send("POST", "/v1/chat/completions", chat, authorization=f"Bearer {made['key']}").status == 200
    assert real.chat("openai", "large").status == 200
    logged(real, 2)
    signed_in(page, real, "?view=keys")
    page.find(f"[data-key='key:{made['item']['id']}']").click()
    shows(page, "1 call")
    assert page.run("return document.querySelector('[name=key]').selectedOptions[0].text") == "team"
    page.go(f"http://127.0.0.1:{real.port}/v1/monitor?by=key&metric=calls")  # any path that ends so
    page.until("return [...document.querySelectorAll('.legend bdi')].some((each) => each.innerText === 'team')")


def test_a_gateway_that_keeps_nothing_says_so(page: Any, mock_server: Any, tmp_path: Path) -> None:
    page.allowed = BROKEN
    config = CONFIG.format(url=mock_server.base_url.removesuffix("/v1")).replace("log_bodies = true", 'store = "off"')
    gateway = Process(tmp_path, config)
    try:
        page.go(address(gateway))
        shows(page, "calls are not stored", "Models and Try it work without.")
        assert page.text("#banner") == "" and page.text(".live").startswith("Live")
        page.go(address(gateway, "?view=try&model=large"))
        page.field("Message").type("still here?")
        page.press("enter")
        page.until_text(".turn-foot", "end ")
        page.go(address(gateway, "?view=models"))
        shows(page, "north/large")
    finally:
        gateway.end()
    assert not gateway.faults(), gateway.log


def test_a_switch_takes_a_model_out_and_puts_it_back(page: Any, real: Any) -> None:
    signed_in(page, real, "?view=models")
    shows(page, "north/large", "$2.00 / $8.00", "smart", "priority")
    page.labelled("Model north/large").click()
    page.until_text("#toasts", "north/large is off.")
    assert real.chat("openai", "north/large").status in (404, 503)
    page.labelled("Model north/large").click()
    page.until_text("#toasts", "north/large is on.")
    assert real.chat("openai", "north/large").status == 200
    page.labelled("Provider south").click()
    page.until_text("#toasts", "south is off.")
    assert real.chat("openai", "writer").status in (404, 503)


def test_a_conversation_through_the_real_gateway(page: Any, real: Any, shot: Any) -> None:
    signed_in(page, real, "?view=try&model=smart")
    page.until_text(".candidates", "north/large")
    page.field("Message").type("Tell me more, please")
    page.press("enter")
    page.until_text(".answer-text", "Tell me more, please")
    page.until_text(".turn-foot", "cost $")
    assert "north/large" in page.text(".turn-foot") and "2 attempts" in page.text(".turn-foot")
    shot("real-try")
    page.labelled("The call").click()
    shows(page, "north/broken", "The answer, ")
    page.press("escape")
    page.gone("dialog")
    page.go(address(real, "?view=try&model=slow"))
    page.field("Message").type("one two three four five six seven eight nine ten")
    page.press("enter")
    page.until("return document.querySelector('.answer-text')?.innerText.length > 10")
    page.labelled("Stop").click()
    page.until_text(".turn-foot", "stopped")
    logged(real, 1, "status=client_gone")
    page.go(address(real, "?view=calls&status=client_gone"))
    shows(page, "1 call", "left")


def test_a_session_asks_for_the_header_that_no_other_site_can_send(page: Any, real: Any) -> None:
    signed_in(page, real)
    post = """
        const body = JSON.stringify({ model: "large", messages: [{ role: "user", content: "hi" }] });
        const headers = arguments[0] ? { "x-llm-router-csrf": "1" } : {};
        return fetch("/v1/chat/completions", { method: "POST", body, headers }).then((answer) => answer.status)"""
    assert page.run(post, False) == 403
    assert page.run(post, True) == 200
    assert page.run("return document.cookie") == "", "a script cannot read the session"


def test_a_provider_and_a_model_added_on_the_page_answer(page: Any, real: Any, mock_server: Any) -> None:
    page.allowed = BROKEN
    signed_in(page, real, "?view=models")
    page.labelled("Add a provider").click()
    page.field("Name").fill("east")
    page.run("arguments[0].value = 'vllm'; arguments[0].dispatchEvent(new Event('change'))", page.field("Type"))
    page.field("Address").type("no address")
    page.labelled("Add the provider").click()
    page.until_text("dialog .wrong", "no address")
    assert page.run("return document.activeElement.name") == "base_url"
    page.field("Address").fill(mock_server.base_url)
    page.labelled("Add the provider").click()
    page.until_text("#toasts", "east is added.")
    page.labelled("Add a model").click()
    page.run("arguments[0].value = 'east'; arguments[0].dispatchEvent(new Event('change'))", page.field("Provider"))
    page.field("Name").type("fresh")
    page.field("Name at the provider").type("demo")
    page.field("Input").type("-1")
    page.labelled("Add the model").click()
    page.until("return document.activeElement.name === 'config.input_usd_per_mtok' && document.querySelector('dialog .wrong')")
    page.field("Input").fill("2")
    page.labelled("Add the model").click()
    page.until_text("#toasts", "east/fresh is added.")
    assert real.chat("openai", "east/fresh").status == 200
    page.run("document.getElementById('toasts').replaceChildren()")  # which lie over the last row for some seconds
    page.labelled("Edit model east/fresh").click()
    page.labelled("Remove").click()
    page.until_text("dialog", "Its calls stay in the log.")
    page.labelled("Remove").click()
    page.until_text("#toasts", "east/fresh is removed.")
    page.labelled("Edit provider south").click()
    page.field("Address").fill("http://127.0.0.1:9/v2")
    page.labelled("Save").click()
    page.until_text("#toasts", "south is saved.")
    page.labelled("Edit provider south").click()
    page.labelled("Undo changes").click()
    page.labelled("Undo").click()
    page.until_text("#toasts", "Restored from the file.")
    assert real.chat("openai", "writer").status == 200


def test_spend_is_divided_by_tags_and_end_users(page: Any, real: Any) -> None:
    body = {"model": "large", "messages": [{"role": "user", "content": "hi"}]}
    for user, tags in (("u-1", "search, nightly"), ("u-2", "search")):
        data = json.dumps({**body, "user": user}).encode()
        assert (
            real.send("POST", "/v1/chat/completions", data, authorization=f"Bearer {ADMIN}", x_llm_router_labels=tags).status
            == 200
        )
    logged(real, 2)
    signed_in(page, real, "?view=activity&by=tag&metric=calls")
    page.until("return document.querySelectorAll('.figures-table tbody tr').length === 2")
    rows = (
        "return [...document.querySelectorAll('.figures-table tr')].map((row) => [...row.cells].map((cell) => cell.innerText))"
    )
    assert [(row[0].strip(), row[1]) for row in page.run(rows)[1:]] == [("search", "2"), ("nightly", "1")]
    page.find("[data-key='group:nightly']").click()
    shows(page, "1 call")
    page.find("[data-key='call:1']").click()
    page.until_text("dialog .facts", "u-1")
    page.until_text("dialog .facts", "nightly")
    page.press("escape")
    page.go(address(real, "?view=activity&by=user"))
    page.until_text(".figures-table", "u-2")


def test_errors_of_callers_are_apart_from_those_of_providers(page: Any, real: Any) -> None:
    assert real.chat("openai", "large").status == 200
    assert real.chat("openai", "nothing-like-it").status == 404
    assert real.chat("openai", "broken").status == 500
    logged(real, 3)
    signed_in(page, real)
    page.until_text("[data-key='tile:callers']", "1 refused or invalid")
    page.until_text("[data-key='tile:errors']", "1 failed")
    page.find("[data-key='error:caller_error:model_not_found']").click()
    shows(page, "1 call", "Unknown model", "nothing-like-it")
    page.find("[data-key='call:2']").click()
    page.until_text("dialog .message", "Error of the caller.")
