"""The caller's name of the model in an answer that passes: there and nowhere else, and every other byte as it was."""

import pytest

from llm_router_gateway.wire.renaming import Renaming

TOP, DEEP = Renaming("fäst", (("model",),)), Renaming("fast", (("message", "model"),))
WHOLE = [
    (TOP, '{"id":"1", "model" : "gpt-x","n":1.0e0}', '{"id":"1", "model" : "fäst","n":1.0e0}'),
    (TOP, '{"model":"a","model":"b"}', '{"model":"fäst","model":"fäst"}'),
    (TOP, '{"choices":[{"model":"x","text":"\\"model\\":\\"y\\""}],"model":"a"}',
     '{"choices":[{"model":"x","text":"\\"model\\":\\"y\\""}],"model":"fäst"}'),
    (TOP, '{"id":"1"}', '{"id":"1"}'), (TOP, '{"model":null}', '{"model":null}'), (TOP, "[1]", "[1]"),
    (TOP, '{"model"', '{"model"'), (TOP, '{"model":', '{"model":'), (TOP, '{"model":"a"} x', '{"model":"a"} x'),
    (DEEP, '{"model":"a","message":{"role":"r", "model":"b"}}', '{"model":"a","message":{"role":"r", "model":"fast"}}'),
    (DEEP, '{"message":"model","x":{"model":"b"}}', '{"message":"model","x":{"model":"b"}}'),
]  # fmt: skip


@pytest.mark.parametrize(("renaming", "before", "after"), WHOLE)
def test_an_answer(renaming: Renaming, before: str, after: str) -> None:
    assert renaming.whole(before.encode()).decode() == after


def test_bytes_that_are_no_text_stay() -> None:
    assert TOP.whole(b'{"model":"\xff"}') == b'{"model":"\xff"}'


EVENTS = [
    (b'data: {"model":"a","n":1.0}\n\n', 'data: {"model":"fäst","n":1.0}\n\n'),
    (b': c\n\nevent: x\r\ndata:{"model":"a"}\r\nid: 7\r\n\r\n', ': c\n\nevent: x\r\ndata:{"model":"fäst"}\r\nid: 7\r\n\r\n'),
    (b'data: {"x":1}\n\ndata: {"model":"a"}\n\ndata: [DONE]\n\n',
     'data: {"x":1}\n\ndata: {"model":"fäst"}\n\ndata: [DONE]\n\n'),
    (b'data: {\ndata: "model":"a"}\n\n', 'data: {\ndata: "model":"fäst"}\n\n'),
    (b': "model"\n\n', ': "model"\n\n'), (b"", ""), (b"data: model\n\n", "data: model\n\n"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), EVENTS)
def test_events(before: bytes, after: str) -> None:
    assert TOP.events(before).decode() == after
