"""One headless Chromium for all tests of the page; skipped, with the reason, where there is none."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # --import-mode=importlib leaves a test's neighbours unfindable
OUTPUT = Path(__file__).parent / "output"  # screenshots; not in version control

collect_ignore_glob = [] if sys.version_info >= (3, 11) else ["test_*.py"]  # the gateway needs 3.11


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    import webdriver

    absent = webdriver.missing()
    if absent:
        pytest.skip(absent)
    with webdriver.Driver() as driver, driver.session() as page:
        yield page


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """The browser as if new: a wide window by day. Afterwards its console must hold nothing: no error, no violation."""
    browser.size(1280, 900)
    browser.scheme("light")
    browser.console()
    browser.allowed = ()
    yield browser
    left = [line for line in browser.console() if not any(word in line for word in browser.allowed)]
    if browser.url.startswith("http"):
        browser.run("localStorage.clear()")
    browser.command("Network.clearBrowserCookies")
    browser.go("about:blank")
    assert not left, left


@pytest.fixture
def shot(page: Any) -> Any:
    """shot("calls-dark") keeps what the page looks like."""
    return lambda name, **how: page.screenshot(OUTPUT / f"{name}.png", **how)


@pytest.fixture(scope="session")
def axe() -> Any:
    """axe(page) -> what axe-core finds wrong, by rule; [] where LLM_ROUTER_AXE does not name its file."""
    name = os.environ.get("LLM_ROUTER_AXE", "")
    source = Path(name).read_text(encoding="utf-8") if name else ""

    def found(page: Any, *rules: str) -> list[str]:
        if not source:
            return []
        if not page.run("return typeof axe === 'object'"):
            page.run(source)
        options = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
        told = page.run("return axe.run(document, arguments[0]).then((all) => all.violations)", options)
        if rules:
            return [f"{each['id']}: {len(each['nodes'])}" for each in told]
        return [f"{each['id']}: {node['html'][:160]}" for each in told for node in each["nodes"]]

    return found


@pytest.fixture
def gateway() -> Iterator[Any]:
    from pretend import Pretend

    with Pretend() as server:
        yield server


@pytest.fixture
def empty() -> Iterator[Any]:
    """A gateway that nobody has called yet."""
    from pretend import Pretend

    with Pretend(calls=0) as server:
        server.catalog = {"models": [], "groups": [], "providers": []}
        yield server
