"""openai-agents as its guide has it: the default client, and so Responses."""

from dataclasses import dataclass

from agents import Agent, Runner, function_tool, set_default_openai_client, set_tracing_disabled
from openai import AsyncOpenAI
from probe import CHAT, HELLO, KEY, LIMITED, TOO_LONG, TOOLS, URL, add, report

set_default_openai_client(AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY))
set_tracing_disabled(True)  # traces go to OpenAI otherwise


@dataclass
class Trip:
    city: str
    nights: int


def agent(model, **more):
    return Agent(name="Assistant", instructions="Be brief.", model=model, **more)


async def chat(model=CHAT):
    return (await Runner.run(agent(model), HELLO)).final_output


async def stream():
    run = Runner.run_streamed(agent(CHAT), HELLO)
    data = [getattr(each, "data", None) async for each in run.stream_events()]
    return [each.delta for each in data if getattr(each, "type", "") == "response.output_text.delta"]


async def tools():
    return (await Runner.run(agent(TOOLS, tools=[function_tool(add)]), HELLO)).final_output


async def schema():
    trip = (await Runner.run(agent(CHAT, output_type=Trip), HELLO)).final_output
    return [trip.city, trip.nights]


report(chat=chat, stream=stream, tools=tools, schema=schema, limited=lambda: chat(LIMITED), long=lambda: chat(TOO_LONG))
