"""Markdown of answers: what it becomes, that nothing in it acts, and that its time grows with its length and no faster."""

from __future__ import annotations

import random
from typing import Any

import pytest

pytestmark = pytest.mark.slow

RENDERED = [
    ("plain words", "<p>plain words</p>"),
    ("a *b* **c** ***d***", "<p>a <em>b</em> <strong>c</strong> <strong><em>d</em></strong></p>"),
    ("~~e~~ _f_ __g__", "<p><del>e</del> <em>f</em> <strong>g</strong></p>"),
    ("snake_case_name and 2 * 3 * 4", "<p>snake_case_name and 2 * 3 * 4</p>"),
    ("**open and *closed*", "<p>**open and <em>closed</em></p>"),
    (r"\*not\* \[a\](b) \n", r"<p>*not* [a](b) \n</p>"),
    ("`a*b*` and ``a`b``", "<p><code>a*b*</code> and <code>a`b</code></p>"),
    ("one ` tick", "<p>one ` tick</p>"),
    ("first\nsecond", "<p>first\nsecond</p>"),
    ("a\n\nb", "<p>a</p><p>b</p>"),
    ("---", "<hr>"),
    ("> a\n> b\n\nc", "<blockquote><p>a\nb</p></blockquote><p>c</p>"),
    ("- a\n- b\n  - c\n\n- d", "<ul><li><p>a</p></li><li><p>b</p><ul><li><p>c</p></li></ul></li><li><p>d</p></li></ul>"),
    ("3. a\n4. b", '<ol start="3"><li><p>a</p></li><li><p>b</p></li></ol>'),
    ("1. a\n   ```\n   x\n   ```", "<ol><li><p>a</p><pre><code>x</code></pre></li></ol>"),
    ("```js\nlet a = '<b>';\n\n# no\n```\nend", "<pre><code>let a = '&lt;b&gt;';\n\n# no</code></pre><p>end</p>"),
    ("~~~~\n```\n~~~~", "<pre><code>```</code></pre>"),
    ("```\nnever closed", "<pre><code>never closed</code></pre>"),
    ("# a\n### b\n## c", "<h2>a</h2><h3>b</h3><h3>c</h3>"),
    ("| a | b |\n|---|:-:|\n| 1 | `x` |\n| 2 |",
     ("<table><caption>Table</caption><thead><tr><th>a</th><th>b</th></tr></thead>"
      "<tbody><tr><td>1</td><td><code>x</code></td></tr><tr><td>2</td></tr></tbody></table>")),
    ("a | b", "<p>a | b</p>"),
    ("[a *b*](https://x.example/y_(z))", '<p><a href="https://x.example/y_(z)">a <em>b</em></a></p>'),
    ("see https://x.example/a_b. Or <http://y.example>!",
     ('<p>see <a href="https://x.example/a_b">https://x.example/a_b</a>. '
      'Or <a href="http://y.example/">http://y.example</a>!</p>')),
    ("![cat](https://x.example/c.png)", '<p><a href="https://x.example/c.png">cat</a></p>'),
    ("[a https://y.example](https://x.example)", '<p><a href="https://x.example/">a https://y.example</a></p>'),
]  # fmt: skip
HOSTILE = [
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 1'><svg onload=\"window.pwned = 1\"></svg>",
    "[x](javascript:window.pwned=1)",
    "[x](JaVaScRiPt:window.pwned=1) [y](java\tscript:window.pwned=1) [z]( javascript:window.pwned=1)",
    "[x](data:text/html,<script>window.pwned=1</script>) [y](vbscript:x) [z](file:///etc/passwd) [w](blob:x)",
    "<javascript:window.pwned=1> <a href='javascript:window.pwned=1' onclick='window.pwned=1'>x</a>",
    '[x](https://x.example/" onmouseover="window.pwned=1) [x](https://x.example \'a" onclick="b\')',
    '![x](https://x.example/"onerror="window.pwned=1) ![y](javascript:window.pwned=1)',
    '```"><script>window.pwned=1</script>\n</code></pre><script>window.pwned=1</script>\n```',
    "| <script>window.pwned=1</script> | b |\n|---|---|\n| <img src=x onerror=window.pwned=1> | [a](javascript:x) |",
    "# <iframe src=javascript:window.pwned=1>\n> <object data=x>\n- <form action=javascript:x><button>x</button></form>",
    "[a](//x.example) [b](/monitor/logout) [c](?view=keys) [d](#x) [e](mailto:a@b.example) [f](ftp://x.example)",
    "<style>*{display:none}</style><base href=https://x.example/><meta http-equiv=refresh content=0>",
    "&lt;script&gt;window.pwned=1&lt;/script&gt; \\<script>window.pwned=1\\</script>",
]
DANGEROUS = "script, img, svg, iframe, object, embed, form, button, style, base, meta, link, input, video, audio, [style]"
# Texts that make careless readers take the square of their length, or more.
HEAVY = {
    "brackets": "[", "images": "![", "closed brackets": "](", "bracket pairs": "[]()", "open links": "[a](b",
    "spaces in links": "](  ", "parentheses": "](((", "stars": "*", "spaced stars": "* a ", "stars that open": "*a ",
    "stars that close": "a* ", "both": "*a **b ", "underscores": "_a_ ", "tildes": "~~a", "backticks": "`",
    "growing backticks": "` `` ``` ```` ", "addresses": "https://", "addresses with commas": "https://a.b,,,,,,,, ",
    "angles": "<https://", "backslashes": "\\", "hashes": "# ", "lines across": "- - ", "underlines": "---\n", "quotes": "> ",
    "quoted lines": "> a\n", "nested quotes": ">", "items": "- a\n", "numbers": "1. ", "deep items": " - a\n", "pipes": "|",
    "rows": "|a|\n|-|\n", "table dashes": "a|b\n-|-\n|\n", "dashes in a row": "|-", "fences": "```\n",
    "open fences": "~~~~ a\n", "blank lines": "\n", "spaces": " ", "tabs": "\t", "words": "word ", "one word": "a",
    "separators": "- \u2028", "carriage returns": "\r\n",
}  # fmt: skip
SIZE = 1_000_000
RENDER = """
    return import('/page/markdown.js').then(({ Markdown }) => {
        const clean = (node) => {
            for (const each of node.querySelectorAll("[role=heading]")) {
                const made = document.createElement("h" + each.getAttribute("aria-level"));
                made.append(...each.childNodes);
                each.replaceWith(made);
            }
            for (const each of node.querySelectorAll(".md-table")) each.replaceWith(...each.childNodes);
            for (const each of node.querySelectorAll("*"))
                for (const name of each.getAttributeNames()) if (!["href", "start"].includes(name)) each.removeAttribute(name);
            return node.innerHTML;
        };
        return arguments[0].map((steps) => {
            const made = new Markdown(1);
            for (const text of steps) made.show(text);
            return clean(made.node);
        });
    })"""


