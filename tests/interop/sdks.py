"""The vendors' SDKs behind one small vocabulary, so that a scenario is written once for all of them; OpenAI's has two APIs.

    sdk = SDKS["anthropic"]("http://127.0.0.1:8000", key)
    chat = sdk.chat("demo", system="Be brief.", stream=True)
    chat.say("Hello")  -> Said(text="...", finish="end", calls=[], input_tokens=5, output_tokens=9, ...)
    chat.results([(call, "sunny")])  -> Said(...)

Each class uses its SDK as that vendor's guide does: its stream helper, its objects put back into the history, its way to ask
for a pydantic model. No SDK is imported before its class is made.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple, get_type_hints

import pytest

TIMEOUT_S = 15.0  # one call; the mock server answers in milliseconds
MAX_TOKENS = 256  # Anthropic's API wants a limit

# ------------------------------------------------------------------------------------------------------------- values


class Call(NamedTuple):
    """A tool call as its SDK understood it."""

    id: str
    name: str
    arguments: dict[str, Any]


class Said(NamedTuple):
    """One answer, in no vendor's words."""

    text: str
    finish: str  # end, tools, length
    calls: list[Call]
    input_tokens: int
    output_tokens: int
    thinking: str = ""
    parsed: Any = None  # what the SDK made of the answer to a schema
    cached: int = 0  # of input_tokens, which are all of them: those that came from a cache


class Problem(NamedTuple):
    """What an SDK raised for an HTTP error."""

    status: int
    message: str
    retry_after: str
    kind: str  # the vendor's word: "rate_limit_error", "RESOURCE_EXHAUSTED"


def get_weather(city: str, days: int, unit: Literal["C", "F"]) -> str:
    """The weather of a city."""
    return f"{city} {days} {unit}"


def get_time(zone: str) -> str:
    """The time in a zone."""
    return zone


def add(first: int, second: int) -> str:
    """The sum of two numbers."""
    return f"sum {first + second}"


TOOLS = (get_weather, get_time)
RUNNABLE = (add, get_time)  # for the SDKs' own loops; google-genai cannot call a function with a Literal among its hints
ARGUMENTS = {  # as the mock server fills them
    "get_weather": {"city": "mock", "days": 1, "unit": "C"},
    "get_time": {"zone": "mock"},
}


def trip() -> Any:
    """The pydantic model that is asked for as the answer; pydantic comes with the SDKs."""
    from pydantic import BaseModel

    class Leg(BaseModel):
        city: str
        nights: int

    class Trip(BaseModel):
        title: str
        mode: Literal["train", "plane"]
        legs: list[Leg]

    return Trip


def arguments_of(tool: Callable[..., str]) -> dict[str, Any]:
    """A function's arguments as pydantic fields: {"zone": (str, ...)}"""
    return {name: (hint, ...) for name, hint in get_type_hints(tool).items() if name != "return"}


def schema_of(tool: Callable[..., str]) -> dict[str, Any]:
    """The JSON schema of a function's arguments, as pydantic writes it."""
    from pydantic import create_model

    return dict(create_model(tool.__name__, **arguments_of(tool)).model_json_schema())


def base64_of(data: bytes) -> str:
    return b64encode(data).decode()


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64_of(data)}"


def count_of(value: Any) -> int:
    return int(value or 0)


# --------------------------------------------------------------------------------------------------------------- OpenAI


OPENAI_FINISH = {"stop": "end", "tool_calls": "tools", "length": "length", "content_filter": "refused"}


def put_together(content: str | None, calls: Sequence[Any]) -> dict[str, Any]:
    """The message that stands in the history for a stream: what the stream helper adds to it (`parsed`, a call's `index`,
    nulls) is the SDK's own and not the API's."""
    told = [
        {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}
        for call in calls
    ]
    return {"role": "assistant", "content": content} | ({"tool_calls": told} if told else {})


