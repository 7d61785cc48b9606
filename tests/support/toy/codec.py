"""The toy protocol <-> ir."""

from llm_router_gateway.wire import ir
from llm_router_gateway.wire.simple import Piece, SimpleCodec


class Toy(SimpleCodec):
    def read_request(self, fields, *, model=None, stream=None):
        message = ir.Message("user", (ir.Text(fields["say"]),))
        return ir.Request(model or fields["model"], (message,), stream=bool(stream), max_tokens=fields.get("longest"))

    def write_request(self, request, *, model, quirks, lost):
        text = " ".join(part.text for message in request.messages for part in message.parts)
        return {"model": model, "say": text, "longest": request.max_tokens, "stream": request.stream}

    def read_piece(self, body):
        usage = ir.Usage(input=body["spent"][0], text=body["spent"][1]) if body.get("spent") else None
        return Piece(body.get("said", ""), self.reason(body.get("why")), usage)

    def write_piece(self, piece):
        spent = piece.usage and [piece.usage.total_input, piece.usage.output]
        fields = {"said": piece.text, "why": self.word(piece.reason), "spent": spent}
        return {name: value for name, value in fields.items() if value}

    def list_models(self, found, query):
        return {"toys": [entry.name for entry in found]}


CODEC = Toy(finish_words={"end": "done", "length": "full"}, error_field="wrong", count_field="count")
