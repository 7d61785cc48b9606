"""mistralai's SDK."""

import json

from mistralai.client import Mistral
from probe import ADD_SCHEMA, CHAT, HELLO, KEY, LIMITED, TOO_LONG, TOOLS, URL, add, report
from pydantic import BaseModel

client = Mistral(api_key=KEY, server_url=URL)


class Trip(BaseModel):
    city: str
    nights: int


ASK = [{"role": "user", "content": HELLO}]


def chat(model=CHAT):
    return client.chat.complete(model=model, messages=ASK).choices[0].message.content


def stream():
    events = client.chat.stream(model=CHAT, messages=ASK)
    found = [each.data.choices[0].delta.content for each in events if each.data.choices]
    return [each for each in found if each]


def tools():
    offered = [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": ADD_SCHEMA}}]
    history = list(ASK)
    message = client.chat.complete(model=TOOLS, messages=history, tools=offered).choices[0].message
    history.append(message)
    for call in message.tool_calls:
        text = add(**json.loads(call.function.arguments))
        history.append({"role": "tool", "name": "add", "tool_call_id": call.id, "content": text})
    return client.chat.complete(model=TOOLS, messages=history, tools=offered).choices[0].message.content


def schema():
    trip = client.chat.parse(Trip, model=CHAT, messages=ASK).choices[0].message.parsed
    return [trip.city, trip.nights]


report(chat=chat, stream=stream, tools=tools, schema=schema, limited=lambda: chat(LIMITED), long=lambda: chat(TOO_LONG))
