"""instructor over the openai SDK, by tools (its default), by JSON schema and by Responses."""

import instructor
from openai import OpenAI
from probe import CHAT, HELLO, KEY, LIMITED, TOO_LONG, URL, report
from pydantic import BaseModel


class Trip(BaseModel):
    city: str
    nights: int


def schema(mode=instructor.Mode.TOOLS, model=CHAT):
    client = instructor.from_openai(OpenAI(base_url=f"{URL}/v1", api_key=KEY), mode=mode)
    asked = {"model": model, "response_model": Trip, "messages": [{"role": "user", "content": HELLO}], "max_retries": 1}
    trip = client.chat.completions.create(**asked)
    return [trip.city, trip.nights]


def stream():
    client = instructor.from_openai(OpenAI(base_url=f"{URL}/v1", api_key=KEY))
    messages = [{"role": "user", "content": HELLO}]
    last = list(client.chat.completions.create_partial(model=CHAT, response_model=Trip, messages=messages))[-1]
    return [last.city, last.nights]


report(
    schema=schema, schema_by_json=lambda: schema(instructor.Mode.JSON_SCHEMA),
    schema_by_responses=lambda: schema(instructor.Mode.RESPONSES_TOOLS), partial=stream,
    limited=lambda: schema(model=LIMITED), long=lambda: schema(model=TOO_LONG),
)  # fmt: skip
