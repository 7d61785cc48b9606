"""smolagents' OpenAIModel, called as a model: its agents want a model that writes code, or final_answer."""

from probe import CHAT, HELLO, KEY, LIMITED, TOO_LONG, TOOLS, URL, add, report
from smolagents import OpenAIModel, tool

MESSAGES = [{"role": "user", "content": [{"type": "text", "text": HELLO}]}]


def model(name):
    return OpenAIModel(model_id=name, api_base=f"{URL}/v1", api_key=KEY, client_kwargs={"max_retries": 0}, retry=False)


def chat(name=CHAT):
    return model(name).generate(MESSAGES).content


def tools():
    calls = model(TOOLS).generate(MESSAGES, tools_to_call_from=[tool(add)]).tool_calls
    return [[each.function.name, each.function.arguments] for each in calls]


report(
    chat=chat, stream=lambda: [each.content for each in model(CHAT).generate_stream(MESSAGES) if each.content], calls=tools,
    limited=lambda: chat(LIMITED), long=lambda: chat(TOO_LONG),
)  # fmt: skip
