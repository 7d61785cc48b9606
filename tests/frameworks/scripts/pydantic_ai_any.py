"""pydantic-ai by the name of a provider, as its guide has it; `openai:` is Responses."""

import os
import sys

from probe import CHAT, HELLO, KEY, LIMITED, TOO_LONG, TOOLS, URL, add, report
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput

PROVIDER = sys.argv[1]
os.environ |= {
    "OPENAI_BASE_URL": f"{URL}/v1", "OPENAI_API_KEY": KEY, "ANTHROPIC_BASE_URL": URL, "ANTHROPIC_API_KEY": KEY,
    "GOOGLE_GEMINI_BASE_URL": URL, "GOOGLE_API_KEY": KEY,
}  # fmt: skip


class Trip(BaseModel):
    city: str
    nights: int


def agent(model, **more):
    return Agent(f"{PROVIDER}:{model}", instructions="Be brief.", **more)


async def chat(model=CHAT):
    return (await agent(model).run(HELLO)).output


async def stream():
    async with agent(CHAT).run_stream(HELLO) as run:
        return [each async for each in run.stream_text(delta=True, debounce_by=None)]


async def tools():
    return (await agent(TOOLS, tools=[add]).run(HELLO)).output


async def schema_native():
    trip = (await agent(CHAT, output_type=NativeOutput(Trip)).run(HELLO)).output
    return [trip.city, trip.nights]


async def schema():
    trip = (await agent(CHAT, output_type=Trip).run(HELLO)).output
    return [trip.city, trip.nights]


report(
    chat=chat, stream=stream, tools=tools, schema=schema, limited=lambda: chat(LIMITED),
    long=lambda: chat(TOO_LONG), **({} if PROVIDER == "anthropic" else {"schema_native": schema_native}),
)  # fmt: skip
