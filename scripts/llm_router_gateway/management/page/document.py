"""The monitor page: one HTML document, assembled from the files beside this one; its policy allows nothing else.

    Page().routes()                    GET /monitor, open access: it holds no data, and shows a login where a key is needed
    assemble(read)                    -> Document(body, policy, etag); read("style.css") -> its text

The scripts are ordinary modules that import each other; in the document they are one, in the order of SCRIPTS, without their
import lines and the word `export`. The policy names the hashes of that script and of the style: whatever else a logged text
might smuggle in is not run, is not shown, and has nowhere to send anything. Trusted types keep the page's own code from ever
making markup of text.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from importlib import resources

from ...config.presets import PRESETS
from ...net.router import OPEN, Headers, ManagementRequest, ManagementResponse, Route
from ...wire.registry import SPECS, UPSTREAMS

SCRIPTS = (
    "protocols.js", "format.js", "words.js", "dom.js", "api.js", "address.js", "markdown.js", "forms.js", "charts.js",
    "activity.js", "bodies.js", "call.js", "calls.js", "entries.js", "models.js", "keyform.js", "keys.js", "try.js", "app.js",
)  # fmt: skip
IMPORT = re.compile(r"^import\b[^;]*;\n", re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?function|class|const|let)", re.MULTILINE)
STYLE_MARK, SCRIPT_MARK = "/* style.css */", "/* the scripts */"


@dataclass(frozen=True, slots=True)
class Document:
    """The document and its content security policy."""

    body: bytes
    policy: str
    etag: str


def policy_hash(text: str) -> str:
    """A source of the policy: 'sha256-...' of the text between the tags."""
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def policy_for(script: str, style: str) -> str:
    """Nothing but this script, this style, this server and pictures in data: addresses."""
    return "; ".join([
        "default-src 'none'", f"script-src {policy_hash(script)}", f"style-src {policy_hash(style)}", "connect-src 'self'",
        "img-src data: 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
        "require-trusted-types-for 'script'", "trusted-types 'none'",
    ])  # fmt: skip


def join_scripts(read: Callable[[str], str]) -> str:
    """All scripts as one."""
    texts = (EXPORT.sub("", IMPORT.sub("", read(name))).strip("\n") for name in SCRIPTS)
    script = "\n\n".join(texts)
    for mark, rows in data_rows().items():
        script = script.replace(f"/* {mark} */ []", json.dumps(rows))
    return f"\n{script}\n"


def data_rows() -> dict[str, list[list[object]]]:
    """What protocols.js has empty lists for, by the words in front of them."""
    return {
        "the protocols": [[spec.name, spec.title] for spec in SPECS.values()],
        "the upstreams": [[name, SPECS[name].title] for name in UPSTREAMS],
        "the provider types": [[name, preset.base_url, not preset.local] for name, preset in PRESETS.items()],
    }


def assemble(read: Callable[[str], str]) -> Document:
    script, style = join_scripts(read), "\n" + read("style.css")
    page = read("index.html").replace(STYLE_MARK, style).replace(SCRIPT_MARK, script)
    body = page.encode()
    return Document(body, policy_for(script, style), f'"{sha256(body).hexdigest()[:32]}"')


def read_packaged(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


class Page:
    """The route of the page; assembled at the first request."""

    def __init__(self, read: Callable[[str], str] = read_packaged) -> None:
        self._read = read
        self._document: Document | None = None

    def routes(self) -> list[Route]:
        return [Route("GET", "monitor", self._page, access=OPEN)]

    async def _page(self, request: ManagementRequest) -> ManagementResponse:
        if self._document is None:
            self._document = assemble(self._read)
        document = self._document
        headers: Headers = [
            ("content-type", "text/html; charset=utf-8"),
            ("content-security-policy", document.policy),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-cache"),  # cached, but revalidated each time: an upgrade shows at once
            ("etag", document.etag),
        ]
        if request.headers.get("if-none-match") == document.etag:
            return ManagementResponse(b"", status=304, headers=headers)
        return ManagementResponse(document.body, headers=headers)
