"""dspy's LM."""

import dspy
from probe import CHAT, HELLO, KEY, LIMITED, TOO_LONG, URL, report


def lm(model, **more):
    return dspy.LM(f"openai/{model}", api_base=f"{URL}/v1", api_key=KEY, cache=False, **more)


def chat(model=CHAT, **more):
    return lm(model, **more)(HELLO)[0]


def text_of(answer):
    return answer["text"] if isinstance(answer, dict) else answer


report(
    chat=chat, responses=lambda: text_of(chat(model_type="responses")), limited=lambda: chat(LIMITED),
    long=lambda: chat(TOO_LONG),
)  # fmt: skip
