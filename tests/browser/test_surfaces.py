"""Every view, drawer and dialog, by day and by night, on a desk and on a telephone: usable by all, and a picture of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.slow

BROKEN = ("Failed to load resource",)
FAULT = (500, {"error": {"message": "the store cannot be read", "type": "server_error", "code": "internal", "param": None}})
NO_MEMBER = {"message": "smart: no healthy member available", "code": "no_member", "type": "x", "param": None}
SIZES = {"desk": (1440, 900), "telephone": (390, 844)}
OPEN_ALL = "for (const each of document.querySelectorAll('dialog details')) each.open = true"
ANSWER = """# Two ways

Both are **good**, the *second* is ~~slow~~ thorough. See [the manual](https://example.org/manual_(long)) or https://example.org.

1. Take `first()`:
   ```python
   def first(values: list[int], default: int = 0) -> int:  # far too long for a telephone, so it scrolls by itself
       return values[0] if values else default
   ```
2. Or a list
   - with a part
   - and another

> Careful: it may be empty.

| Way | Time | When |
|---|---|---|
| first | 1 ms | always |
| second | 900 ms | if a thorough answer is worth its time |

---
### The end
"""
# Rows that are as high as half the screen, letters that are under each other for want of room, what is out of sight.
TALL = """
    return [...document.querySelectorAll("main tbody tr, main .cards:not(.wide-cards) > .card")]
        .filter((each) => each.checkVisibility())
        .map((each) => [Math.round(each.getBoundingClientRect().height), each.innerText.slice(0, 60)])
        .filter(([height, text]) => height > arguments[0])"""
BROKEN_WORDS = r"""
    const found = [], top = [...document.querySelectorAll("dialog[open]")].at(-1);
    const within = top ?? document.querySelector("main");
    const walker = document.createTreeWalker(within, NodeFilter.SHOW_TEXT), range = document.createRange();
    while (walker.nextNode()) {
        const node = walker.currentNode;
        if (!node.parentElement.checkVisibility() || node.parentElement.closest(".unseen, pre, .code, svg, textarea")) continue;
        for (const match of node.data.matchAll(/[\p{L}\d]{2,18}/gu)) {
            range.setStart(node, match.index);
            range.setEnd(node, match.index + match[0].length);
            const boxes = [...range.getClientRects()].filter((each) => each.width > 0);
            const tops = new Set(boxes.map((each) => Math.round(each.top)));
            if (tops.size > 1) found.push(`${match[0]} in ${node.parentElement.className || node.parentElement.tagName}`);
        }
    }
    return found"""
SIDEWAYS = """
    const wide = document.documentElement.scrollWidth > innerWidth ? ["the page"] : [];
    const dialogs = [...document.querySelectorAll("dialog[open]")].filter((each) => each.scrollWidth > each.clientWidth + 1);
    const out = [...document.querySelectorAll("main button, main a, main input, main select, dialog button, dialog input")]
        .filter((each) => each.checkVisibility() && !each.closest(".unseen, .md-table, .short"))
        .filter((each) => each.getBoundingClientRect().right > innerWidth + 1);
    return [...wide, ...dialogs.map((each) => each.className), ...out.map((each) => each.outerHTML.slice(0, 90))]"""


def go(page: Any, gateway: Any, query: str) -> None:
    page.go(f"{gateway.url}?{query}")
    page.until("return document.querySelector('main h1') && !document.querySelector('.loading')")


def view(query: str, css: str) -> Callable[[Any, Any], None]:
    def show(page: Any, gateway: Any) -> None:
        go(page, gateway, query)
        page.find(css)

    return show


def dialog(query: str, *labels: str) -> Callable[[Any, Any], None]:
    """A view's dialog, all of it opened."""

    def show(page: Any, gateway: Any) -> None:
        go(page, gateway, query)
        for label in labels:
            page.labelled(label).click()
        page.find("dialog[open]")
        page.run(OPEN_ALL)

    return show


def nothing(query: str) -> Callable[[Any, Any], None]:
    def show(page: Any, gateway: Any) -> None:
        gateway.rows, gateway.keys = [], []
        gateway.catalog = {"models": [], "groups": [], "providers": []}
        go(page, gateway, query)
        page.find(".empty")

    return show


def fault(query: str) -> Callable[[Any, Any], None]:
    def show(page: Any, gateway: Any) -> None:
        gateway.answers["*"] = FAULT
        go(page, gateway, query)
        page.find(".failure")

    return show


def login(page: Any, gateway: Any) -> None:
    gateway.me = {**gateway.me, "needs_login": True}
    page.go(gateway.url)
    page.field("Admin key").type("wrong")
    page.press("enter")
    page.find(".wrong")


def no_labels(page: Any, gateway: Any) -> None:
    for name in ("statistics", "grouped_time_series"):
        real = getattr(gateway, f"get_monitor_{name}")
        path = f"GET monitor/{name.replace('_', '-')}"
        gateway.answers[path] = lambda query, body, real=real: (200, {**real(query, body)[1], "groups": []})
    go(page, gateway, "view=activity&by=tag")
    page.find(".panel .empty")


def new_key(page: Any, gateway: Any) -> None:
    dialog("view=keys", "New key")(page, gateway)
    page.labelled("Add a cap").click()
    page.field("Name").type("batch")


def key_shown(page: Any, gateway: Any) -> None:
    dialog("view=keys", "New key")(page, gateway)
    page.field("Name").type("batch")
    page.labelled("Create the key").click()
    page.until_text("dialog", "It is shown only this once.")


def key_warned(page: Any, gateway: Any) -> None:
    lists = [("allowed_models", "opnai/gpt-5*"), ("allowed_groups", "all-of-the-small-models")]
    gateway.warnings = [
        f'the key "batch": {name} has "{pattern}", which matches nothing in the configuration' for name, pattern in lists
    ]
    key_shown(page, gateway)
    page.until_text("dialog", "which matches nothing in the configuration")


def refused_model(page: Any, gateway: Any) -> None:
    problems = [("models.openai/x.config.context_window", "is no number of tokens"), ("groups[0].name", "is missing")]
    told = [{"path": path, "message": message} for path, message in problems]
    error = {"message": "nothing was changed", "code": "impossible_config", "type": "x", "param": None, "problems": told}
    gateway.answers["POST models"] = (422, {"error": error})
    dialog("view=models", "Add a model")(page, gateway)
    page.field("Name").type("x")
    page.labelled("Add the model").click()
    page.find("dialog .wrong")


def answered(*labels: str) -> Callable[[Any, Any], None]:
    def show(page: Any, gateway: Any) -> None:
        from pretend import piece

        pieces = [piece(ANSWER[at : at + 40]) for at in range(0, len(ANSWER), 40)]
        gateway.pieces = lambda body: iter([*pieces, piece("", "stop"), b"data: [DONE]\n\n"])
        go(page, gateway, "view=try&model=smart")
        page.field("Message").type("Which?")
        page.press("enter")
        page.until_text(".turn-foot", "cost $0.0042")
        for label in labels:
            page.labelled(label).click()

    return show


def not_answered(page: Any, gateway: Any) -> None:
    gateway.answers["POST chat/completions"] = (503, {"error": NO_MEMBER})
    go(page, gateway, "view=try&model=smart")
    page.field("Message").type("Hello?")
    page.press("enter")
    page.find(".turn .failure")


SURFACES: dict[str, Callable[[Any, Any], None]] = {
    "login": login,
    "activity": view("view=activity", ".figures-table tbody tr"),
    "activity-providers-errors": view("view=activity&by=provider&metric=errors", ".figures-table tbody tr"),
    "activity-overall-latency": view("view=activity&by=all&metric=latency", ".figures-table tbody tr"),
    "activity-tags": view("view=activity&by=tag", ".figures-table tbody tr"),
    "activity-users": view("view=activity&by=user&metric=callers", ".figures-table tbody tr"),
    "activity-no-tags": no_labels,
    "activity-filtered": view("view=activity&by=user&tag=search&model=openai/gpt-4.1", ".chip.filter"),
    "activity-empty": nothing("view=activity"),
    "activity-error": fault("view=activity"),
    "calls": view("view=calls&tag=search", ".calls tbody tr"),
    "calls-empty": nothing("view=calls"),
    "call": view("view=calls&call=995", "dialog .said-box"),
    "call-failed": view("view=calls&call=997", "dialog .message"),
    "call-of-a-caller-failed": view("view=calls&call=990", "dialog .message.warn"),
    "call-gone": view("view=calls&call=31337", "dialog .failure"),
    "models": view("view=models", ".models tbody tr"),
    "models-empty": nothing("view=models"),
    "provider-new": dialog("view=models", "Add a provider"),
    "provider-edit": dialog("view=models", "Edit provider office"),
    "provider-remove": dialog("view=models", "Edit provider office", "Remove"),
    "model-new": dialog("view=models", "Add a model"),
    "model-edit": dialog("view=models", "Edit model openai/gpt-4.1"),
    "model-refused": refused_model,
    "keys": view("view=keys", ".keys tbody tr"),
    "keys-empty": nothing("view=keys"),
    "key-new": new_key,
    "key-edit": dialog("view=keys", "Edit team-search"),
    "key-shown": key_shown,
    "key-warned": key_warned,
    "key-reset": dialog("view=keys", "Reset spending team-search"),
    "key-delete": dialog("view=keys", "Delete team-search"),
    "try": view("view=try&model=smart", ".candidates li"),
    "try-answer": answered(),
    "try-raw": answered("Raw text"),
    "try-error": not_answered,
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", SURFACES)
def test_everybody_can_use_it(page: Any, gateway: Any, shot: Any, axe: Any, name: str, size: str) -> None:
    from accessible import problems

    page.allowed = BROKEN
    page.size(*SIZES[size])
    SURFACES[name](page, gateway)
    page.until("return document.querySelectorAll('.loading').length === 0")
    by_day = page.run("return getComputedStyle(document.body).backgroundColor")
    for scheme in ("light", "dark"):
        page.scheme(scheme)
        if scheme == "dark":
            page.until("return getComputedStyle(document.body).backgroundColor !== arguments[0]", by_day)
        shot(f"{name}-{size}-{scheme}", whole=not page.has("dialog[open]"))
        assert problems(page) == []
        assert axe(page) == []
    assert page.run(SIDEWAYS) == []
    if size == "telephone":
        assert page.run(TALL, 300) == []
        assert page.run(BROKEN_WORDS) == []


def test_the_check_itself_finds_what_is_wrong(page: Any, gateway: Any, axe: Any) -> None:
    from accessible import problems

    page.size(*SIZES["telephone"])
    SURFACES["models"](page, gateway)
    page.run("""
        const main = document.querySelector("main");
        main.append(Object.assign(document.createElement("button"), { type: "button" }));
        main.append(Object.assign(document.createElement("input"), { id: "main" }));
        const row = main.querySelector("tbody tr"), words = document.createElement("p"), wide = document.createElement("a");
        words.textContent = "breaking";
        for (const [name, value] of [["width", "2em"], ["overflow-wrap", "anywhere"]]) words.style.setProperty(name, value);
        wide.append("far away");
        wide.style.setProperty("margin-left", "600px");
        main.append(words, wide);
        row.style.setProperty("height", "360px");
        main.querySelector("h1").style.setProperty("color", "#c8c8c8");""")
    found = " ".join(problems(page))
    assert "button without a name" in found and "textbox without a name" in found and "id main twice" in found
    assert "contrast 1." in found and "'Models'" in found
    assert [height for height, _ in page.run(TALL, 300)] == [360]
    assert any(each.startswith("breaking") for each in page.run(BROKEN_WORDS))
    assert any("far away" in each for each in page.run(SIDEWAYS))
    assert axe(page, "button-name") in ([], ["button-name: 1"])  # [] where axe is not at hand
