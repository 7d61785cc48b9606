"""Options with structured values: JSON (or a word short for it), the body file, and header lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_router_client import NOT_IN_BODY, UsageError, json_from, text_from

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_router_client import JSON

OF_COMPARE = ("models", "message", "system", "max_workers")  # arguments of compare_models()
SECRET_HEADERS = frozenset({"authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"})


def body_in_file(args: Any) -> JSON:
    """The object in the --body-file, {} without one."""
    body: JSON = json_from(text_from(args, args.body_file), "--body-file", dict) or {}
    for name in (*NOT_IN_BODY, *(OF_COMPARE if args.models else ())):
        if name in body:
            raise UsageError(f"--body-file: {name!r} cannot be a field of this request", next_step="Use the command's options.")
    return body


def chosen(name: str, text: str) -> Any:
    """The value of an option that takes a word or a JSON object, in the API's form.

    chosen("tool_choice", "f") -> {"type": "function", "function": {"name": "f"}};  chosen("tool_choice", "auto") -> "auto"
    chosen("response_format", "json") -> {"type": "json_object"}
    """
    if text.startswith("{"):
        return json_from(text, f"--{name.replace('_', '-')}", dict)
    if name == "response_format":
        return {"type": "json_object" if text == "json" else text}
    if text in ("auto", "none", "required"):
        return text
    return {"name": text} if name == "function_call" else {"type": "function", "function": {"name": text}}


def schema_format(schema: JSON) -> JSON:
    """The response_format for an answer that fits a schema."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


def fields_of(args: Any) -> JSON:
    """The fields of the body that these options give; they override the body file."""
    body = body_in_file(args)
    for name in ("tools", "functions"):
        value = json_from(text_from(args, getattr(args, name)), f"--{name}", list)
        body.update({} if value is None else {name: value})
    for name in ("tool_choice", "function_call", "response_format"):
        text = getattr(args, name)
        body.update({} if text is None else {name: chosen(name, text)})
    if args.schema is not None:
        schema = json_from(text_from(args, args.schema), "--schema", dict)
        if args.response_format:
            raise UsageError("give --schema or --response-format, not both")
        body["response_format"] = schema_format(schema)
    return body


def headers_of(lines: Sequence[str]) -> dict[str, str]:
    """headers_of(["X-Team: blue"]) -> {"X-Team": "blue"}; UsageError for others, without their text: it may be secret."""
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = (part.strip() for part in line.partition(":"))
        if not name or not colon:
            raise UsageError("--header takes 'Name: value', with the colon", next_step="Write it like --header 'X-Team: blue'.")
        if name.lower() in SECRET_HEADERS:
            raise UsageError("--header takes no credentials: those come from the environment")
        if name.lower() in map(str.lower, headers):
            raise UsageError(f"--header names {name[:40]} twice", next_step="Give each header once.")
        headers[name] = value
    return headers