@pytest.fixture
def blank(page: Any, gateway: Any) -> Any:
    page.go(f"http://127.0.0.1:{gateway.port}/blank")
    return page


def test_markdown_becomes_elements(blank: Any) -> None:
    assert blank.run(RENDER, [[text] for text, _ in RENDERED]) == [html for _, html in RENDERED]


def test_an_answer_that_grows_is_in_the_end_what_it_is_as_a_whole(blank: Any) -> None:
    rng = random.Random(3)
    texts = [text for text, _ in RENDERED]
    wholes = ["\n\n".join(rng.sample(texts, 6)) for _ in range(12)] + texts
    cuts = [sorted({*(rng.randrange(len(text) + 1) for _ in range(9)), len(text)}) for text in wholes]
    grown = [[text[:at] for at in each] for text, each in zip(wholes, cuts, strict=True)]
    letters = [[text[:at] for at in range(len(text) + 1)] for text in wholes[:6]]
    assert blank.run(RENDER, grown) == blank.run(RENDER, [[text] for text in wholes])
    assert blank.run(RENDER, letters) == blank.run(RENDER, [[text] for text in wholes[:6]])


def test_nothing_in_an_answer_acts_and_links_lead_to_web_servers_alone(blank: Any) -> None:
    mixed = [*HOSTILE, "\n".join(HOSTILE), " ".join(HOSTILE), *(f"**[a {text}](https://x.example)**" for text in HOSTILE),
             *(f"> - {text}" for text in HOSTILE)]  # fmt: skip
    found = blank.run(
        """
        return import('/page/markdown.js').then(({ Markdown }) => arguments[0].map((text) => {
            const made = new Markdown(1);
            document.body.replaceChildren(made.show(text));
            const all = [...made.node.querySelectorAll("*")];
            for (const link of made.node.querySelectorAll("a")) link.dispatchEvent(new MouseEvent("mouseover"));
            return {
                made: made.node.querySelectorAll(arguments[1]).length,
                acts: all.flatMap((each) => each.getAttributeNames()).filter((name) => name.startsWith("on")),
                links: [...made.node.querySelectorAll("a")].map((each) => [each.protocol, each.rel, each.target]),
                nested: made.node.querySelectorAll("a a").length,
                pwned: window.pwned === undefined ? 0 : 1,
            };
        }))""",
        mixed,
        DANGEROUS,
    )
    for text, each in zip(mixed, found, strict=True):
        assert (each["made"], each["acts"], each["nested"], each["pwned"]) == (0, [], 0, 0), text
        assert all(link in (["http:", "noopener noreferrer", "_blank"], ["https:", "noopener noreferrer", "_blank"])
                   for link in each["links"]), text  # fmt: skip
    assert any(each["links"] for each in found), "the check sees links where there are some"


def test_what_hides_in_a_text_is_shown(blank: Any) -> None:
    (html,) = blank.run(RENDER, [["a\u202eb **c\x1bd** `e\u2066`"]])
    assert html.count("<span>") == 3 and "\u202e" not in html and "\x1b" not in html and "U+2066" in html


@pytest.mark.parametrize("name", HEAVY)
def test_a_megabyte_takes_time_by_its_length_whatever_it_holds(blank: Any, name: str) -> None:
    """The square of a megabyte would be hours; what is left is the browser's own work on the elements."""
    took = blank.run(
        """
        return import('/page/markdown.js').then(({ Markdown }) => {
            const text = arguments[0].repeat(Math.ceil(arguments[1] / arguments[0].length)), begun = performance.now();
            const made = new Markdown(1);
            made.show(text);
            made.show(text + " end");
            return performance.now() - begun;
        })""",
        HEAVY[name],
        SIZE,
    )
    assert took < 15_000, took
