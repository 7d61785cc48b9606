"""Files and batches through the gateway, as the vendor's SDK sends and reads them."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from conftest import KEEPALIVE_S, Gateway
from running import Upstream
from vendor import Vendor, acts

openai = pytest.importorskip("openai", reason="none of the vendors' SDKs is installed (tests/interop/README.md)")

pytestmark = pytest.mark.slow
LINES = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-x"}}\n'
KEYS = {name: f"sk-{name}-0123456789" for name in ("ann", "ben")}


class Desk(NamedTuple):
    ann: Any
    ben: Any
    vendor: Vendor


@pytest.fixture
def desk(tmp_path: Any) -> Iterator[Desk]:
    """The SDK of two callers in front of a gateway in front of a provider with files."""
    vendor = Vendor()
    more = "".join(f'[[keys]]\nname = "{name}"\nkey = "{key}"\n' for name, key in KEYS.items())
    with Upstream() as upstream:
        upstream.does(acts(vendor))
        gateway = Gateway(tmp_path, upstream.url, KEEPALIVE_S, more)
        with (
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEYS["ann"], max_retries=0) as ann,
            openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEYS["ben"], max_retries=0) as ben,
        ):
            yield Desk(ann, ben, vendor)
        assert gateway.close() == 0


def test_a_batch_from_the_upload_to_its_output(desk: Desk) -> None:
    file = desk.ann.files.create(file=("in.jsonl", io.BytesIO(LINES)), purpose="batch")
    assert (file.filename, file.bytes, file.purpose) == ("in.jsonl", len(LINES), "batch")
    assert desk.ann.files.retrieve(file.id).id == file.id and desk.ann.files.content(file.id).read() == LINES
    batch = desk.ann.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h",
                                    metadata={"job": "nightly"})  # fmt: skip
    assert batch.status == "in_progress" and batch.metadata == {"job": "nightly"}
    desk.vendor.finish(batch.id, b'{"custom_id":"1"}\n')
    done = desk.ann.batches.retrieve(batch.id)
    assert done.status == "completed" and desk.ann.files.content(done.output_file_id).read() == b'{"custom_id":"1"}\n'
    assert [each.id for each in desk.ann.batches.list()] == [batch.id]
    assert [each.id for each in desk.ann.files.list(limit=1)] == [done.output_file_id, file.id]  # over two pages
    assert desk.ann.files.delete(file.id).deleted


def test_another_caller_finds_nothing(desk: Desk) -> None:
    file = desk.ann.files.create(file=("in.jsonl", io.BytesIO(LINES)), purpose="batch")
    batch = desk.ann.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    assert list(desk.ben.files.list()) == [] and list(desk.ben.batches.list()) == []
    for call in (
        lambda: desk.ben.files.retrieve(file.id), lambda: desk.ben.files.content(file.id),
        lambda: desk.ben.files.delete(file.id), lambda: desk.ben.batches.retrieve(batch.id),
        lambda: desk.ben.batches.cancel(batch.id),
        lambda: desk.ben.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"),
    ):  # fmt: skip
        with pytest.raises(openai.NotFoundError):
            call()
    assert desk.ann.batches.cancel(batch.id).status == "cancelling"
