"""The toy protocol <-> ir."""

import json

from llm_router_gateway.errors import of_status
from llm_router_gateway.wire import ir

FINISH_WORDS = {"end": "done", "length": "full"}
REASONS = {"done": "end", "full": "length"}


def read_request(fields, *, model=None, stream=None):
    message = ir.Message("user", (ir.Text(fields["say"]),))
    return ir.Request(model or fields["model"], (message,), stream=bool(stream), max_tokens=fields.get("longest"))


def write_request(request, *, model, quirks, lost):
    said = " ".join(part.text for message in request.messages for part in message.parts)
    return {"model": model, "say": said, "longest": request.max_tokens, "stream": request.stream}


def read_answer(body):
    candidate = ir.Candidate((ir.Text(body["said"]),), ir.Stop(REASONS[body["why"]]))
    return ir.Answer("toy-1", "", (candidate,), usage_in(body))


def write_answer(answer, request, lost):
    first = answer.candidates[0]
    spent = [answer.usage.total_input, answer.usage.output] if answer.usage else None
    return {"said": "".join(part.text for part in first.parts), "why": FINISH_WORDS[first.stop.reason], "spent": spent}


def flaw_in(body):
    return None  # nothing in this protocol says that an answer is unfinished


def usage_in(body):
    return ir.Usage(input=body["spent"][0], text=body["spent"][1]) if body.get("spent") else None


def finish_in(body):
    return body["why"]


def read_error(status, headers, body):
    return of_status(status, json.loads(body)["wrong"])


def write_error(error, request_id):
    return error.status, [("content-type", "application/json")], {"wrong": error.message}


def event(value):
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def error_event(error, request_id):
    return event({"wrong": error.message})


def write_count(tokens):
    return {"count": tokens}


def describe_model(entry):
    return {"toy": entry.name}


def list_models(found, query):
    return {"toys": [entry.name for entry in found]}


class Scanner:
    def __init__(self):
        self.outputs, self.done, self.usage, self.finish, self.error = 0, False, None, "", None
        self.flawed, self.fed = False, 0  # see flaw_in

    def feed(self, events):
        for each in events:
            body = json.loads(each.data)
            self.outputs += bool(body.get("said"))
            self.finish, self.usage = body.get("why", ""), usage_in(body)
            self.done = bool(self.finish)


class StreamReader:
    def __init__(self):
        self.done, self._began = False, False

    def feed(self, event):
        body = json.loads(event.data)
        if not self._began:
            self._began = True
            yield from (ir.Started("toy-1", ""), ir.PartStart(0, ir.Text("")))
        if "said" in body:
            yield ir.PartDelta(0, body["said"])
        if "why" in body:
            self.done = True
            yield from (ir.PartEnd(0), ir.Stopped(ir.Stop(REASONS[body["why"]])), ir.UsageSeen(usage_in(body)), ir.Finished())

    def close(self):
        return ()


class StreamWriter:
    def __init__(self, request, *, lost, array=False):
        self._why, self._spent = "", None

    def feed(self, told):
        if isinstance(told, ir.PartDelta):
            return event({"said": told.text})
        if isinstance(told, ir.Stopped):
            self._why = FINISH_WORDS[told.stop.reason]
        if isinstance(told, ir.UsageSeen):
            self._spent = [told.usage.total_input, told.usage.output]
        return event({"why": self._why, "spent": self._spent}) if isinstance(told, ir.Finished) else b""
