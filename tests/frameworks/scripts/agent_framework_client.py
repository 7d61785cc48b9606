"""agent-framework's OpenAI client, which speaks Responses and builds on earlier answers by their id."""

from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient
from probe import CHAT, HELLO, KEY, LIMITED, TOO_LONG, TOOLS, URL, add, report
from pydantic import BaseModel


class Trip(BaseModel):
    city: str
    nights: int


def agent(model, **more):
    client = OpenAIChatClient(model=model, api_key=KEY, base_url=f"{URL}/v1")
    return Agent(client=client, instructions="Be brief.", **more)


async def chat(model=CHAT):
    return (await agent(model).run(HELLO)).text


async def stream():
    return [each.text async for each in agent(CHAT).run(HELLO, stream=True) if each.text]


async def tools():
    return (await agent(TOOLS, tools=[add]).run(HELLO)).text


async def schema():
    trip = (await agent(CHAT).run(HELLO, options={"response_format": Trip})).value
    return [trip.city, trip.nights]


async def session():
    one = agent(CHAT)
    held = one.create_session()
    await one.run(HELLO, session=held)
    return (await one.run("Again", session=held)).text


report(
    chat=chat, stream=stream, tools=tools, schema=schema, session=session, limited=lambda: chat(LIMITED),
    long=lambda: chat(TOO_LONG),
)  # fmt: skip
