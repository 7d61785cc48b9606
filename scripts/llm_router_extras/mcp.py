"""The command `mcp`: chat, vision, compare and models as tools of the Model Context Protocol, over standard input and output.

For agents without a shell. One JSON-RPC 2.0 message a line. Both forms of the protocol are served, message by
message: the handshake (`initialize`, revisions up to 2025-11-25), and the stateless one of 2026-07-28, in which every
request names its revision in `_meta` and `server/discover` takes the place of the handshake.

    {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "chat", "arguments": {"message": "Hi"}}}
    -> {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": "Hello"}], "isError": false, ...}}

A call that fails is a result with isError, which the model reads; a message that is not a call is a JSON-RPC error. Answers are
received as streams: a cancelled call stops at its next piece, and progress is reported where a request asks for it.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from llm_router_client import (
    ERRORS,
    VERSION,
    LLMRouterError,
    UsageError,
    as_dict,
    clean,
    compare_text,
    dump_json,
    one_line,
    open_client,
    parse_json,
    with_system,
    without,
)

from .fields import schema_format
from .schema import first_fault
from .talk import CHOICE, request_without_question, take_options

if TYPE_CHECKING:
    from collections.abc import Callable

    from llm_router_client import JSON, Answer, Call, Console, Parser

HANDSHAKE_REVISIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")  # newest first
STATELESS_REVISIONS = ("2026-07-28",)
REVISION_KEY = "io.modelcontextprotocol/protocolVersion"  # in _meta of a stateless request
CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
PARSE_ERROR, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603  # JSON-RPC 2.0
UNSUPPORTED_REVISION = -32022  # of the stateless revision
MAX_LINE_BYTES = 64_000_000  # a message with some images in it
MOST_CALLS = 8  # at a time; further ones wait
LIST_TTL_MS = 3_600_000  # the tools never change while the program runs
PROGRESS_S = 1.0  # between two reports on one call
INSTRUCTIONS = (
    "Other language models through one endpoint. `models` lists their names; `chat` asks one, `vision` asks about images, "
    "`compare` asks several at once. Every call but `models` may cost money."
)

TEXT: JSON = {"type": "string"}
NAMES: JSON = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
COMMON: JSON = {
    "system": {**TEXT, "description": "Instruction before all turns."},
    "max_tokens": {"type": "integer", "minimum": 1, "description": "Maximum number of tokens in the answer."},
    "temperature": {"type": "number", "minimum": 0, "maximum": 2},
}
MODEL: JSON = {
    "model": {**TEXT, "minLength": 1, "description": "A name that `models` lists; without it the usual model is used."},
    "fallback": {**NAMES, "description": "Models to try next if this one cannot answer."},
}


def tool(name: str, title: str, description: str, required: list[str], properties: JSON) -> JSON:
    schema = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    hints = {"readOnlyHint": True, "openWorldHint": True}  # they change nothing anywhere, and talk to a server
    return {"name": name, "title": title, "description": description, "inputSchema": schema, "annotations": hints}


TOOLS: list[JSON] = [
    tool(
        "chat", "Ask a model", "Ask a language model and return its answer as text.", ["message"],
        {
            "message": {**TEXT, "minLength": 1, "description": "The question, with everything needed to answer it."},
            **MODEL, **COMMON,
            "schema": {"type": "object", "description": "A JSON Schema; the answer is JSON that fits it."},
        },
    ),
    tool(
        "vision", "Ask about images", "Ask a language model about one image or several.", ["images"],
        {
            "images": {**NAMES, "description": "Each a URL, a data URL, or the path of a file inside the working directory."},
            "prompt": {**TEXT, "minLength": 1, "description": "The question; without it, a description."},
            **MODEL, **COMMON,
        },
    ),
    tool(
        "compare", "Ask several models", "Ask several models one question; returns each answer with time, tokens and cost.",
        ["models", "message"],
        {
            "models": {**NAMES, "maxItems": 8, "description": "Names that `models` lists."},
            "message": {**TEXT, "minLength": 1},
            **COMMON,
        },
    ),
    tool(
        "models", "List models", "List the names of the models that can be used here.", [],
        {
            "search": {**TEXT, "description": "Only names that contain this text."},
            "limit": {"type": "integer", "minimum": 1, "description": "Maximum number of names; 50 by default."},
        },
    ),
]  # fmt: skip


class ProtocolError(Exception):
    """A message that is not a valid call: the code and text of its JSON-RPC error, and what belongs to it."""

    def __init__(self, code: int, message: str, data: JSON | None = None) -> None:
        super().__init__(message)
        self.error: JSON = {"code": code, "message": message, **({} if data is None else {"data": data})}


class Cancelled(Exception):
    """The call was cancelled: its answer must not be sent."""


class Running:
    """A call that is being worked on: whether it was cancelled, and how it reports progress."""

    def __init__(self, token: Any, send: Callable[[JSON], None]) -> None:
        self.is_cancelled, self._token, self._send = False, token, send
        self._received, self._reported_s = 0, 0.0

    def receive(self, call: Call) -> Answer:
        """The whole answer of a stream; Cancelled between two of its events."""
        with call:
            for event in call.events():
                self._received += len(event.get("text", ""))
                self._report(call)
                if self.is_cancelled:
                    raise Cancelled
        return call.response  # type: ignore[return-value]  # its events ended

    def _report(self, call: Call) -> None:
        """Progress in characters, which only grow, for a peer that gave a token for it; at most one report a second."""
        if self._token is None or not self._received or call.now() - self._reported_s < PROGRESS_S:
            return
        self._reported_s = call.now()
        parameters = {"progressToken": self._token, "progress": self._received, "message": f"{self._received} characters"}
        self._send({"jsonrpc": "2.0", "method": "notifications/progress", "params": parameters})


class Server:
    """Answers messages. handle() takes one line, and works on calls in threads of their own."""

    def __init__(self, console: Console, client: Any, usual: JSON, detail: str | None) -> None:
        self._console, self._client, self._usual, self._detail = console, client, usual, detail
        self._writing, self._places = threading.Lock(), threading.Semaphore(MOST_CALLS)
        self._running: dict[Any, Running] = {}
        self._threads: list[threading.Thread] = []
        self.failure: OSError | None = None  # of standard output: nothing can be answered any more

    def handle(self, line: bytes) -> None:
        """One message. It is answered if it is a request, now or later."""
        try:
            message = parse_json(line)
        except ValueError as error:
            self._refuse(None, ProtocolError(PARSE_ERROR, f"not JSON: {error}; write one object a line"))
            return
        if not isinstance(message, dict):
            self._refuse(None, ProtocolError(INVALID_REQUEST, "a request is a JSON object, one a line"))
            return
        number, method, parameters = message.get("id"), message.get("method"), as_dict(message.get("params"))
        if "id" not in message:
            if method == "notifications/cancelled":
                self._cancel(parameters.get("requestId"))
        elif method is not None:  # without one it is a response, and this program sends no requests
            self._answer(number, method, parameters)

    def _cancel(self, number: Any) -> None:
        running = self._running.get(number) if isinstance(number, (str, int, float)) else None
        if running:
            running.is_cancelled = True

    def finish(self) -> None:
        """Wait for the calls that are still being worked on."""
        for thread in self._threads:
            thread.join()

    def _answer(self, number: Any, method: Any, parameters: JSON) -> None:
        try:
            if isinstance(number, bool) or not isinstance(number, (str, int, float)):
                raise ProtocolError(INVALID_REQUEST, "an id is a text or a number")
            is_stateless = self._check_revision(method, parameters)
            if method == "tools/call":
                self._begin(number, parameters, is_stateless)
                return
            result = self._result(method, parameters)
        except ProtocolError as error:
            self._refuse(None if error.error["code"] == INVALID_REQUEST else number, error)
            return
        self._send({"jsonrpc": "2.0", "id": number, "result": stateless(result) if is_stateless else result})

    def _refuse(self, number: Any, error: ProtocolError) -> None:
        self._send({"jsonrpc": "2.0", "id": number, "error": error.error})

    def _check_revision(self, method: Any, parameters: JSON) -> bool:
        """Whether the request is of a stateless revision; ProtocolError where it is of one that is not spoken here."""
        meta = as_dict(parameters.get("_meta"))
        if method == "initialize" or (REVISION_KEY not in meta and method != "server/discover"):
            return False
        revision = meta.get(REVISION_KEY)
        if not isinstance(revision, str) or CAPABILITIES_KEY not in meta:
            raise ProtocolError(INVALID_PARAMS, f"params._meta needs {REVISION_KEY} and {CAPABILITIES_KEY}")
        if revision not in STATELESS_REVISIONS:
            data = {"supported": list(STATELESS_REVISIONS), "requested": revision}
            raise ProtocolError(UNSUPPORTED_REVISION, "unsupported protocol version", data)
        return True

    def _result(self, method: Any, parameters: JSON) -> JSON:
        """The result of a request that is answered at once."""
        about = {"capabilities": {"tools": {"listChanged": False}}, "instructions": INSTRUCTIONS}
        named = {"name": "llm-router", "title": "llm-router", "version": VERSION}
        if method == "initialize":
            wanted = parameters.get("protocolVersion")
            revision = wanted if wanted in HANDSHAKE_REVISIONS else HANDSHAKE_REVISIONS[0]
            return {"protocolVersion": revision, "serverInfo": named, **about}
        lasting = {"ttlMs": LIST_TTL_MS, "cacheScope": "public"}
        if method == "server/discover":
            meta = {"io.modelcontextprotocol/serverInfo": named}
            return {"supportedVersions": list(STATELESS_REVISIONS), **about, **lasting, "_meta": meta}
        if method == "tools/list":
            return {"tools": TOOLS, **(lasting if REVISION_KEY in as_dict(parameters.get("_meta")) else {})}
        if method == "ping":
            return {}
        raise ProtocolError(NO_METHOD, f"there is no method {one_line(str(method), 80)!r} here")

    def _begin(self, number: Any, parameters: JSON, is_stateless: bool) -> None:
        """Work on a call in a thread of its own."""
        name, given = parameters.get("name"), parameters.get("arguments")
        arguments = {} if given is None else given  # some clients send null if a tool needs none
        schema = next((each["inputSchema"] for each in TOOLS if each["name"] == name), None)
        if schema is None:
            known = ", ".join(each["name"] for each in TOOLS)
            raise ProtocolError(INVALID_PARAMS, f"there is no tool {one_line(str(name), 80)!r}; there are {known}")
        if number in self._running:
            raise ProtocolError(INVALID_PARAMS, "a request with this id is still being worked on")
        running = self._running[number] = Running(as_dict(parameters.get("_meta")).get("progressToken"), self._send)
        fault = first_fault(arguments, schema)

        def work() -> None:
            try:
                with self._places:
                    result = self._called(str(name), arguments, fault, running)
                self._send({"jsonrpc": "2.0", "id": number, "result": stateless(result) if is_stateless else result})
            except Cancelled:
                pass  # and nothing is sent
            except Exception as error:  # a fault of this program: a request without a response would hang its sender
                text = f"llm-router failed: {type(error).__name__}; the call may have been billed"
                self._refuse(number, ProtocolError(INTERNAL_ERROR, text))
            finally:
                del self._running[number]

        self._threads = [*(thread for thread in self._threads if thread.is_alive()), threading.Thread(target=work, daemon=True)]
        self._threads[-1].start()

    def _called(self, name: str, arguments: JSON, fault: str, running: Running) -> JSON:
        """The result of a tool; a failed call is one, too."""
        if running.is_cancelled:
            raise Cancelled
        blank = [each for each in ("message", "prompt") if not fault and not arguments.get(each, "-").strip()]
        if fault or blank:
            return failed_result(f"{name}: {fault or f'$.{blank[0]} is blank'}; correct the arguments")
        try:
            return TOOL_RUNS[name](self, arguments, running)
        except LLMRouterError as error:
            partial = error.response.text if error.response else ""
            own = self._console.advice(error.next_step)
            step = "Correct the arguments." if own == ERRORS["usage"][1] else own  # there is no --help here
            return failed_result(f"{error} [{error.code}]\nnext: {step}", partial)

    def chat(self, arguments: JSON, running: Running) -> JSON:
        request = self._request(arguments)
        request["messages"] = [*request["messages"], {"role": "user", "content": arguments["message"]}]
        if (schema := request.pop("schema", None)) is not None:
            request["response_format"] = schema_format(schema)
            return answer_result(self._client.chat(**request))  # a stream could not be corrected where it does not fit
        return answer_result(running.receive(self._client.chat_stream(**request)))

    def vision(self, arguments: JSON, running: Running) -> JSON:
        request = without(self._request(arguments), "messages")
        model, images, system = request.pop("model", None), request.pop("images"), arguments.get("system")
        request.update(system=system, detail=self._detail, stream=True)
        call = self._client.vision(model, images, **request)  # it has read and checked the files
        for image in images:
            if not image.lower().startswith(("http:", "https:", "data:")):
                self._console.note(f"sending {image} to {self._client.endpoint.host}")
        return answer_result(running.receive(call))

    def compare(self, arguments: JSON, running: Running) -> JSON:
        request = self._request(arguments)
        turns = [*request.pop("messages"), {"role": "user", "content": arguments["message"]}]
        results = self._client.compare_models(arguments["models"], turns, **without(request, "model", "fallback", "models"))
        if running.is_cancelled:
            raise Cancelled
        text = compare_text(results)
        errors = [f"{name}: {result['error']['message']}" for name, result in results.items() if result["error"]]
        return failed_result("\n".join(errors), text) if len(errors) == len(results) else tool_result(text, *errors)

    def models(self, arguments: JSON, running: Running) -> JSON:
        listed = self._client.list_models()
        wanted = arguments.get("search", "").lower()
        names = [model["id"] for model in listed if wanted in model["id"].lower() or wanted == model["family"]]
        shown = names[: arguments.get("limit", 50)]
        notes = [] if listed.source == "live" else [f"this is a built-in list, not the endpoint's own: {listed.reason}"]
        if len(shown) < len(names) or not names:
            step = "`limit` and `search` change that" if names else "without `search` all are listed"
            notes.append(f"{len(names)} of {len(listed)} models match, {len(shown)} are shown; {step}")
        return tool_result("\n".join(clean(name) for name in shown), *notes)

    def _request(self, arguments: JSON) -> JSON:
        """What the command line said, under what the call says; `message` and `system` as the turns."""
        usual = without(self._usual, *CHOICE) if {"model", "models"} & arguments.keys() else self._usual
        return {**usual, **without(arguments, "message", "system"), "messages": with_system(arguments.get("system"))}

    def _send(self, message: JSON) -> None:
        with self._writing:
            try:
                self._console.out(dump_json(message))
            except OSError as error:
                self.failure = self.failure or error


TOOL_RUNS: dict[str, Callable[[Server, JSON, Running], JSON]] = {
    "chat": Server.chat,
    "vision": Server.vision,
    "compare": Server.compare,
    "models": Server.models,
}


def stateless(result: JSON) -> JSON:
    """The result as the stateless revision has it."""
    return {"resultType": "complete", **result}


def tool_result(text: str, *notes: str, is_error: bool = False) -> JSON:
    """A tool's result: its text, and what the model should know about it in blocks of their own."""
    blocks = [text, *(f"[llm-router] {note}" for note in notes)]
    return {"content": [{"type": "text", "text": block} for block in blocks if block], "isError": is_error}


