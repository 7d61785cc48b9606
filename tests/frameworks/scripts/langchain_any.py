"""LangChain's three partner packages; openai twice, since `reasoning` makes it speak Responses."""

import sys

from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from probe import CHAT, HELLO, KEY, LIMITED, THINKING, TOO_LONG, TOOLS, URL, add, report
from pydantic import BaseModel

KIND = sys.argv[1]


class Trip(BaseModel):
    """A trip."""

    city: str
    nights: int


def model(name):
    if KIND == "anthropic":
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(model=name, base_url=URL, api_key=KEY)
    if KIND == "google":
        from langchain_google_genai import ChatGoogleGenerativeAI

        return ChatGoogleGenerativeAI(model=name, base_url=URL, google_api_key=KEY)
    from langchain_openai import ChatOpenAI

    more = {"reasoning": {"effort": "low", "summary": "auto"}} if KIND == "reasoning" else {}
    return ChatOpenAI(model=name, base_url=f"{URL}/v1", api_key=KEY, **more)


def chat(name=CHAT):
    return model(name).invoke(HELLO).text


def tools():
    """One round by hand, as the guide on tool calls has it: the answer goes back into the history as it came."""
    bound, history = model(TOOLS).bind_tools([tool(add)]), [("user", HELLO)]
    answer = bound.invoke(history)
    results = [ToolMessage(add(**each["args"]), tool_call_id=each["id"]) for each in answer.tool_calls]
    return bound.invoke([*history, answer, *results]).text


def agent_tools():
    from langchain.agents import create_agent

    run = create_agent(model(TOOLS), [tool(add)]).invoke({"messages": [("user", HELLO)]})
    return run["messages"][-1].text


def schema():
    trip = model(CHAT).with_structured_output(Trip).invoke(HELLO)
    return [trip.city, trip.nights]


def thinking():
    """A second turn carries the first one's reasoning back."""
    asked = model(THINKING)
    first = asked.invoke(HELLO)
    return asked.invoke([("user", HELLO), first, ("user", "Again")]).text


report(
    chat=chat, stream=lambda: [each.text for each in model(CHAT).stream(HELLO)], tools=tools, agent_tools=agent_tools,
    schema=schema, thinking=thinking, limited=lambda: chat(LIMITED), long=lambda: chat(TOO_LONG),
)  # fmt: skip
