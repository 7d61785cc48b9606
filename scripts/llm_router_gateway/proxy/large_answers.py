"""What a worker process does with a large answer of an upstream, and with texts and vectors: see `large_jobs`.

Each job gets the bytes as `Cached`, and gives (a small value, bytes): the bytes that go to the caller or to the upstream, b""
where those that came are right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..json_body import dump, read_body
from ..wire.conversion import as_utf8
from ..wire.registry import SPECS, vectors
from .large_jobs import Cached, Head, head_of, read
from .request import dump_json
from .whole_answers import Said, answer, assemble, check, replay, rewrite


def as_job(work: Callable[..., tuple[Said, bytes]], keeps: bool = False) -> Callable[..., tuple[Said, bytes]]:
    """What `whole_answers` does with a small answer. What is kept of it crosses as bytes, and only where something may be."""

    def job(cached: Cached, *how: Any) -> tuple[Said, bytes]:
        said, made = work(cached.data, *how)
        is_kept = keeps and SPECS[how[0].protocol].keeps_answers and said.answer is not None
        return said._replace(answer=dump_json(said.answer) if is_kept else None), b"" if made == cached.data else made

    return job


# ------------------------------------------------------------------------------------------------------------- embeddings


def carry(cached: Cached, protocol: str) -> tuple[Head, bytes]:
    """A body of texts as the upstream's protocol has it, in the place of the caller's."""
    body = cached.replace(read_body(dump_json(SPECS[protocol].embeddings_request(cached.body.fields))))
    return read(cached, wants_text=True)[0], body.text.encode("utf-8", "surrogatepass")


def texts(
    cached: Cached, reader: tuple[str, str], writer: tuple[str, str], changes: Mapping[str, Any] | None
) -> tuple[tuple[str, list[str], dict[str, Any]], bytes]:
    """((the upstream's call, what was lost, the head of the body), its bytes with `changes`, b"" without them).

    `reader` is the caller's protocol and action, `writer` the upstream's protocol and model.
    """
    found = vectors(reader[0]).read_texts(cached.body.fields, reader[1])
    call, body = vectors(writer[0]).write_texts(found, writer[1])
    lost: list[str] = list(found.lost)
    data = b"" if changes is None else as_utf8(dump({**body, **changes}), lost)
    return (call, lost, head_of(body)), data


def form(cached: Cached, protocol: str, wanted: Mapping[str, Any]) -> tuple[None, bytes]:
    """Vectors in the form that the caller's protocol and its body want."""
    data = SPECS[protocol].embeddings(cached.data, wanted)
    return None, b"" if data is cached.data else data


JOBS: Mapping[str, Callable[..., tuple[Any, bytes]]] = {
    **{work.__name__: as_job(work, keeps=True) for work in (answer, assemble, replay)},
    **{work.__name__: as_job(work) for work in (check, rewrite)},
    "carry": carry, "texts": texts, "form": form,
}  # fmt: skip
