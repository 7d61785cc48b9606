"""groq's SDK, which puts /openai/v1 before every path."""

import json

from groq import Groq
from probe import ADD_SCHEMA, CHAT, HELLO, KEY, LIMITED, TOO_LONG, TOOLS, URL, add, report

client = Groq(base_url=URL, api_key=KEY)
TRIP = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "nights": {"type": "integer"}},
    "required": ["city", "nights"],
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "trip", "schema": TRIP}}


def complete(model, messages=None, **more):
    return client.chat.completions.create(model=model, messages=messages or [{"role": "user", "content": HELLO}], **more)


def chat(model=CHAT):
    return complete(model).choices[0].message.content


def tools():
    offered = [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": ADD_SCHEMA}}]
    history = [{"role": "user", "content": HELLO}]
    message = complete(TOOLS, history, tools=offered).choices[0].message
    history.append(message.model_dump(exclude_none=True))
    for call in message.tool_calls:
        history.append({"role": "tool", "tool_call_id": call.id, "content": add(**json.loads(call.function.arguments))})
    return complete(TOOLS, history, tools=offered).choices[0].message.content


def schema():
    return list(json.loads(complete(CHAT, response_format=FORMAT).choices[0].message.content).values())


def stream():
    found = [each.choices[0].delta.content for each in complete(CHAT, stream=True) if each.choices]
    return [each for each in found if each]


report(
    chat=chat, stream=stream, tools=tools, schema=schema, limited=lambda: chat(LIMITED), long=lambda: chat(TOO_LONG),
)  # fmt: skip
