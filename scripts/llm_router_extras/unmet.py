"""Unmet demands: a tool call or a number of choices that a request prescribes, and the answer does not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llm_router_client import as_dict, dicts

if TYPE_CHECKING:
    from llm_router_client import JSON, Reader

ANY_TOOL = ("required", "any")  # OpenAI's word, and that of Mistral and of Gemini's mode ANY


def prescribed_call(body: JSON) -> tuple[str, str, list[str]]:
    """The field that prescribes a tool call, "any" or "none" ("" where the model chooses), and the names it allows ([]: all).

    prescribed_call({"tool_choice": "required"})                       -> ("tool_choice", "any", [])
    prescribed_call({"function_call": {"name": "f"}})                  -> ("function_call", "any", ["f"])
    prescribed_call({"toolConfig": {"functionCallingConfig": {"mode": "NONE"}}}) -> ("toolConfig", "none", [])
    """
    field = next((name for name in ("tool_choice", "function_call", "toolConfig") if name in body), "")
    choice: Any = body.get(field)
    if field == "toolConfig":
        config = as_dict(as_dict(choice).get("functionCallingConfig"))
        choice, names = str(config.get("mode")).lower(), config.get("allowedFunctionNames")
    else:
        allowed = as_dict(as_dict(choice).get("allowed_tools"))
        names = [as_dict(tool.get("function")).get("name") for tool in dicts(allowed.get("tools"))]
        if allowed:
            choice = allowed.get("mode")
        elif isinstance(choice, dict):
            choice, names = "required", [as_dict(choice.get("function")).get("name") or choice.get("name")]
    demand = "any" if choice in ANY_TOOL else "none" if choice == "none" else ""
    return field, demand, [name for name in names or () if isinstance(name, str)]


def unmet_call(body: JSON, calls: list[JSON]) -> str:
    """A warning where the answer's calls are not as the request prescribes, else ""."""
    field, demand, names = prescribed_call(body)
    if demand == "none" and calls:
        return f"{field} allows no tool call, and the answer has one"
    if demand != "any" or any(not names or call["name"] in names for call in calls):
        return ""
    return f"{field} prescribes a call of {' or '.join(names) or 'a tool'}, and the answer has none"


def too_few_choices(body: JSON, reader: Reader) -> str:
    """A warning where the answer has fewer choices than the request asks for, else "".

    Of a stream of Gemini's only the first candidate is put together: there the others cannot be counted.
    """
    config, gemini = as_dict(body.get("generationConfig")), reader.gemini
    field, wanted = ("candidateCount", config.get("candidateCount")) if gemini else ("n", body.get("n"))
    came = len(dicts(reader.body().get("candidates"))) if gemini else len(reader.choices)
    few = isinstance(wanted, int) and came < wanted and (reader.raw or not gemini)
    return f"{field} asks for {wanted} choices, and the answer has {came}" if few else ""


def warnings(body: JSON, reader: Reader) -> list[str]:
    """What a request prescribes and the whole answer in a Reader does not have, each as a warning."""
    return [*filter(None, (unmet_call(body, reader.tool_calls()), too_few_choices(body, reader)))]
