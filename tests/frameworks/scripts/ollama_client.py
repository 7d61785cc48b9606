"""ollama's own client: OLLAMA_HOST points at the gateway."""

import ollama
from probe import CHAT, HELLO, KEY, LIMITED, TOO_LONG, TOOLS, UPSTREAM, URL, add, report
from pydantic import BaseModel

client = ollama.Client(host=URL, headers={"authorization": f"Bearer {KEY}"})
ASK = [{"role": "user", "content": HELLO}]


class Trip(BaseModel):
    city: str
    nights: int


def chat(model=CHAT):
    return client.chat(model, ASK).message.content


def tools():
    history = list(ASK)
    message = client.chat(TOOLS, history, tools=[add]).message
    history.append(message)
    for call in message.tool_calls:
        history.append({"role": "tool", "content": add(**call.function.arguments), "tool_name": call.function.name})
    return client.chat(TOOLS, history, tools=[add]).message.content


def schema():
    trip = Trip.model_validate_json(client.chat(CHAT, ASK, format=Trip.model_json_schema()).message.content)
    return [trip.city, trip.nights]


def stream():
    return [each.message.content for each in client.chat(CHAT, ASK, stream=True) if each.message.content]


def listed():
    return f"to-{UPSTREAM}/{CHAT}" in [each.model for each in client.list().models]


report(
    chat=chat, stream=stream, generate=lambda: client.generate(CHAT, HELLO).response, listed=listed, tools=tools, schema=schema,
    limited=lambda: chat(LIMITED), long=lambda: chat(TOO_LONG),
)  # fmt: skip
