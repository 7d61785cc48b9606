"""The monitor page in a real browser: every view with data, without any, with errors, with hostile texts."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.slow

VIEWS = {  # view -> what it shows of the pretended gateway
    "activity": ["Spend by model", "claude/sonnet", "Too many requests", "First output p50", "Of callers", "1,080"],
    "calls": ["120 calls", "smart", "openai/gpt-4.1", "team-search", "$0.0042"],
    "models": [
        "paused after failures, back in 12 s",
        "weight 0 now, not 40",
        "37 failed in a row",
        "only if the others fail",
        "no key",
        "weighted",
        "$2.00 / $8.00",
        "60 requests per minute",
    ],
    "keys": ["team-search", "$6.20 of $20.00 this month", "disabled", "in the configuration"],
    "try": ["openai/gpt-4.1 would be tried first.", "drawn less often", "No messages yet."],
}
EMPTY = {
    "activity": "No calls in this time.",
    "calls": "No calls in this time.",
    "models": "No provider is configured.",
    "keys": "No key yet.",
    "try": "No messages yet.",
}
REFRESH = "document.dispatchEvent(new Event('visibilitychange'))"  # what the page does every five seconds
FAULT = (500, {"error": {"message": "the store cannot be read", "type": "server_error", "code": "internal", "param": None}})
UNSEEN = "\x1b[31mred\x1b[0m\u202eevil\u2066\x00"
HOSTILE = f"{UNSEEN}<script>window.pwned = 1</script><img src=x onerror='window.pwned = 1'>\u202c javascript:alert(1)"
NOTHING_MADE = "main script, main img, dialog script, dialog img"
NOTHING_HIDDEN = r"""
    return [...document.querySelectorAll("*")].every((node) => [...node.attributes].every(
        (each) => each.name === "value" || !/[\u202e\u001b]/.test(each.value)))"""
BATCHES = "Batches: may upload files and start batches despite its limits, which do not apply inside a batch"
BROKEN = ("Failed to load resource",)  # what the console says of every status from 400 on, and of a server that is gone


def open_view(page: Any, gateway: Any, query: str) -> None:
    page.go(f"{gateway.url}?{query}")
    page.until(
        "return document.querySelector('main h1') && !document.querySelector('.loading') && document.title.includes('·')"
    )


def shows(page: Any, *texts: str) -> None:
    for text in texts:
        page.until("return document.body.innerText.includes(arguments[0])", text)


def query_of(page: Any) -> dict[str, str]:
    found: dict[str, str] = page.run("return Object.fromEntries(new URLSearchParams(location.search))")
    return found


# ------------------------------------------------------------------------------------------------------------ every view


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_shows_what_the_gateway_knows(page: Any, gateway: Any, shot: Any, view: str) -> None:
    open_view(page, gateway, f"view={view}")
    shows(page, *VIEWS[view])
    assert page.run("return document.querySelector('#nav [aria-current=page]').href").endswith(f"view={view}")
    shot(f"{view}-light")


@pytest.mark.parametrize("view", VIEWS)
def test_an_empty_gateway_says_what_to_do_first(page: Any, empty: Any, shot: Any, view: str) -> None:
    open_view(page, empty, f"view={view}")
    shows(page, EMPTY[view])
    shot(f"{view}-empty")


@pytest.mark.parametrize("view", ["activity", "calls", "models", "keys"])
def test_an_error_has_its_code_its_reason_and_a_way_on(page: Any, gateway: Any, shot: Any, view: str) -> None:
    page.allowed = BROKEN
    gateway.answers["*"] = FAULT
    open_view(page, gateway, f"view={view}")
    shows(page, "the store cannot be read", "internal", "The gateway's log has the reason.")
    shot(f"{view}-error")
    del gateway.answers["*"]
    page.labelled("Try again").click()
    shows(page, *VIEWS[view][:2])
    page.until("return document.querySelector('#banner').innerText === ''")


def test_data_stays_when_the_gateway_goes_and_the_page_says_since_when(page: Any, gateway: Any, shot: Any) -> None:
    page.allowed = BROKEN
    open_view(page, gateway, "view=activity")
    shows(page, "1,080")
    gateway.is_down = True
    page.run(REFRESH)
    page.until_text("#banner", "The gateway has not answered since")
    assert "What you see is from" in page.text("#banner")
    assert "1,080" in page.text("main")
    assert page.text(".live").startswith("Not reachable")
    shot("activity-unreachable")
    gateway.is_down = False
    page.run(REFRESH)
    page.until("return document.querySelector('#banner').innerText === ''")
    page.until("return document.querySelector('.live').innerText.startsWith('Live')")


def test_a_page_opened_while_the_gateway_is_away_comes_to_life_with_it(page: Any, gateway: Any) -> None:
    page.allowed = BROKEN
    gateway.answers["GET monitor/me"] = (
        503,
        {"error": {"message": "the gateway is shutting down", "code": "unavailable", "type": "x", "param": None}},
    )
    page.go(gateway.url)
    shows(page, "the gateway is shutting down")
    del gateway.answers["GET monitor/me"]
    page.run(REFRESH)
    shows(page, "1,080")


# --------------------------------------------------------------------------------------------------------- hostile texts


HOSTILE_FIELDS = (
    "asked", "served", "provider", "model", "error", "message", "key_name", "client", "finish", "request_id", "kind",
    "protocol", "ended",
)  # fmt: skip


def hostile(gateway: Any, text: str) -> None:
    """`text` in every place where a caller, a provider or a colleague may put one."""
    row = {**dict.fromkeys(HOSTILE_FIELDS, text), "failed": [text], "lost": [text]}
    gateway.rows = [{**each, **row, "id": 5000 + index} for index, each in enumerate(gateway.rows[:3])]
    gateway.keys = [{**gateway.keys[0], "name": text, "owner": text, "note": text, "hint": text, "allowed_models": [text]}]
    hostile_catalog(gateway.catalog, text)
    statistics = with_hostile_groups(gateway.get_monitor_statistics, text, errors=[{"error": text, "count": 3}])
    series = with_hostile_groups(gateway.get_monitor_grouped_time_series, text)
    gateway.answers.update(
        {
            "GET monitor/statistics": statistics,
            "GET monitor/grouped-time-series": series,
            "POST route": (200, hostile_decision(text)),
        }
    )
    bodies = {"request": text, "response": said(text), "request_cut": False, "response_cut": False, "kept": True}
    gateway.answers["GET monitor/invocations/5001"] = (200, {**gateway.rows[1], "bodies": bodies})


def said(text: str) -> str:
    """The body of an answer."""
    return json.dumps({"choices": [{"message": {"content": text}}]})


def hostile_catalog(catalog: dict[str, Any], text: str) -> None:
    for each in catalog["models"]:
        health = {**each["health"], "last_error": text, "state": text}
        each.update(display_name=text, description=text, tags=[text], health=health)
    for each in catalog["groups"]:
        each.update(name=text, description=text, strategy=text, fallbacks=[text])
        each["members"][0].update(model=text, selector=text)
    for each in catalog["providers"]:
        each.update(name=text, base_url=text, api=text)


def with_hostile_groups(real: Any, text: str, **more: Any) -> Any:
    """An endpoint whose groups are named with `text`."""

    def answer(query: dict[str, str], body: Any) -> Any:
        status, found = real(query, body)
        groups = [{**each, "name": f"{text}{index}"} for index, each in enumerate(found["groups"])]
        return status, {**found, "groups": groups, **more}

    return answer


def hostile_decision(text: str) -> dict[str, Any]:
    words = dict.fromkeys(("model", "state", "why", "selector", "selector_error"), text)
    numbers = {"weight": 1, "effective_weight": 1, "share": 1.0, "back_in_s": 0}
    explain = {"group": text, "strategy": text, "chosen": text, "candidates": [{**words, **numbers}]}
    return {"model": text, "provider": text, "explain": explain}


@pytest.mark.parametrize("view", [*VIEWS, "calls&call=5001"])
def test_a_hostile_text_is_text_and_what_it_hides_is_shown(page: Any, gateway: Any, shot: Any, view: str) -> None:
    hostile(gateway, HOSTILE)
    open_view(page, gateway, f"view={view}")
    shows(page, "<script>window.pwned = 1</script>", "ESC[31mred", "RLO U+202E", "U+2066", "NUL")
    assert page.run("return window.pwned === undefined && document.querySelector(arguments[0]) === null", NOTHING_MADE)
    assert page.run(r"return !/[\u202a-\u202e\u2066-\u2069\u001b\u0000]/.test(document.body.innerText)")
    assert page.run(NOTHING_HIDDEN)
    shot(f"{view.replace('&', '-')}-hostile")


@pytest.mark.parametrize("view", [*VIEWS, "calls&call=5001"])
def test_a_name_of_100_kilobytes_breaks_nothing(page: Any, gateway: Any, view: str) -> None:
    hostile(gateway, "M" * 100_000)
    page.size(360, 740)
    open_view(page, gateway, f"view={view}")
    shows(page, "MMMMMMMM")
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")


def test_an_answer_with_hostile_words_is_text_too(page: Any, gateway: Any) -> None:
    from pretend import piece

    gateway.pieces = lambda body: iter([piece(HOSTILE[:30]), piece(HOSTILE[30:]), piece("", "stop"), b"data: [DONE]\n\n"])
    open_view(page, gateway, "view=try&model=smart")
    page.field("Message").type("hi")
    page.press("enter")
    page.until_text(".answer-text", "<script>window.pwned = 1</script>")
    page.until_text(".answer-text", "RLO U+202E")
    assert page.run("return window.pwned === undefined")


def test_markup_made_of_text_is_refused_by_the_browser_itself(page: Any, gateway: Any) -> None:
    page.allowed = ("require-trusted-types-for", "TrustedHTML", "Trusted Type")
    open_view(page, gateway, "view=activity")
    refused = "try { document.body.innerHTML = '<b>x</b>'; return 'made'; } catch (error) { return error.name; }"
    assert page.run(refused) == "TypeError"


def test_nothing_comes_from_or_goes_to_anywhere_else(page: Any, gateway: Any) -> None:
    for view in VIEWS:
        open_view(page, gateway, f"view={view}")
        shows(page, VIEWS[view][0])
        assert (
            page.run(
                "return performance.getEntriesByType('resource').filter((each) => !each.name.startsWith(location.origin + '/'))"
            )
            == []
        )
    page.allowed = ("Content Security Policy", "Refused to connect", "violates")
    assert page.run("return fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    assert any("connect-src" in line for line in page.console())


# ------------------------------------------------------------------------------------------------------------- activity


def test_ranges_groups_and_tiles_are_addresses(page: Any, gateway: Any) -> None:
    open_view(page, gateway, "view=activity")
    page.labelled("7 d").click()
    page.until("return new URLSearchParams(location.search).get('range') === '7d'")
    page.until_text(".segmented [aria-current]", "7 d")
    page.labelled("Provider").click()
    page.until_text("h2", "Spend by provider")
    page.find("[data-key='tile:latency']").click()
    page.until_text("h2", "Latency p95 by provider")
    page.labelled("p99").click()
    page.until_text("h2", "Latency p99 by provider")
    assert query_of(page) == {"view": "activity", "range": "7d", "by": "provider", "metric": "latency", "q": "p99"}
    assert any(
        query.get("range") == "7d" and query.get("group_by") == "provider"
        for query in gateway.came("GET", "monitor/grouped-time-series")
    )
    page.back()
    page.until_text("h2", "Latency p95 by provider")
    page.back()
    page.until_text("h2", "Spend by provider")
    page.forward()
    page.until_text("h2", "Latency p95 by provider")


def test_charts_tell_their_figures_to_mouse_keyboard_and_table(page: Any, gateway: Any, shot: Any) -> None:
    open_view(page, gateway, "view=activity&metric=calls")
    page.until("return document.querySelector('.plot .bar')")
    box = page.find(".plot").box()
    page.hover(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.until_text(".tip", "Total")
    assert "UTC" in page.text(".tip") and "claude/sonnet" in page.text(".tip")
    shot("activity-tooltip")
    page.hover(5, 5)
    page.until("return document.querySelector('.tip').hidden")
    page.run("document.querySelector('.plot').focus()")
    page.press("right")
    page.until("return document.querySelector('#announcer').innerText.includes('openai/gpt-4.1')")
    first = page.text("#announcer")
    page.press("right")
    page.until("return document.querySelector('#announcer').innerText !== arguments[0]", first)
    page.press("escape")
    page.until("return document.querySelector('.tip').hidden")
    page.labelled("Show as a table").click()
    page.until("return document.querySelectorAll('.as-table tbody tr').length === 24")
    ticks = page.run("return [...document.querySelectorAll('.plot .axis text')].map((each) => each.textContent)")
    assert "0" in ticks and any(":00" in each for each in ticks), ticks


def test_a_group_without_anything_in_this_time_is_in_no_legend_and_no_table(page: Any, gateway: Any) -> None:
    real = gateway.get_monitor_grouped_time_series

    def free(query: dict[str, str], body: Any) -> Any:
        status, found = real(query, body)
        for step in found["groups"][1]["data"]:
            step["cost_usd"] = 0.0
        for step in found["groups"][2]["data"]:
            step.update(calls=0, cost_usd=0.0, errors=0, caller_errors=0, success=0)
        return status, found

    gateway.answers["GET monitor/grouped-time-series"] = free
    names = "return [...document.querySelectorAll('.wide .legend bdi')].map((each) => each.innerText)"
    open_view(page, gateway, "view=activity")
    assert page.until(names) == ["openai/gpt-4.1", "office/qwen-72b", "other"]
    page.labelled("Show as a table").click()
    page.until("return document.querySelectorAll('.wide .as-table thead th').length === 4")
    open_view(page, gateway, "view=activity&metric=errors")
    assert page.until(names) == ["openai/gpt-4.1", "claude/sonnet", "office/qwen-72b", "other"]


def test_plain_words_keep_their_codes_at_hand(page: Any, gateway: Any) -> None:
    open_view(page, gateway, "view=calls&call=997")
    titles = "return [...document.querySelectorAll(arguments[0])].map((each) => each.title)"
    assert set(page.until(titles, ".calls .small-text")) == {"rate_limited"}
    page.until_text("dialog .message code", "rate_limited")
    assert page.text("dialog .message strong").strip() == "Error of the provider."
    open_view(page, gateway, "view=models")
    assert any(each.startswith("open: It failed several times") for each in page.until(titles, ".models .badge.bad"))


def test_new_figures_come_by_themselves_and_a_pause_stops_them(page: Any, gateway: Any) -> None:
    from pretend import call

    open_view(page, gateway, "view=activity")
    shows(page, "1,080")
    page.run("window.kept = document.querySelector('.plot')")
    gateway.rows += [call(number) for number in range(120, 130)]
    shows(page, "1,170")  # by the page's own clock
    assert page.run("return window.kept.isConnected"), "the chart is drawn anew inside, and not replaced"
    page.find(".live").click()
    page.until_text(".live", "Paused")
    before = len(gateway.came("GET", "monitor/statistics"))
    page.run(REFRESH)
    page.run(REFRESH)
    assert len(gateway.came("GET", "monitor/statistics")) == before
    page.find(".live").click()
    page.until_text(".live", "Live")
    gateway.rows += [call(number) for number in range(130, 140)]
    page.run(REFRESH)
    shows(page, "1,260")


def test_a_store_that_lost_calls_is_reported(page: Any, gateway: Any) -> None:
    from pretend import stored

    real = gateway.get_monitor_statistics
    gateway.answers["GET monitor/statistics"] = lambda query, body: (
        200,
        {**real(query, body)[1], "store": stored(dropped=7, last_error="database or disk is full")},
    )
    open_view(page, gateway, "view=activity")
    shows(page, "7 calls could not be written: database or disk is full.")


# ---------------------------------------------------------------------------------------------------------------- calls


def test_filters_stand_in_the_address_and_survive_a_reload(page: Any, gateway: Any) -> None:
    open_view(page, gateway, "view=calls")
    shows(page, "120 calls")
    page.field("Search").type("rate_limited")
    shows(page, "37 calls")
    page.run("arguments[0].value = 'error'; arguments[0].dispatchEvent(new Event('change'))", page.find("[name=status]"))
    page.until("return new URLSearchParams(location.search).get('status') === 'error'")
    assert query_of(page)["search"] == "rate_limited"
    page.go(page.url)
    shows(page, "17 calls")
    assert page.run("return document.querySelector('[name=search]').value") == "rate_limited"
    link = page.find("a[download='calls.csv']").attribute("href")
    assert "search=rate_limited" in link and "status=error" in link and "monitor/export.csv" in link
    page.labelled("Clear all filters").click()
    shows(page, "120 calls")
    assert page.run("return document.querySelector('[name=search]').value") == ""


def test_pages_follow_the_cursor_there_and_back(page: Any, gateway: Any) -> None:
    open_view(page, gateway, "view=calls")
    first = page.text("tbody th")
    page.labelled("Older").click()
    page.until("return document.querySelector('tbody th').innerText !== arguments[0]", first)
    assert query_of(page)["before"] == "50"
    page.labelled("Older").click()
    shows(page, "No older calls in this time.")
    page.labelled("Newer").click()
    page.until("return new URLSearchParams(location.search).get('before') === '50'")
    page.labelled("Newest").click()
    page.until("return document.querySelector('tbody th').innerText === arguments[0]", first)


def test_a_call_opens_in_a_drawer_with_all_that_is_known_of_it(page: Any, gateway: Any, shot: Any) -> None:
    open_view(page, gateway, "view=calls")
    page.find("[data-key='call:995']").click()
    shows(
        page,
        "First output",
        "185 ms",
        "office/qwen-72b · Too many requests rate_limited",
        "u-1",
        "of it from the cache",
        "from the configured prices",
        "logit_bias",
        "req-0005",
        '"messages": []',
        "cut off at log_body_bytes",
        "openai → anthropic",
    )
    assert query_of(page)["call"] == "995"
    shot("call-light")
    page.labelled("The call below").click()
    page.until_text("dialog", "req-0006")
    page.press("escape")
    page.gone("dialog")
    assert "call" not in query_of(page)
    page.back()
    page.until_text("dialog", "req-0006")


def test_a_call_that_is_not_kept_any_more_is_reported(page: Any, gateway: Any) -> None:
    page.allowed = BROKEN
    open_view(page, gateway, "view=calls&call=31337")
    page.until_text("dialog", "no such call")
    page.until_text("dialog", "keep_days")


# --------------------------------------------------------------------------------------------------------- models, keys


def test_a_switch_turns_a_model_off_and_goes_back_when_that_fails(page: Any, gateway: Any) -> None:
    page.allowed = BROKEN
    open_view(page, gateway, "view=models")
    page.labelled("Model openai/gpt-4.1").click()
    page.until_text("#toasts", "openai/gpt-4.1 is off.")
    assert gateway.came("PATCH", "models/openai/gpt-4.1") == [{"is_active": False}]
    page.labelled("Provider claude").click()
    page.until_text("#toasts", "claude is off.")
    assert gateway.came("PATCH", "providers/claude") == [{"is_active": False}]
    gateway.answers["PATCH models/claude/sonnet"] = (
        403,
        {"error": {"message": "not yours", "code": "forbidden", "type": "x", "param": None}},
    )
    switch = page.labelled("Model claude/sonnet")
    switch.click()
    page.until_text("#toasts", "claude/sonnet: not yours")
    page.until("return document.querySelector(\"[data-key='model:claude/sonnet']\").getAttribute('aria-checked') === 'true'")
    assert gateway.csrf == []


def test_models_are_found_by_words_and_tags(page: Any, gateway: Any) -> None:
    open_view(page, gateway, "view=models")
    page.field("Search the models").type("sonnet")
    shows(page, "1 of 4")
    page.go(f"{gateway.url}?view=models&tag=slow")
    shows(page, "1 of 4")
    page.go(f"{gateway.url}?view=models&q=nothing-like-it")
    shows(page, "No model matches.")


def test_a_key_is_made_with_all_its_bounds_and_shown_once(page: Any, gateway: Any, shot: Any) -> None:
    open_view(page, gateway, "view=keys")
    page.labelled("New key").click()
    assert (
        page.run("return [...document.querySelectorAll('dialog label')].filter((each) => each.checkVisibility()).length") == 3
    )
    page.field("Name").type("batch")
    page.field("Models").type("openai/*, claude/sonnet")
    page.field("USD per month").type("12.5")
    page.labelled("Rights").click()
    page.field(BATCHES).click()
    groups = ("Owner and time", "Groups, providers, tags, networks", "Caps on parameters", "Rate limits", "Cached answers")
    for group in (*groups, "Soft budgets"):
        page.labelled(group).click()
    page.field("Same answer again for, seconds").type("0")
    page.field("Owner").type("ops")
    page.field("Networks").type("10.0.0.0/8")
    page.labelled("Add a cap").click()
    page.field("Parameter").type("max_tokens")
    page.field("Most").type("4000")
    page.field("Requests").type("60")
    page.field("Soft: USD per month").type("10")
    shot("key-form")
    page.labelled("Create the key").click()
    page.until(
        "return [...document.querySelectorAll('dialog input')].some((each) => each.value === 'llmr_nnnnnnnnnnnnnnnnnnnn')"
    )
    shot("key-shown")
    (sent,) = gateway.came("POST", "api-keys")
    assert sent == {
        "name": "batch",
        "owner": "ops",
        "is_admin": False,
        "is_monitor": False,
        "allow_batches": True,
        "cache_ttl_s": 0,
        "allowed_models": ["openai/*", "claude/sonnet"],
        "networks": ["10.0.0.0/8"],
        "parameter_limits": {"max_tokens": 4000},
        "limits": {"max_requests": 60, "per_seconds": 60},
        "budget": {"usd_per_month": 12.5},
        "soft_budget": {"usd_per_month": 10},
    }
    page.labelled("Done").click()
    page.gone("dialog")
    shows(page, "batch")
    assert "llmr_nnnn" not in page.run("return document.documentElement.outerHTML")
    assert gateway.csrf == []


def test_an_edit_sends_what_changed_and_null_takes_a_limit_away(page: Any, gateway: Any) -> None:
    open_view(page, gateway, "view=keys")
    page.labelled("Edit team-search").click()
    page.field("USD per month").fill("")
    page.labelled("Owner and time 1 set").click()
    page.field("Note").fill("for the nightly run")
    page.labelled("Save").click()
    page.gone("dialog")
    assert gateway.came("PATCH", "api-keys/id-team-search") == [{"note": "for the nightly run", "budget": None}]


def test_batches_and_the_cache_of_a_key_are_edited_and_shown(page: Any, gateway: Any) -> None:
    gateway.keys[0] |= {"allow_batches": True, "cache_ttl_s": 90.0}
    open_view(page, gateway, "view=keys")
    shows(page, "batches, despite its limits")
    shows(page, "the same answer again for 1 min 30 s")
    page.labelled("Edit team-search").click()
    page.labelled("Rights 1 set").click()
    page.field(BATCHES).click()
    page.labelled("Cached answers 1 set").click()
    page.field("Same answer again for, seconds").fill("")
    page.labelled("Save").click()
    page.gone("dialog")
    assert gateway.came("PATCH", "api-keys/id-team-search") == [{"allow_batches": False, "cache_ttl_s": None}]


def test_a_key_for_monitoring_is_shown_with_what_it_may_read(page: Any, gateway: Any) -> None:
    gateway.keys[1] |= {"is_admin": False, "is_monitor": True}
    open_view(page, gateway, "view=keys")
    shows(page, "statistics only")


def test_spending_is_reset_after_a_question_that_names_key_and_amount_by_keyboard_too(page: Any, gateway: Any) -> None:
    open_view(page, gateway, "view=keys")
    page.labelled("Reset spending team-search").click()
    page.until_text("dialog h2", "Reset the spending of team-search?")
    page.until_text("dialog", "It has spent $0.50 and 1,000 tokens today, $6.20 and 20,000 tokens this month.")
    page.press("escape")
    page.gone("dialog")
    assert gateway.came("POST", "api-keys/id-team-search/reset") == []
    page.until("return document.activeElement.dataset.key === 'reset:id-team-search'")
    page.press("enter")
    page.until_text("dialog h2", "Reset the spending of team-search?")
    assert page.run("return document.activeElement.textContent") == "Cancel", "no key pressed too often resets anything"
    page.press("tab")
    page.press("enter")
    page.until_text("#toasts", "The spending of team-search is set to zero.")
    assert gateway.came("POST", "api-keys/id-team-search/reset") == [{}] and gateway.csrf == []
    page.until_text("[aria-label=Keys]", "$0 of $20.00 this month")
    page.until("return document.activeElement.dataset.key === 'reset:id-team-search'")


def test_spending_of_a_key_of_the_configuration_is_reset_and_a_refusal_is_shown(page: Any, gateway: Any) -> None:
    page.allowed = BROKEN
    error = {"message": "keys cannot be saved without a store", "code": "no_store", "type": "x", "param": None}
    gateway.answers["POST api-keys/id-ci/reset"] = (409, {"error": error})
    open_view(page, gateway, "view=keys")
    page.labelled("Reset spending ci").click()
    page.labelled("Reset spending").click()
    page.until_text("#toasts .toast.error", "keys cannot be saved without a store")
    assert not page.has("[aria-label='Edit ci']")
    del gateway.answers["POST api-keys/id-ci/reset"]
    page.labelled("Reset spending ci").click()
    page.labelled("Reset spending").click()
    page.until_text("#toasts", "The spending of ci is set to zero.")


def test_a_refused_form_keeps_what_was_typed(page: Any, gateway: Any) -> None:
    page.allowed = BROKEN
    gateway.answers["POST api-keys"] = (
        409,
        {"error": {"message": "the first key must be an administrator's", "code": "conflict", "type": "x", "param": None}},
    )
    open_view(page, gateway, "view=keys")
    page.labelled("New key").click()
    page.field("Name").type("first")
    page.labelled("Create the key").click()
    page.until_text("dialog", "the first key must be an administrator's")
    assert page.run("return document.querySelector('dialog [name=name]').value") == "first"


def test_a_number_that_the_browser_cannot_read_is_not_sent_as_no_budget(page: Any, gateway: Any) -> None:
    open_view(page, gateway, "view=keys")
    page.labelled("New key").click()
    page.field("Name").type("first")
    page.field("USD per month").type("5e")
    page.labelled("Create the key").click()
    page.until("return document.querySelector('dialog .wrong')?.textContent === 'is not a number'")
    assert gateway.came("POST", "api-keys") == []
    page.field("USD per month").fill("5")
    page.labelled("Caps on parameters").click()
    page.labelled("Add a cap").click()
    page.field("Most").type("9")
    page.labelled("Create the key").click()
    page.until("return document.querySelector('dialog .wrong')?.textContent === 'a cap needs the name of its parameter'")
    assert gateway.came("POST", "api-keys") == []
    page.field("Parameter").type("max_tokens")
    page.labelled("Create the key").click()
    page.labelled("Done").click()
    [sent] = gateway.came("POST", "api-keys")
    assert (sent["budget"], sent["parameter_limits"]) == ({"usd_per_month": 5}, {"max_tokens": 9})


def test_what_is_wrong_with_a_key_stands_at_its_field_which_is_unfolded(page: Any, gateway: Any) -> None:
    page.allowed = BROKEN
    message = "budget.usd_per_day: must be at least 0; networks: is no network"
    error = {"message": message, "code": "bad_request", "type": "x", "param": "budget.usd_per_day"}
    gateway.answers["POST api-keys"] = (400, {"error": error})
    open_view(page, gateway, "view=keys")
    page.labelled("New key").click()
    page.field("Name").type("first")
    page.labelled("Create the key").click()
    page.until("return document.querySelectorAll('dialog .wrong').length === 2")
    told = (
        "[...document.querySelectorAll('dialog .wrong')].map((each) => [each.parentElement.innerText, each.checkVisibility()])"
    )
    networks, budget = page.run(f"return {told}")
    assert networks[0].startswith("Networks") and networks[0].endswith("is no network") and networks[1]
    assert budget[0].startswith("USD per day") and budget[0].endswith("must be at least 0") and budget[1]
    assert not page.has("dialog .failure")


def test_what_fits_nothing_is_said_with_the_key_that_was_made_and_after_a_change(page: Any, gateway: Any) -> None:
    warning = 'the key "batch": allowed_models has "opnai/*", which matches nothing in the configuration'
    gateway.warnings = [warning]
    open_view(page, gateway, "view=keys")
    page.labelled("New key").click()
    page.field("Name").type("batch")
    page.field("Models").type("opnai/*")
    page.labelled("Create the key").click()
    page.until_text("dialog", warning)
    page.labelled("Done").click()
    page.gone("dialog")
    page.labelled("Edit team-search").click()
    page.field("Models").fill("opnai/*")
    page.labelled("Save").click()
    page.until_text("#toasts .toast.warn", warning)


def test_keys_are_disabled_rotated_and_deleted_after_a_question(page: Any, gateway: Any) -> None:
    open_view(page, gateway, "view=keys")
    page.labelled("Disable team-search").click()
    page.until_text("#toasts", "team-search is disabled.")
    assert gateway.came("PATCH", "api-keys/id-team-search") == [{"is_active": False}]
    page.labelled("Rotate team-search").click()
    page.labelled("Rotate").click()
    page.until("return [...document.querySelectorAll('dialog input')].some((each) => each.value.startsWith('llmr_rrrr'))")
    page.labelled("Done").click()
    page.gone("dialog")
    page.labelled("Delete team-search").click()
    page.labelled("Cancel").click()
    page.gone("dialog")
    assert gateway.came("DELETE", "api-keys/id-team-search") == []
    page.labelled("Delete team-search").click()
    page.labelled("Delete").click()
    page.until_text("#toasts", "team-search is deleted.")
    assert len(gateway.came("DELETE", "api-keys/id-team-search")) == 1
    assert gateway.csrf == []


# ------------------------------------------------------------------------------------------------------------- sign in


def test_signing_in_and_out(page: Any, gateway: Any, shot: Any) -> None:
    page.allowed = BROKEN
    gateway.me = {**gateway.me, "needs_login": True}
    page.go(f"{gateway.url}?view=keys")
    shows(page, "Sign in")
    assert not page.has("#nav a"), "nothing to go to before that"
    shot("login")
    page.field("Admin key").type("wrong")
    page.press("enter")
    shows(page, "the key is not known to this gateway")
    page.field("Admin key").fill("right")
    page.press("enter")
    shows(page, "team-search")
    assert "view=keys" in page.url
    page.find("[data-key=logout]").click()
    shows(page, "Sign in")
    assert gateway.csrf == []


def test_a_session_that_ends_leads_to_the_sign_in_and_back(page: Any, gateway: Any) -> None:
    from pretend import REFUSED

    page.allowed = BROKEN
    open_view(page, gateway, "view=activity")
    shows(page, "1,080")
    gateway.answers["*"] = lambda query, body: (401, REFUSED) if body is None else gateway.post_monitor_login(query, body)
    page.run(REFRESH)
    shows(page, "This page shows all requests of all callers")
    page.field("Admin key").type("right")
    page.press("enter")
    shows(page, "1,080")


# ------------------------------------------------------------------------------------------------------- hands and eyes


def test_the_keyboard_alone_is_enough(page: Any, gateway: Any) -> None:
    open_view(page, gateway, "view=activity")
    page.press("tab")
    assert page.run("return document.activeElement.className") == "skip"
    page.press("enter")
    assert page.run("return document.activeElement.id") == "main"
    page.run("document.querySelector('.brand').focus()")
    page.press("tab", "tab")
    assert page.run("return document.activeElement.innerText") == "Calls"
    page.press("enter")
    page.until("return document.activeElement.tagName === 'H1' && document.activeElement.innerText === 'Calls'")
    page.until("return document.querySelector('[data-key^=\"call:\"]')")
    while not page.run("return document.activeElement.dataset.key?.startsWith('call:')"):
        page.press("tab")
    opened = page.run("return document.activeElement.dataset.key")
    page.press("enter")
    page.until("return document.querySelector('dialog[open]')?.contains(document.activeElement)")
    page.until_text("dialog", "Request id")
    for _ in range(14):
        page.press("tab")
        assert page.run(
            "const now = document.activeElement; return now === document.body || document.querySelector('dialog').contains(now)"
        )
    page.press("escape")
    page.gone("dialog")
    assert page.run("return document.activeElement.dataset.key") == opened


def test_the_focus_stays_where_it_was_when_new_data_comes(page: Any, gateway: Any) -> None:
    from pretend import call

    open_view(page, gateway, "view=calls")
    page.run("document.querySelector(\"[data-key='call:997']\").focus()")
    gateway.rows.insert(0, call(0, id=2000))
    page.run(REFRESH)
    page.until("return document.querySelector(\"[data-key='call:2000']\")")
    assert page.run("return document.activeElement.dataset.key") == "call:997"


def test_colours_follow_the_system_until_one_is_chosen(page: Any, gateway: Any) -> None:
    colour = "return getComputedStyle(document.body).backgroundColor"
    page.scheme("dark")
    open_view(page, gateway, "view=activity")
    dark = page.run(colour)
    page.scheme("light")
    light = page.until("const now = getComputedStyle(document.body).backgroundColor; return now !== arguments[0] && now", dark)
    theme = "[data-key=theme]"
    page.find(theme).click()  # light
    page.scheme("dark")
    assert page.run(colour) == light
    page.find(theme).click()  # dark
    page.scheme("light")
    page.until(f"{colour} === arguments[0]", dark)
    page.go(page.url)
    page.until(f"{colour} === arguments[0]", dark)


def test_reduced_motion_is_respected(page: Any, gateway: Any) -> None:
    page.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
    open_view(page, gateway, "view=activity")
    assert page.run("return getComputedStyle(document.querySelector('.live-dot')).animationName") == "none"