class OpenAIChat:
    """client.chat.completions, plain, streamed by the SDK's helper, or parsed."""

    def __init__(self, sdk: OpenAISDK, model: str, system: str, stream: bool, tools: bool, schema: Any, **more: Any) -> None:
        import openai
        from pydantic import create_model

        self.heard: list[str] = []
        self._completions, self._stream, self._schema = sdk.client.chat.completions, stream, schema
        self._not_whole = (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError)
        self.history: list[Any] = [{"role": "system", "content": system}] if system else []
        self._ask: dict[str, Any] = {"model": model, **more}
        if tools:
            models = [create_model(tool.__name__, **arguments_of(tool)) for tool in TOOLS]
            self._ask["tools"] = [openai.pydantic_function_tool(each, name=each.__name__) for each in models]

    def say(self, text: str, images: Sequence[bytes] = (), urls: Sequence[str] = (), pdf: bytes = b"") -> Said:
        addresses = [data_url(image) for image in images] + list(urls)
        parts: list[Any] = [{"type": "text", "text": text}]
        parts += [{"type": "image_url", "image_url": {"url": url}} for url in addresses]
        if pdf:
            file = {"filename": "a.pdf", "file_data": data_url(pdf, "application/pdf")}
            parts.append({"type": "file", "file": file})
        self.history.append({"role": "user", "content": parts if len(parts) > 1 else text})
        return self._turn()

    def results(self, results: Sequence[tuple[Call, str]]) -> Said:
        self.history += [{"role": "tool", "tool_call_id": call.id, "content": text} for call, text in results]
        return self._turn()

    def _turn(self) -> Said:
        self.heard.clear()
        completion = self._streamed() if self._stream else self._plain()
        choice = completion.choices[0]
        calls = choice.message.tool_calls or ()
        self.history.append(put_together(choice.message.content, calls) if self._stream else choice.message)
        return Said(
            choice.message.content or "", OPENAI_FINISH[choice.finish_reason],
            [Call(each.id, each.function.name, json.loads(each.function.arguments)) for each in calls],
            completion.usage.prompt_tokens, completion.usage.completion_tokens,
            getattr(choice.message, "reasoning_content", None) or "", getattr(choice.message, "parsed", None),
            count_of(getattr(completion.usage.prompt_tokens_details, "cached_tokens", 0)),
        )  # fmt: skip

    def _plain(self) -> Any:
        if self._schema:
            return self._completions.parse(messages=self.history, response_format=self._schema, **self._ask)
        return self._completions.create(messages=self.history, **self._ask)

    def _streamed(self) -> Any:
        wish = {"response_format": self._schema} if self._schema else {}
        asked = {"messages": self.history, "stream_options": {"include_usage": True}, **wish, **self._ask}
        with self._completions.stream(**asked) as events:
            for event in events:
                if event.type == "content.delta":
                    self.heard.append(event.delta)
            try:
                return events.get_final_completion()
            except self._not_whole as error:  # finish_reason "length"; for "content_filter" the SDK's error holds nothing
                return getattr(error, "completion", None) or events.current_completion_snapshot


OPENAI_KINDS = {401: "AuthenticationError", 404: "NotFoundError", 429: "RateLimitError", 529: "InternalServerError"}
OPENAI_MUST: dict[str, Any] = {"": "required", "get_time": {"type": "function", "function": {"name": "get_time"}}}
OPENAI_THINKS = {"reasoning_effort": "low"}
OPENAI_LIMITS: dict[str, Any] = {"max_completion_tokens": 64, "stop": ["END"]}


