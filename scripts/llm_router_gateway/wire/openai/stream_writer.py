"""OpenAI chat completions: events of `ir` -> bytes of a caller's stream."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from json.encoder import encode_basestring as quoted
from typing import Any

from .. import ir
from ..chat_parts import refusal_text
from ..citations import ANNOTATIONS, Quoted, write_annotations
from ..fields import compact
from ..losses import lose_counts, lose_extras, lose_part, name_lost
from ..names import mint_id
from ..tools import free_text
from .answer import Callers, image_of, native_reason, outgoing_call, write_tier
from .common import DONE, OWN, REASON, own_fields, write_usage
from .request_writer import details_of


class Voice:
    """One choice on its way to the caller: its frame, the part that is open, how many calls it has made."""

    __slots__ = ("calls", "custom", "head", "held", "kind", "part", "quoted", "sent", "signatures", "texts", "thoughts")

    def __init__(self, head: str) -> None:
        self.head = head
        self.calls = 0  # begun so far: the next one's index
        self.thoughts = 0
        self.kind: type = type(None)
        self.part: ir.Part = ir.Text("")
        self.custom = False
        self.held = False  # the open call's text waits until it is whole
        self.sent = False  # the open part's content
        self.texts: list[str] = []  # of an open thought, for its signature
        self.signatures: list[str] = []
        self.quoted = Quoted(OWN)


TAIL = '},"finish_reason":null}]}\n\n'


class StreamWriter:
    """Neutral events -> the chunks that answer `request`.

    feed(PartDelta(0, "Hi")) -> b'data: {"id":...,"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\\n\\n'
    feed(Finished())         -> the usage, if requested, and b"data: [DONE]\\n\\n"
    """

    __slots__ = ("_base", "_callers", "_handlers", "_lost", "_request", "_usage", "_voices")

    def __init__(self, request: ir.Request, *, lost: list[str] | None = None, array: bool = False) -> None:
        self._request = request
        self._lost: list[str] = lost if lost is not None else []
        self._callers = Callers(request)
        self._base = ""
        self._voices: dict[int, Voice] = {}
        self._usage: ir.Usage | None = None
        self._handlers: Mapping[type, Callable[[Any], str]] = {
            ir.Started: self._start, ir.PartStart: self._part, ir.PartEnd: self._part_end,
            ir.Stopped: self._on_stop, ir.UsageSeen: self._usage_seen, ir.Finished: self._on_finish,
        }  # fmt: skip

    def feed(self, event: ir.StreamEvent) -> bytes:
        kind = type(event)
        if kind is ir.PartDelta:
            return self._delta(event)  # type: ignore[arg-type]  # is its type
        handler = self._handlers.get(kind)
        return handler(event).encode("utf-8", "backslashreplace") if handler is not None else b""

    def _start(self, event: ir.Started) -> str:
        made = event.id or self._request.answer_id or mint_id(event.model, self._request.model)
        model = event.model or self._request.model
        stated = write_tier(event.service_tier, self._lost)
        tier = f'"service_tier":{quoted(stated["service_tier"])},' if stated else ""
        self._base = (f'data: {{"id":{quoted(made)},"object":"chat.completion.chunk","created":{event.created},'
                      f'"model":{quoted(model)},{tier}"choices":[')  # fmt: skip
        lose_extras(event.extras, OWN, self._lost)
        return ""

    def _voice(self, number: int) -> tuple[Voice, str]:
        """A choice, and the chunk that introduces it when it is new."""
        voice = self._voices.get(number)
        if voice is not None:
            return voice, ""
        voice = self._voices[number] = Voice(f'{self._base}{{"index":{number},"delta":{{')
        return voice, f'{voice.head}"role":"assistant","content":""{TAIL}'

    def _part(self, event: ir.PartStart) -> str:
        voice, out = self._voice(event.candidate)
        part = event.part
        voice.kind, voice.part, voice.sent = type(part), part, False
        voice.texts, voice.signatures = [], []
        lose_part(part, OWN, self._lost)
        if isinstance(part, ir.ToolCall):
            return out + self._call(voice, part)
        if isinstance(part, ir.Text):
            lose_extras(voice.quoted.begin(part.extras), OWN, self._lost)
        if isinstance(part, ir.Text | ir.Thinking):
            first = ir.PartDelta(event.index, part.text, part.signature, event.candidate)
            return out + (self._delta(first).decode() if part.text or part.signature else "")
        return out + self._whole(voice, part)

    def _call(self, voice: Voice, part: ir.ToolCall) -> str:
        """A call begins. One of a custom tool that another vendor made is held until its text can be taken out of an object."""
        voice.custom = self._callers.is_custom(part)
        voice.held = voice.custom and not part.custom
        voice.sent = bool(part.arguments_text)
        voice.calls += 1
        made = outgoing_call(replace(part, arguments_text="", arguments=None), self._callers)
        if voice.held:
            voice.texts.append(part.arguments_text)
        else:
            made["custom" if voice.custom else "function"]["input" if voice.custom else "arguments"] = part.arguments_text
        return f'{voice.head}"tool_calls":[{compact({"index": voice.calls - 1, **made})}]{TAIL}'

    def _whole(self, voice: Voice, part: ir.Part) -> str:
        """Refusals, pictures and what only one vendor knows come in one."""
        if isinstance(part, ir.Refusal):
            return f'{voice.head}"refusal":{quoted(part.text)}{TAIL}'
        if isinstance(part, ir.Media) and part.kind == "image":
            return f'{voice.head}"images":[{compact({"index": 0, **image_of(part)})}]{TAIL}'
        if isinstance(part, ir.Opaque) and part.text:
            text = f"\n{part.text}\n"
            return f'{voice.head}"content":{quoted(text)}{TAIL}'
        name_lost(self._lost, part.kind if isinstance(part, ir.Media | ir.Opaque) else "tool_result")
        return ""

    def _delta(self, event: ir.PartDelta) -> bytes:
        voice = self._voices[event.candidate]
        kind, said = voice.kind, event.text
        extras = event.extras
        if kind is ir.Text:
            out = f'{voice.head}"content":{quoted(said)}{TAIL}' if said else ""
            if event.signature:
                out += self._text_signature(voice, event)
            voice.quoted.say(said)
            extras = voice.quoted.more(extras) if extras else extras
        elif kind is ir.ToolCall:
            out = self._more_arguments(voice, said)
        elif kind is ir.Thinking:
            out = self._thought(voice, event)
        else:
            out = ""
        if extras:
            lose_extras(extras, OWN, self._lost)
        return out.encode("utf-8", "backslashreplace")

    def _text_signature(self, voice: Voice, event: ir.PartDelta) -> str:
        if not isinstance(voice.part, ir.Text) or voice.part.vendor != "gemini":
            name_lost(self._lost, "signature")
            return ""
        return f'{voice.head}"extra_content":{compact({"google": {"thought_signature": event.signature}})}{TAIL}'

    def _more_arguments(self, voice: Voice, said: str) -> str:
        voice.sent = voice.sent or bool(said)
        if voice.held:
            voice.texts.append(said)
            return ""
        kind, field = ("custom", "input") if voice.custom else ("function", "arguments")
        return f'{voice.head}"tool_calls":[{{"index":{voice.calls - 1},"{kind}":{{"{field}":{quoted(said)}}}}}]{TAIL}'

    def _thought(self, voice: Voice, event: ir.PartDelta) -> str:
        if event.signature:
            voice.signatures.append(event.signature)
        if not event.text:
            return ""
        voice.texts.append(event.text)
        return f'{voice.head}"reasoning_content":{quoted(event.text)}{TAIL}'

    def _part_end(self, event: ir.PartEnd) -> str:
        """A call without arguments says so; a signed thought comes once more as a whole, for callers that send it back."""
        voice = self._voices[event.candidate]
        part = voice.part
        voice.kind = type(None)
        if isinstance(part, ir.Text):
            voice.quoted.end()
        if isinstance(part, ir.ToolCall):
            return self._call_end(voice, part)
        if isinstance(part, ir.Thinking) and (voice.signatures or part.data):
            whole = replace(part, text="".join(voice.texts), signature="".join(voice.signatures))
            voice.thoughts += 1
            return f'{voice.head}"reasoning_details":{compact(details_of(whole, voice.thoughts - 1))}{TAIL}'
        return ""

    def _call_end(self, voice: Voice, part: ir.ToolCall) -> str:
        if voice.held:
            voice.held = False
            return self._more_arguments(voice, free_text(replace(part, arguments_text="".join(voice.texts))))
        return "" if voice.sent or voice.custom else self._more_arguments(voice, "{}")

    def _on_stop(self, event: ir.Stopped) -> str:
        voice, out = self._voice(event.candidate)
        cited, rest = voice.quoted.close(event.extras)
        lose_extras(rest, OWN, self._lost)
        extras = own_fields(rest)
        if cited:
            extras[ANNOTATIONS] = [*(extras.get(ANNOTATIONS) or ()), *write_annotations(cited)]
        logprobs = extras.pop("logprobs", None)
        if event.stop.reason == "refusal" and not isinstance(voice.part, ir.Refusal):
            extras["refusal"] = refusal_text(event.stop)
        last = {"index": event.candidate, "delta": extras, "finish_reason": REASON[event.stop.reason]}
        last |= native_reason(event.stop, self._lost) | ({"logprobs": logprobs} if logprobs else {})
        return f"{out}{self._base}{compact(last)}]}}\n\n"

    def _usage_seen(self, event: ir.UsageSeen) -> str:
        self._usage = event.usage
        return ""

    def _on_finish(self, event: ir.Finished) -> str:
        """Usage once, at the end, and only on request: others do not expect a chunk without choices."""
        lose_extras(event.extras, OWN, self._lost)
        usage = self._usage if self._request.include_usage else None
        lose_counts(usage, OWN, self._lost, "cache_write_1h")
        stated = f'{self._base}],"usage":{compact(write_usage(usage))}}}\n\n' if usage is not None else ""
        return stated + DONE.decode()
