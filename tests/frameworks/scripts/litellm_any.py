"""litellm's own functions, with the prefix that says which protocol it is to speak."""

import json
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # or it is fetched when the module is imported

import litellm
from probe import ADD_SCHEMA, CHAT, HELLO, KEY, LIMITED, TOO_LONG, TOOLS, URL, add, report
from pydantic import BaseModel

BASES = {"openai": f"{URL}/v1", "anthropic": URL, "gemini": f"{URL}/v1beta/models"}


class Trip(BaseModel):
    city: str
    nights: int


def complete(model, provider="openai", messages=None, **more):
    messages = messages or [{"role": "user", "content": HELLO}]
    return litellm.completion(f"{provider}/{model}", messages, api_base=BASES[provider], api_key=KEY, **more)


def chat(model=CHAT, provider="openai"):
    return complete(model, provider).choices[0].message.content


def stream(provider="openai"):
    return [each.choices[0].delta.content for each in complete(CHAT, provider, stream=True) if each.choices[0].delta.content]


def tools(provider="openai"):
    offered = [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": ADD_SCHEMA}}]
    history = [{"role": "user", "content": HELLO}]
    message = complete(TOOLS, provider, history, tools=offered).choices[0].message
    history.append(message.model_dump())
    for call in message.tool_calls:
        text = add(**json.loads(call.function.arguments))
        history.append({"role": "tool", "tool_call_id": call.id, "name": "add", "content": text})
    return complete(TOOLS, provider, history, tools=offered).choices[0].message.content


def schema(provider="openai"):
    trip = Trip.model_validate_json(complete(CHAT, provider, response_format=Trip).choices[0].message.content)
    return [trip.city, trip.nights]


def responses():
    answer = litellm.responses(HELLO, f"openai/{CHAT}", api_base=f"{URL}/v1", api_key=KEY)
    return answer.output_text


report(
    chat=chat, stream=stream, tools=tools, schema=schema, responses=responses,
    anthropic=lambda: chat(provider="anthropic"), anthropic_tools=lambda: tools("anthropic"),
    limited=lambda: chat(LIMITED), long=lambda: chat(TOO_LONG),
)  # fmt: skip