class OpenAISDK:
    """openai, against URL/v1."""

    api = "openai"
    too_long = "maximum context length"  # words that tell its users of a conversation that is too long
    kinds = OPENAI_KINDS
    limits = OPENAI_LIMITS
    thinks: dict[str, Any] = OPENAI_THINKS

    def __init__(self, url: str, key: str) -> None:
        import openai

        self.module: Any = openai
        self.client = self.module.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=TIMEOUT_S)
        self.error: type[Exception] = self.module.APIError

    def chat(self, model: str, *, system: str = "", stream: bool = False, tools: bool = False, schema: Any = None,
             **more: Any) -> OpenAIChat:  # fmt: skip
        return OpenAIChat(self, model, system, stream, tools, schema, **more)

    def must_call(self, name: str = "") -> dict[str, Any]:
        """The wish for a call of one tool, or of any."""
        return {"tool_choice": OPENAI_MUST[name]}

    def problem(self, error: Any) -> Problem:
        return Problem(error.status_code, error.message, error.response.headers.get("retry-after", ""), type(error).__name__)

    def models(self) -> list[str]:
        return [model.id for model in self.client.models.list()]

    def model(self, name: str) -> str:
        return str(self.client.models.retrieve(name).id)

    def embed(self, model: str, text: str) -> list[float]:
        """A vector; the SDK asks for base64 and unpacks it."""
        return list(self.client.embeddings.create(model=model, input=text).data[0].embedding)

    def first_piece(self, model: str, text: str) -> str:
        """The first words of a stream that is closed then."""
        asked: list[Any] = [{"role": "user", "content": text}]
        with self.client.chat.completions.create(model=model, messages=asked, stream=True) as chunks:
            return next(said for chunk in chunks if chunk.choices and (said := chunk.choices[0].delta.content))

    async def ask_async(self, url: str, key: str, model: str, text: str) -> str:
        """The streamed answer of the SDK's asynchronous client."""
        client = self.module.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=TIMEOUT_S)
        async with client:
            events = await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": text}], stream=True
            )
            return "".join([chunk.choices[0].delta.content or "" async for chunk in events if chunk.choices])

    def close(self) -> None:
        self.client.close()


# ------------------------------------------------------------------------------------------------------ OpenAI Responses


class ResponsesChat:
    """client.responses, plain, streamed by the SDK's helper, or parsed; all is sent again each time, unless `store` is true."""

    def __init__(self, sdk: ResponsesSDK, model: str, system: str, stream: bool, tools: bool, schema: Any, **more: Any) -> None:
        self.heard: list[str] = []
        self._goes_on = bool(more.get("store"))  # by the id of the answer before; else all is sent again
        self._responses, self._stream, self._schema = sdk.client.responses, stream, schema
        self.history: list[Any] = []
        self._ask: dict[str, Any] = {"model": model, "store": False, **more}
        self._ask |= {"instructions": system} if system else {}
        self._ask |= {"tools": responses_tools()} if tools else {}

    def say(self, text: str, images: Sequence[bytes] = (), urls: Sequence[str] = (), pdf: bytes = b"") -> Said:
        addresses = [data_url(image) for image in images] + list(urls)
        parts: list[Any] = [{"type": "input_text", "text": text}]
        parts += [{"type": "input_image", "image_url": url, "detail": "auto"} for url in addresses]
        if pdf:
            parts.append({"type": "input_file", "filename": "a.pdf", "file_data": data_url(pdf, "application/pdf")})
        self.history.append({"role": "user", "content": parts if len(parts) > 1 else text})
        return self._turn()

    def results(self, results: Sequence[tuple[Call, str]]) -> Said:
        self.history += [{"type": "function_call_output", "call_id": call.id, "output": text} for call, text in results]
        return self._turn()

    def _turn(self) -> Said:
        self.heard.clear()
        response = self._streamed() if self._stream else self._plain()
        if self._goes_on:
            self.history.clear()
            self._ask["previous_response_id"] = response.id
        self.history += [] if self._goes_on else response.output
        calls = [item for item in response.output if item.type == "function_call"]
        thoughts = [part.text for item in response.output if item.type == "reasoning" for part in item.summary]
        return Said(
            response.output_text, responses_finish(response, bool(calls)),
            [Call(each.call_id, each.name, json.loads(each.arguments)) for each in calls],
            response.usage.input_tokens, response.usage.output_tokens, "".join(thoughts),
            getattr(response, "output_parsed", None), response.usage.input_tokens_details.cached_tokens,
        )  # fmt: skip

    def _plain(self) -> Any:
        if self._schema:
            return self._responses.parse(input=self.history, text_format=self._schema, **self._ask)
        return self._responses.create(input=self.history, **self._ask)

    def _streamed(self) -> Any:
        wish = {"text_format": self._schema} if self._schema else {}
        with self._responses.stream(input=self.history, **wish, **self._ask) as events:
            for event in events:
                if event.type == "response.output_text.delta":
                    self.heard.append(event.delta)
                if event.type == "response.incomplete":  # of which the helper knows no final response
                    return event.response
            return events.get_final_response()


