"""strands-agents with the model class of each protocol."""

import sys

from probe import CHAT, HELLO, KEY, TOO_LONG, TOOLS, URL, add, report
from pydantic import BaseModel
from strands import Agent, tool

KIND = sys.argv[1]


class Trip(BaseModel):
    """A trip."""

    city: str
    nights: int


def model(name):
    if KIND == "responses":
        from strands.models.openai_responses import OpenAIResponsesModel

        return OpenAIResponsesModel(client_args={"base_url": f"{URL}/v1", "api_key": KEY}, model_id=name)
    from strands.models.openai import OpenAIModel

    return OpenAIModel(client_args={"base_url": f"{URL}/v1", "api_key": KEY}, model_id=name)


def agent(name, **more):
    return Agent(model=model(name), callback_handler=None, **more)


def chat(name=CHAT):
    return str(agent(name)(HELLO)).strip()


def schema():
    trip = agent(CHAT)(HELLO, structured_output_model=Trip).structured_output
    return [trip.city, trip.nights]


async def stream():
    return [each["data"] async for each in agent(CHAT).stream_async(HELLO) if "data" in each]


def tools():
    return str(agent(TOOLS, tools=[tool(add)])(HELLO)).strip()


report(chat=chat, stream=stream, tools=tools, schema=schema, long=lambda: chat(TOO_LONG))
