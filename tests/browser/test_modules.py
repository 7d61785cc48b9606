"""The page's own functions, imported by the browser as the modules that they are."""

from __future__ import annotations

import json
from typing import Any

import pytest

pytestmark = pytest.mark.slow

UNKNOWN = "\u2013"
FORMATS = [
    ("money", 0, "$0"),
    ("money", None, UNKNOWN),
    ("money", 0.00042, "$0.00042"),
    ("money", 0.5, "$0.50"),
    ("money", 12.5, "$12.50"),
    ("money", 1234.5, "$1,234.50"),
    ("money", 2_500_000, "$2.5M"),
    ("money", 1e-12, "< $0.000000001"),
    ("compact", 9999, "9,999"),
    ("compact", 12345, "12.3k"),
    ("compact", 1234567, "1.23M"),
    ("compact", None, UNKNOWN),
    ("milliseconds", 0.82, "0.8 ms"),
    ("milliseconds", 340.4, "340 ms"),
    ("milliseconds", 1234, "1.23 s"),
    ("milliseconds", 125000, "2 min 5 s"),
    ("seconds", 60, "1 min"),
    ("seconds", 3599.9, "60 min"),
    ("seconds", 5400, "1 h 30 min"),
    ("seconds", 90000, "1 d 1 h"),
    ("percent", 0, "0%"),
    ("percent", 0.0123, "1.23%"),
    ("percent", 1, "100%"),
    ("bytes", 1536, "1.5 KiB"),
    ("bytes", 6000000, "5.7 MiB"),
    ("plain", "a\u202eb\x1b", "a⟨U+202E⟩b⟨U+001B⟩"),
    ("plain", "é 漢 👩‍👩‍👧", "é 漢 👩‍👩‍👧"),
]
TICKS = [
    ([7.3, 4], [0, 2, 4, 6, 8]),
    ([0, 4], [0, 1]),
    ([1, 4], [0, 0.25, 0.5, 0.75, 1]),
    ([0.0042, 4], [0, 0.002, 0.004, 0.006]),
    ([2, 4, True], [0, 1, 2]),
    ([1_000_000, 4], [0, 250_000, 500_000, 750_000, 1_000_000]),
]
STREAM = 'data: caf\u00e9\r\n\r\n: ping\n\nevent: x\ndata:{"a":\ndata: 1}\n\ndata: \u2028\r\rdata: [DONE]\n\ndata: unfinished'


@pytest.fixture
def blank(page: Any, gateway: Any) -> Any:
    page.go(f"http://127.0.0.1:{gateway.port}/blank")
    return page


def test_figures_are_said_in_few_and_honest_digits(blank: Any) -> None:
    script = "return import('/page/format.js').then((format) => arguments[0].map(([name, value]) => format[name](value)))"
    assert blank.run(script, FORMATS) == [text for _, _, text in FORMATS]


def test_axes_have_round_numbers(blank: Any) -> None:
    script = "return import('/page/charts.js').then((charts) => arguments[0].map(([values]) => charts.ticks(...values)))"
    assert blank.run(script, TICKS) == [ticks for _, ticks in TICKS]


def test_events_depend_on_the_text_never_on_how_the_network_cut_it(blank: Any) -> None:
    script = """
        return import('/page/api.js').then(({ EventParser }) => {
            const text = arguments[0], found = new Set();
            for (let cut = 0; cut <= text.length; cut++) {
                const parser = new EventParser();
                found.add(JSON.stringify([...parser.feed(text.slice(0, cut)), ...parser.feed(text.slice(cut))]));
            }
            const parser = new EventParser();
            found.add(JSON.stringify([...text].flatMap((letter) => parser.feed(letter))));
            return [...found];
        })"""
    (only,) = blank.run(script, STREAM)
    assert json.loads(only) == ["café", '{"a":\n1}', "\u2028", "[DONE]"]


def test_an_element_takes_text_and_never_markup(blank: Any) -> None:
    script = """
        return import('/page/dom.js').then(({ h }) => {
            const node = h("p", { title: "a\\u202eb" }, "<b>x</b>\\u202e", null, false, ["y", h("i", {}, "z")]);
            return [node.innerHTML, node.title];
        })"""
    html, title = blank.run(script)
    assert html == '&lt;b&gt;x&lt;/b&gt;<span class="code-chip">RLO U+202E</span>y<i>z</i>'
    assert title == "a⟨U+202E⟩b"


def test_addresses_keep_what_is_not_changed(blank: Any) -> None:
    script = "return import('/page/address.js').then(({ link }) => link({ a: '', b: 'x y', c: 0 }, arguments[0]))"
    assert blank.run(script, {"view": "calls", "a": "1", "d": "ü"}) == "?view=calls&d=%C3%BC&b=x+y&c=0"