def responses_tools() -> list[dict[str, Any]]:
    return [
        {"type": "function", "name": tool.__name__, "description": tool.__doc__, "strict": False, "parameters": schema_of(tool)}
        for tool in TOOLS
    ]


def responses_finish(response: Any, calls: bool) -> str:
    if response.status == "incomplete":
        return {"max_output_tokens": "length", "content_filter": "refused"}[response.incomplete_details.reason]
    return "tools" if calls else "end"


RESPONSES_THINKS: dict[str, Any] = {
    "reasoning": {"effort": "low", "summary": "auto"}, "include": ["reasoning.encrypted_content"],
}  # fmt: skip


class ResponsesSDK(OpenAISDK):
    """openai's `client.responses`, against URL/v1."""

    api = "responses"
    too_long = "context"  # OpenAI's two APIs have words of their own, and one code
    limits: dict[str, Any] = {"max_output_tokens": 64}  # noqa: RUF012
    thinks = RESPONSES_THINKS

    def chat(self, model: str, *, system: str = "", stream: bool = False, tools: bool = False, schema: Any = None,
             **more: Any) -> Any:  # fmt: skip
        return ResponsesChat(self, model, system, stream, tools, schema, **more)

    def must_call(self, name: str = "") -> dict[str, Any]:
        return {"tool_choice": {"type": "function", "name": name} if name else "required"}

    def count(self, model: str, text: str) -> int:
        return int(self.client.responses.input_tokens.count(model=model, input=text).input_tokens)

    def first_piece(self, model: str, text: str) -> str:
        """The first words of a stream that is closed then."""
        with self.client.responses.create(model=model, input=text, stream=True) as events:
            return next(event.delta for event in events if event.type == "response.output_text.delta")

    async def ask_async(self, url: str, key: str, model: str, text: str) -> str:
        """The streamed answer of the SDK's asynchronous client."""
        client = self.module.AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=TIMEOUT_S)
        async with client:
            events = await client.responses.create(model=model, input=text, stream=True)
            return "".join([event.delta async for event in events if event.type == "response.output_text.delta"])


# ------------------------------------------------------------------------------------------------------------ Anthropic


ANTHROPIC_FINISH = {
    "end_turn": "end", "tool_use": "tools", "max_tokens": "length", "refusal": "refused", "stop_sequence": "end",
}  # fmt: skip


class AnthropicChat:
    """client.messages, plain, streamed by the SDK's helper, or parsed."""

    def __init__(self, sdk: AnthropicSDK, model: str, system: str, stream: bool, tools: bool, schema: Any, **more: Any) -> None:
        self.heard: list[str] = []
        self._messages, self._stream, self._schema = sdk.client.messages, stream, schema
        self.history: list[Any] = []
        self._ask: dict[str, Any] = {"model": model, "max_tokens": MAX_TOKENS, **more}
        self._ask |= {"system": system} if system else {}
        self._ask |= {"tools": anthropic_tools()} if tools else {}
        self._ask |= {"output_format": schema} if schema else {}

    def say(self, text: str, images: Sequence[bytes] = (), urls: Sequence[str] = (), pdf: bytes = b"") -> Said:
        sources: list[Any] = [{"type": "base64", "media_type": "image/png", "data": base64_of(image)} for image in images]
        sources += [{"type": "url", "url": url} for url in urls]
        parts: list[Any] = [{"type": "image", "source": source} for source in sources]
        if pdf:
            source = {"type": "base64", "media_type": "application/pdf", "data": base64_of(pdf)}
            parts.append({"type": "document", "source": source})
        self.history.append({"role": "user", "content": [*parts, {"type": "text", "text": text}] if parts else text})
        return self._turn()

    def results(self, results: Sequence[tuple[Call, str]]) -> Said:
        parts = [{"type": "tool_result", "tool_use_id": call.id, "content": text} for call, text in results]
        self.history.append({"role": "user", "content": parts})
        return self._turn()

    def _turn(self) -> Said:
        self.heard.clear()
        message = self._streamed() if self._stream else self._plain()
        self.history.append({"role": "assistant", "content": message.content})
        usage, cached = message.usage, count_of(message.usage.cache_read_input_tokens)
        of = {kind: [block for block in message.content if block.type == kind] for kind in ("text", "thinking", "tool_use")}
        return Said(
            "".join(block.text for block in of["text"]), ANTHROPIC_FINISH[message.stop_reason],
            [Call(block.id, block.name, block.input) for block in of["tool_use"]],
            usage.input_tokens + cached + count_of(usage.cache_creation_input_tokens), usage.output_tokens,
            "".join(block.thinking for block in of["thinking"]), getattr(message, "parsed_output", None), cached,
        )  # fmt: skip

    def _plain(self) -> Any:
        ask = self._messages.parse if self._schema else self._messages.create
        return ask(messages=self.history, **self._ask)

    def _streamed(self) -> Any:
        with self._messages.stream(messages=self.history, **self._ask) as stream:
            self.heard.extend(stream.text_stream)
            return stream.get_final_message()


