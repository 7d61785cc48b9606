"""What a stream comes to."""

from collections.abc import Iterable

from llm_router_gateway.wire import ir


def answer_of(events: Iterable[ir.StreamEvent]) -> ir.Answer:
    """The answer that a whole stream makes: answer_of(ir.events_of(answer)) == answer."""
    collector = ir.Collector()
    for event in events:
        collector.feed(event)
    return collector.answer()