def failed_result(message: str, partial: str = "") -> JSON:
    notes = (f"the text above is incomplete: {message}",) if partial else (message,)
    return tool_result(partial, *notes, is_error=True)


def answer_result(answer: Answer) -> JSON:
    cut = ["the answer was cut at the token limit"] if answer.finish_reason == "length" else []
    result = tool_result(answer.text, *cut, *answer.warnings)
    facts = {"model": answer.model_used, "tokens": answer.tokens, "cost_usd": answer.cost, "seconds": answer.latency_s}
    return {**result, "_meta": {f"llm-router/{name}": value for name, value in facts.items() if value is not None}}


def add_arguments(parser: Parser) -> None:
    """Options of the command `mcp`."""
    take_options(parser)


def run(args: Any, console: Console) -> int:
    """The command `mcp`: until the input ends; calls that were read before are answered first."""
    if sys.stdin is None or sys.stdin.isatty():
        step = "Name this command in an agent's settings; `docs mcp` shows how."
        raise UsageError("mcp speaks to a program over pipes, and standard input is a terminal", next_step=step)
    usual = request_without_question(args)
    if args.fallback:
        usual["fallback"] = args.fallback
    server = Server(console, open_client(args, console), usual, args.detail)
    while server.failure is None and (line := sys.stdin.buffer.readline(MAX_LINE_BYTES)):
        if not line.endswith(b"\n") and len(line) >= MAX_LINE_BYTES:
            raise UsageError(f"a message is longer than {MAX_LINE_BYTES} bytes", next_step="Send images by their URL or path.")
        if line.strip():
            server.handle(line)
    server.finish()
    if server.failure is not None:
        raise server.failure
    return 0