def anthropic_tools() -> list[dict[str, Any]]:
    return [{"name": tool.__name__, "description": tool.__doc__, "input_schema": schema_of(tool)} for tool in TOOLS]


ANTHROPIC_KINDS = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error", 529: "overloaded_error"}
ANTHROPIC_MUST = {"": {"type": "any"}, "get_time": {"type": "tool", "name": "get_time"}}
ANTHROPIC_THINKS: dict[str, Any] = {"max_tokens": 2048, "thinking": {"type": "enabled", "budget_tokens": 1024}}
ANTHROPIC_LIMITS: dict[str, Any] = {"max_tokens": 64, "stop_sequences": ["END"]}


class AnthropicSDK:
    """anthropic, against URL."""

    api = "anthropic"
    too_long = "prompt is too long"
    kinds = ANTHROPIC_KINDS
    limits = ANTHROPIC_LIMITS
    thinks = ANTHROPIC_THINKS

    def __init__(self, url: str, key: str) -> None:
        import anthropic

        self.module: Any = anthropic
        self.client = self.module.Anthropic(base_url=url, api_key=key, max_retries=0, timeout=TIMEOUT_S)
        self.error: type[Exception] = self.module.APIError

    def chat(self, model: str, *, system: str = "", stream: bool = False, tools: bool = False, schema: Any = None,
             **more: Any) -> AnthropicChat:  # fmt: skip
        return AnthropicChat(self, model, system, stream, tools, schema, **more)

    def must_call(self, name: str = "") -> dict[str, Any]:
        """The wish for a call of one tool, or of any."""
        return {"tool_choice": ANTHROPIC_MUST[name]}

    def problem(self, error: Any) -> Problem:
        told = error.body["error"]
        return Problem(error.status_code, told["message"], error.response.headers.get("retry-after", ""), told["type"])

    def models(self) -> list[str]:
        return [model.id for model in self.client.models.list()]

    def model(self, name: str) -> str:
        return str(self.client.models.retrieve(name).id)

    def count(self, model: str, text: str) -> int:
        return int(self.client.messages.count_tokens(model=model, messages=[{"role": "user", "content": text}]).input_tokens)

    def run_tools(self, model: str, text: str) -> str:
        """The last answer of the SDK's own loop, which calls the functions itself."""
        tools = [self.module.beta_tool(tool) for tool in RUNNABLE]
        messages = [{"role": "user", "content": text}]
        runner = self.client.beta.messages.tool_runner(model=model, max_tokens=MAX_TOKENS, tools=tools, messages=messages)
        return "".join(block.text for block in runner.until_done().content if block.type == "text")

    def first_piece(self, model: str, text: str) -> str:
        """The first words of a stream that is closed then."""
        messages: list[Any] = [{"role": "user", "content": text}]
        with self.client.messages.stream(model=model, max_tokens=MAX_TOKENS, messages=messages) as stream:
            return str(next(stream.text_stream))

    async def ask_async(self, url: str, key: str, model: str, text: str) -> str:
        """The streamed answer of the SDK's asynchronous client."""
        client = self.module.AsyncAnthropic(base_url=url, api_key=key, max_retries=0, timeout=TIMEOUT_S)
        messages = [{"role": "user", "content": text}]
        async with client, client.messages.stream(model=model, max_tokens=MAX_TOKENS, messages=messages) as stream:
            return "".join([piece async for piece in stream.text_stream])

    def close(self) -> None:
        self.client.close()


