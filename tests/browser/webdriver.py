"""A headless Chromium, driven over the WebDriver protocol with the standard library alone.

    with Driver() as driver, driver.session() as page:
        page.go("http://127.0.0.1:8000/monitor")
        page.find("#nav a").click()
        page.until("return document.title.startsWith('Calls')")

Waiting is for conditions, never for time. Everything that was started is ended: the browser with its session, the driver with
its process group, the profile with its folder.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's own word for a reference to an element
WAIT_S = 20.0  # for whatever must happen; reached only by a failure
POLL_S = 0.02
START_S = 40.0  # a cold browser on a slow machine
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--lang=en-US",
    "--disable-features=Translate,OptimizationHints",
)
KEYS = {
    "tab": "\ue004",
    "enter": "\ue007",
    "escape": "\ue00c",
    "left": "\ue012",
    "up": "\ue013",
    "right": "\ue014",
    "down": "\ue015",
    "home": "\ue011",
    "end": "\ue010",
    "shift": "\ue008",
    "space": " ",
    "backspace": "\ue003",
}


class BrowserError(Exception):
    """What the driver refused, in its words."""


def missing() -> str:
    """What is not on this machine, "" when everything is."""
    absent = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"{' and '.join(absent)} not installed (Debian: apt-get install chromium chromium-driver)" if absent else ""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Driver:
    """A chromedriver process on a free port."""

    def __init__(self) -> None:
        self.home = tempfile.mkdtemp(prefix="browser-")
        self.port = free_port()
        self._process = subprocess.Popen(
            [shutil.which("chromedriver") or "chromedriver", f"--port={self.port}", "--silent"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={
                "PATH": os.environ.get("PATH", ""),
                "HOME": self.home,
                "TMPDIR": self.home,
                "TZ": "Europe/Berlin",
                "LANG": "C.UTF-8",
            },
        )

    def __enter__(self) -> Driver:
        try:
            self._until_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _until_ready(self) -> None:
        give_up = time.monotonic() + START_S
        while True:
            with suppress(OSError, ValueError):
                if self.ask("GET", "/status")["ready"]:
                    return
            if self._process.poll() is not None or time.monotonic() > give_up:
                raise BrowserError(f"chromedriver does not come up (exit code {self._process.poll()})")
            time.sleep(POLL_S)

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)
        shutil.rmtree(self.home, ignore_errors=True)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One command; its value, or BrowserError."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=START_S + WAIT_S)
        try:
            data = None if method == "GET" else json.dumps(body or {}).encode()
            connection.request(method, path, data, {"content-type": "application/json"})
            response = connection.getresponse()
            value = json.loads(response.read())["value"]
        finally:
            connection.close()
        if response.status != 200:
            raise BrowserError(f"{value['error']}: {value['message'].splitlines()[0]}")
        return value

    @contextmanager
    def session(self, width: int = 1280, height: int = 900) -> Iterator[Page]:
        """One browser with an empty profile."""
        profile = tempfile.mkdtemp(prefix="profile-", dir=self.home)
        options = {
            "args": [*FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}"],
            "binary": shutil.which("chromium"),
            "prefs": {"credentials_enable_service": False, "profile.password_manager_enabled": False},
        }
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        made = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        try:
            yield Page(self, f"/session/{made['sessionId']}")
        finally:
            with suppress(BrowserError, OSError):
                self.ask("DELETE", f"/session/{made['sessionId']}")
            shutil.rmtree(profile, ignore_errors=True)


class Page:
    """One browser window."""

    def __init__(self, driver: Driver, path: str) -> None:
        self._driver, self._path = driver, path

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        return self._driver.ask(method, self._path + path, body)

    def go(self, url: str) -> None:
        self.ask("POST", "/url", {"url": url})

    @property
    def url(self) -> str:
        return str(self.ask("GET", "/url"))

    def back(self) -> None:
        self.ask("POST", "/back")

    def forward(self) -> None:
        self.ask("POST", "/forward")

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a function returns: page.run("return arguments[0] + 1", 2) -> 3"""
        sent = [{ELEMENT: each.id} if isinstance(each, Element) else each for each in arguments]
        value = self.ask("POST", "/execute/sync", {"script": script, "args": sent})
        return Element(self, value[ELEMENT]) if isinstance(value, dict) and ELEMENT in value else value

    def until(self, script: str, *arguments: Any, limit_s: float = WAIT_S) -> Any:
        """What the script returns as soon as it is true."""
        give_up = time.monotonic() + limit_s
        while not (value := self.run(script, *arguments)):
            if time.monotonic() > give_up:
                raise AssertionError(f"not within {limit_s} s: {script} {arguments or ''}\n{self.text('body')[:3000]}")
            time.sleep(POLL_S)
        return value

    def find(self, css: str) -> Element:
        """The first shown element of a selector, waited for."""
        script = "return [...document.querySelectorAll(arguments[0])].find((each) => each.checkVisibility()) ?? null"
        return self._found(script, css)

    def _found(self, script: str, *arguments: Any) -> Element:
        """The element that a script finds, waited for; it is looked for again if the page draws it anew before a click."""
        found: Element = self.until(script, *arguments)
        found.again = lambda: self._found(script, *arguments)
        return found

    def has(self, css: str) -> bool:
        return bool(self.run("return document.querySelector(arguments[0]) !== null", css))

    def gone(self, css: str) -> None:
        self.until("return document.querySelector(arguments[0]) === null", css)

    def text(self, css: str) -> str:
        """What a reader sees of it."""
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", css))

    def until_text(self, css: str, text: str) -> None:
        self.until(
            "return [...document.querySelectorAll(arguments[0])].some((each) => each.innerText.includes(arguments[1]))",
            css,
            text,
        )

    def labelled(self, words: str) -> Element:
        """The button, link or tab with these words or this label, in the dialog on top if there is one."""
        script = """
            const within = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document;
            return [...within.querySelectorAll("button, a, summary, [role]")].find((each) => each.checkVisibility() &&
                (each.getAttribute("aria-label") ?? each.textContent).trim() === arguments[0]) ?? null"""
        return self._found(script, words)

    def field(self, label: str) -> Element:
        """The control that a label names, by itself or by aria-label."""
        script = """
            const within = [...document.querySelectorAll("dialog[open]")].at(-1) ?? document;
            const label = [...within.querySelectorAll("label")].find((each) => each.textContent.trim() === arguments[0]);
            return label?.control ?? within.querySelector(`[aria-label="${arguments[0]}"]`)"""
        return self._found(script, label)

    def press(self, *names: str) -> None:
        """Keys, one after the other, to whatever has the focus; "shift+tab" holds the first."""
        for name in names:
            keys = [KEYS.get(part, part) for part in name.split("+")]
            actions = [{"type": "keyDown", "value": key} for key in keys] + [
                {"type": "keyUp", "value": key} for key in reversed(keys)
            ]
            self.ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def hover(self, x: float, y: float) -> None:
        move = {"type": "pointerMove", "duration": 0, "origin": "viewport", "x": int(x), "y": int(y)}
        self.ask("POST", "/actions", {"actions": [{"type": "pointer", "id": "mouse", "actions": [move]}]})

    def size(self, width: int, height: int) -> None:
        """The size of what the page sees, whatever frame a window would have; phones are narrower than any window may be."""
        self.command("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def scheme(self, name: str) -> None:
        """The system's colours: "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": name}]
        self.command("Emulation.setEmulatedMedia", features=features)

    def command(self, name: str, **parameters: Any) -> Any:
        """One of the browser's own commands (Chrome DevTools Protocol)."""
        return self.ask("POST", "/goog/cdp/execute", {"cmd": name, "params": parameters})

    def screenshot(self, path: Path, *, whole: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        if whole:
            data = self.command("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"]
        else:
            data = self.ask("GET", "/screenshot")
        path.write_bytes(base64.b64decode(data))

    def console(self) -> list[str]:
        """What the console was told since the last time: errors, warnings, violations of the policy."""
        entries = self.ask("POST", "/se/log", {"type": "browser"})
        return [f"{each['level']} {each.get('source', '')} {each['message']}" for each in entries]


class Element:
    """One element of the page."""

    def __init__(self, page: Page, id_: str) -> None:
        self.page, self.id = page, id_
        self.again: Callable[[], Element] | None = None  # finds what stands in its place now

    def click(self) -> None:
        try:
            self.page.ask("POST", f"/element/{self.id}/click")
        except BrowserError as error:
            if self.again is None or "stale element" not in str(error):
                raise
            self.again().click()

    def type(self, text: str) -> None:
        self.page.ask("POST", f"/element/{self.id}/value", {"text": text})

    def fill(self, text: str) -> None:
        self.page.ask("POST", f"/element/{self.id}/clear")
        self.type(text)

    @property
    def text(self) -> str:
        return str(self.page.run("return arguments[0].innerText", self))

    def attribute(self, name: str) -> Any:
        return self.page.run("return arguments[0].getAttribute(arguments[1])", self, name)

    def box(self) -> dict[str, float]:
        box: dict[str, float] = self.page.run("return arguments[0].getBoundingClientRect().toJSON()", self)
        return box
