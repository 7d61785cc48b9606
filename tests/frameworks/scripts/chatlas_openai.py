"""chatlas with ChatOpenAI, which speaks Responses."""

from chatlas import ChatOpenAI
from probe import CHAT, HELLO, KEY, LIMITED, TOO_LONG, TOOLS, URL, add, report
from pydantic import BaseModel


class Trip(BaseModel):
    city: str
    nights: int


def client(model):
    return ChatOpenAI(model=model, base_url=f"{URL}/v1", api_key=KEY, system_prompt="Be brief.")


def chat(model=CHAT):
    return str(client(model).chat(HELLO, echo="none"))


def tools():
    asked = client(TOOLS)
    asked.register_tool(add)
    return str(asked.chat(HELLO, echo="none"))


def schema():
    trip = client(CHAT).chat_structured(HELLO, data_model=Trip)
    return [trip.city, trip.nights]


report(
    chat=chat, stream=lambda: list(map(str, client(CHAT).stream(HELLO))), tools=tools, schema=schema,
    limited=lambda: chat(LIMITED), long=lambda: chat(TOO_LONG),
)  # fmt: skip