# --------------------------------------------------------------------------------------------------------------- Gemini


GEMINI_FINISH = {"STOP": "end", "MAX_TOKENS": "length", "SAFETY": "refused"}


class GeminiChat:
    """client.chats, which keeps its own history and leaves out of it what it takes for broken."""

    def __init__(self, sdk: GeminiSDK, model: str, system: str, stream: bool, tools: bool, schema: Any, **more: Any) -> None:
        from google.genai import types

        self.heard: list[str] = []
        self._types, self._stream, self._schema = types, stream, schema
        config: dict[str, Any] = {"automatic_function_calling": {"disable": True}, **more}
        config |= {"system_instruction": system} if system else {}
        config |= {"tools": self._tools(stream)} if tools else {}
        config |= {"response_mime_type": "application/json", "response_schema": schema} if schema else {}
        self._chat = sdk.client.chats.create(model=model, config=config)

    def _tools(self, as_json_schema: bool) -> list[Any]:
        """Both ways in which tools are declared: Python functions, or JSON schemas."""
        if not as_json_schema:
            return list(TOOLS)
        declare = self._types.FunctionDeclaration
        made = [declare(name=tool.__name__, description=tool.__doc__, parameters_json_schema=schema_of(tool)) for tool in TOOLS]
        return [self._types.Tool(function_declarations=made)]

    def say(self, text: str, images: Sequence[bytes] = (), urls: Sequence[str] = (), pdf: bytes = b"") -> Said:
        part = self._types.Part
        parts = [part.from_text(text=text)]
        parts += [part.from_bytes(data=image, mime_type="image/png") for image in images]
        parts += [part.from_uri(file_uri=url, mime_type="image/png") for url in urls]
        parts += [part.from_bytes(data=pdf, mime_type="application/pdf")] if pdf else []
        return self._turn(parts)

    def results(self, results: Sequence[tuple[Call, str]]) -> Said:
        """With the calls' ids when streamed; plain without them, as Part.from_function_response makes it."""
        parts = [self._types.Part.from_function_response(name=call.name, response={"result": text}) for call, text in results]
        if self._stream:
            for part, (call, _) in zip(parts, results, strict=True):
                part.function_response.id = call.id or None
        return self._turn(parts)

    def _turn(self, message: list[Any]) -> Said:
        self.heard.clear()
        chunks = self._streamed(message) if self._stream else [self._chat.send_message(message)]
        candidates = [chunk.candidates[0] for chunk in chunks if chunk.candidates]
        parts = [part for each in candidates if each.content for part in each.content.parts or ()]
        text = "".join(part.text for part in parts if part.text and not part.thought)
        calls = [part.function_call for part in parts if part.function_call]
        finish = [each.finish_reason for each in candidates if each.finish_reason][-1]
        usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata][-1]
        return Said(
            text, "tools" if calls else GEMINI_FINISH[finish.value],
            [Call(call.id or "", call.name, dict(call.args or {})) for call in calls],
            usage.prompt_token_count, count_of(usage.candidates_token_count) + count_of(usage.thoughts_token_count),
            "".join(part.text for part in parts if part.text and part.thought),
            self._parsed(text, chunks[-1]), count_of(usage.cached_content_token_count),
        )  # fmt: skip

    def _parsed(self, text: str, last: Any) -> Any:
        """What the SDK parsed; of a stream it parses nothing."""
        if not self._schema:
            return None
        return self._schema.model_validate_json(text) if self._stream else last.parsed

    def _streamed(self, message: list[Any]) -> list[Any]:
        chunks = []
        for chunk in self._chat.send_message_stream(message):
            chunks.append(chunk)
            content = chunk.candidates[0].content if chunk.candidates else None
            self.heard.extend(part.text for part in (content and content.parts) or () if part.text and not part.thought)
        return chunks


