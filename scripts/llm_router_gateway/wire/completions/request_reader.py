"""A text completion's body -> ir.Request, as a chat of one message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...errors import NO_SUCH_CALL, BadRequest, GatewayError, UnknownModel
from .. import ir
from ..fields import integer, items, number, obj, refuse, text, truth
from ..shapes import both, shape, unread

OPENAI = "openai"
FIELDS = frozenset({
    "model", "prompt", "stream", "stream_options", "max_tokens", "temperature", "top_p", "presence_penalty",
    "frequency_penalty", "seed", "stop", "n", "best_of", "user", "suffix", "echo", "logprobs",
})  # fmt: skip
STREAM_OPTIONS = shape("include_usage", "include_obfuscation")
# What only a server that completes texts can do.
UPSTREAMS_OWN = ("suffix", "echo", "logprobs")
CHAT_WORDS = re.compile(r"chat model|chat[/ ]completions", re.IGNORECASE)
REFUSED_AS_TEXT = frozenset({400, 403, 404, 405, 422, 501})


def only_upstream(fields: Mapping[str, Any]) -> str:
    """The field that only an upstream with text completions can serve; "" where a chat will do.

    only_upstream({"prompt": "def f(", "suffix": "return x"}) -> "suffix"
    """
    for name in UPSTREAMS_OWN:
        value = fields.get(name)
        if value is not None and value is not False and value != "":  # 0 log probabilities are a request for them, too
            return name
    prompt = fields.get("prompt")
    is_text = (
        prompt is None
        or isinstance(prompt, str)
        or (isinstance(prompt, list) and all(isinstance(each, str) for each in prompt))
    )
    return "" if is_text else "prompt"


def lacks_call(error: GatewayError) -> bool:
    """Whether an upstream says that it has no text completions, for this model or at all: then a chat may do.

    404 "This is a chat model and not supported in the v1/completions endpoint. ..."  -> True
    404 without words for the path, 405, 501                                          -> True
    404 for a model that it does not have                                             -> False
    """
    if error.status in REFUSED_AS_TEXT and CHAT_WORDS.search(error.message):
        return True
    return error.status in NO_SUCH_CALL and error.code != UnknownModel.code


def read_prompt(value: Any) -> str:
    """One text; a list of one is one. The beginning of a text (no prompt at all) is an empty one."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, list):
        raise BadRequest("prompt holds several prompts: this model answers one at a time; send one request for each",
                         details={"path": "prompt"})  # fmt: skip
    return text("" if value is None else value, "prompt")


def read_stop(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        return (value,)
    return tuple(text(each, f"stop[{at}]") for at, each in enumerate(items(value, "stop")))


def read_request(fields: Mapping[str, Any], *, model: str | None = None, stream: bool | None = None) -> ir.Request:
    """BadRequest says which field is wrong, or which needs an upstream that completes texts."""
    foreign = only_upstream(fields)
    if foreign:
        raise BadRequest(
            f"{foreign} needs an upstream with /v1/completions, and this model is reached as a chat: leave it out, or choose a "
            "model of an OpenAI-compatible server",
            details={"path": foreign},
        )
    options = obj(fields.get("stream_options") or {}, "stream_options")
    best = integer(fields.get("best_of"), "best_of")
    if best is not None and best > 1:
        refuse("best_of", "must be 1: a chat does not rank its answers")
    rest = {name: value for name, value in fields.items() if name not in FIELDS and value not in (None, [], {}, "")}
    return ir.Request(
        model=model if model is not None else text(fields.get("model"), "model"),
        messages=(ir.Message("user", (ir.Text(read_prompt(fields.get("prompt"))),)),),
        stream=stream if stream is not None else truth(fields.get("stream"), "stream") or False,
        include_usage=truth(options.get("include_usage"), "stream_options.include_usage") or False,
        max_tokens=integer(fields.get("max_tokens"), "max_tokens"),
        temperature=number(fields.get("temperature"), "temperature"),
        top_p=number(fields.get("top_p"), "top_p"),
        presence_penalty=number(fields.get("presence_penalty"), "presence_penalty"),
        frequency_penalty=number(fields.get("frequency_penalty"), "frequency_penalty"),
        seed=integer(fields.get("seed"), "seed"),
        stop=read_stop(fields.get("stop")),
        n=integer(fields.get("n"), "n"),
        user=text(fields.get("user") or "", "user"),
        extras=both({OPENAI: rest} if rest else ir.NOTHING, unread(options, STREAM_OPTIONS, "stream_options.")),
    )
