"""llama-index's OpenAILike: /v1/completions unless it is told that the model chats."""

from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from probe import CHAT, HELLO, KEY, LIMITED, TOO_LONG, TOOLS, URL, add, report
from pydantic import BaseModel


class Trip(BaseModel):
    """A trip."""

    city: str
    nights: int


def llm(model, **more):
    return OpenAILike(model=model, api_base=f"{URL}/v1", api_key=KEY, **more)


def talks(model):
    return llm(model, is_chat_model=True, is_function_calling_model=True)


def completion(model=CHAT):
    return llm(model).complete(HELLO).text


def chat(model=CHAT):
    return talks(model).chat([ChatMessage(role="user", content=HELLO)]).message.content


def tools():
    return str(talks(TOOLS).predict_and_call([FunctionTool.from_defaults(add)], user_msg=HELLO))


def schema():
    trip = talks(CHAT).structured_predict(Trip, prompt=prompt())
    return [trip.city, trip.nights]


def prompt():
    from llama_index.core import PromptTemplate

    return PromptTemplate(HELLO)


def stream():
    return [each.delta for each in talks(CHAT).stream_chat([ChatMessage(role="user", content=HELLO)]) if each.delta]


def completion_stream():
    return [each.delta for each in llm(CHAT).stream_complete(HELLO) if each.delta]


report(
    chat=chat, completion=completion, stream=stream, completion_stream=completion_stream, tools=tools, schema=schema,
    limited=lambda: chat(LIMITED), long=lambda: chat(TOO_LONG),
)  # fmt: skip