GEMINI_KINDS = {401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 529: ""}
GEMINI_MUST = {"": {"mode": "ANY"}, "get_time": {"mode": "ANY", "allowed_function_names": ["get_time"]}}
GEMINI_THINKS = {"thinking_config": {"include_thoughts": True}}
GEMINI_LIMITS: dict[str, Any] = {"max_output_tokens": 64, "stop_sequences": ["END"]}


class GeminiSDK:
    """google-genai, against URL; it puts /v1 before its paths, and /v1beta where it is told so."""

    api = "gemini"
    too_long = "exceeds the maximum number of tokens"
    kinds = GEMINI_KINDS
    limits = GEMINI_LIMITS
    thinks = GEMINI_THINKS

    def __init__(self, url: str, key: str, version: str = "") -> None:
        from google import genai
        from google.genai import errors

        options: dict[str, Any] = {"base_url": url, "timeout": int(TIMEOUT_S * 1000), "retry_options": {"attempts": 1}}
        options |= {"api_version": version} if version else {}
        self.client: Any = genai.Client(api_key=key, http_options=options)
        self.error: type[Exception] = errors.APIError

    def chat(self, model: str, *, system: str = "", stream: bool = False, tools: bool = False, schema: Any = None,
             **more: Any) -> GeminiChat:  # fmt: skip
        return GeminiChat(self, model, system, stream, tools, schema, **more)

    def must_call(self, name: str = "") -> dict[str, Any]:
        """The wish for a call of one tool, or of any."""
        return {"tool_config": {"function_calling_config": GEMINI_MUST[name]}}

    def problem(self, error: Any) -> Problem:
        return Problem(error.code, error.message, error.response.headers.get("retry-after", ""), error.status)

    def models(self) -> list[str]:
        return [model.name.removeprefix("models/") for model in self.client.models.list()]

    def model(self, name: str) -> str:
        return str(self.client.models.get(model=name).name).removeprefix("models/")

    def count(self, model: str, text: str) -> int:
        return int(self.client.models.count_tokens(model=model, contents=text).total_tokens)

    def run_tools(self, model: str, text: str) -> str:
        """The last answer of the SDK's own loop, which calls the functions itself."""
        return str(self.client.models.generate_content(model=model, contents=text, config={"tools": list(RUNNABLE)}).text)

    def first_piece(self, model: str, text: str) -> str:
        """The first words of a stream that is closed then."""
        chunks = self.client.models.generate_content_stream(model=model, contents=text)
        try:
            return next(chunk.text for chunk in chunks if chunk.text)
        finally:
            chunks.close()

    async def ask_async(self, url: str, key: str, model: str, text: str) -> str:
        """The streamed answer of the SDK's asynchronous client."""
        async with self.client.aio as client:
            stream = await client.models.generate_content_stream(model=model, contents=text)
            return "".join([chunk.text or "" async for chunk in stream])

    def close(self) -> None:
        self.client.close()


SDKS: dict[str, Callable[[str, str], Any]] = {
    "openai": OpenAISDK, "anthropic": AnthropicSDK, "gemini": GeminiSDK, "responses": ResponsesSDK,
}  # fmt: skip
PACKAGES = {
    "openai": ("openai", "openai"), "anthropic": ("anthropic", "anthropic"), "gemini": ("google.genai", "google-genai"),
    "responses": ("openai", "openai"),
}  # fmt: skip


def nothing_to_test() -> bool:
    """Whether not one of the SDKs is installed: then one line says so, not one for each test."""
    try:
        return not any(find_spec(module) for module, _ in PACKAGES.values())
    except ModuleNotFoundError:  # google.genai without google
        return True


def require(name: str) -> None:
    """Skips the test where the SDK is not installed, and says how to get it."""
    module, package = PACKAGES[name]
    pytest.importorskip(module, reason=f"the SDK {package} is not installed (tests/interop/README.md)")


@contextmanager
def opened(name: str, url: str, key: str) -> Iterator[Any]:
    """An SDK's client, closed at the end."""
    sdk = SDKS[name](url, key)
    try:
        yield sdk
    finally:
        sdk.close()
