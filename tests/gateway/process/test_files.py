"""Files and batches through a gateway that runs: each its owner's alone, also after a restart."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from running import Process, Upstream, made_up
from vendor import Vendor, acts, form

SECRETS = {name: made_up(name) for name in ("ann", "ben")}
LINES = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-x"}}\n'


def config(url: str) -> str:
    provider = {"name": "a", "api": "openai", "base_url": f"{url}/v1", "api_key": "upstream-key"}  # pragma: allowlist secret
    text = "[[providers]]\n" + "".join(f'{name} = "{value}"\n' for name, value in provider.items())
    return text + "".join(f'[[keys]]\nname = "{name}"\nkey = "{secret}"\n' for name, secret in SECRETS.items())


def call(gateway: Process, method: str, path: str, who: str = "ann", body: bytes | None = None, **headers: str) -> Any:
    return gateway.send(method, path, body, authorization=f"Bearer {SECRETS[who]}", **headers)


def test_a_batch_is_its_owners_from_the_upload_to_the_output_and_after_a_restart(
    start: Callable[..., Process], upstream: Upstream, tmp_path: Path
) -> None:
    vendor = Vendor()
    upstream.does(acts(vendor))
    gateway = start(config(upstream.url))
    file = call(gateway, "POST", "/v1/files", body=form(LINES), content_type="multipart/form-data; boundary=b").json
    body = {"input_file_id": file["id"], "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    assert call(gateway, "POST", "/v1/batches", "ben", json.dumps(body).encode()).status == 404
    batch = call(gateway, "POST", "/v1/batches", body=json.dumps(body).encode()).json
    assert gateway.end() == 0
    vendor.finish(batch["id"], b'{"custom_id":"1"}\n')

    gateway = start(config(upstream.url))
    listed = {who: call(gateway, "GET", "/v1/batches", who).json["data"] for who in SECRETS}
    assert listed["ben"] == [] and [each["status"] for each in listed["ann"]] == ["completed"]
    output = listed["ann"][0]["output_file_id"]
    content = call(gateway, "GET", f"/v1/files/{output}/content")
    assert (content.status, content.data) == (200, b'{"custom_id":"1"}\n')
    assert content.headers["content-type"] == "application/octet-stream"
    for name in (file["id"], output):
        assert call(gateway, "GET", f"/v1/files/{name}/content", "ben").status == 404
        assert call(gateway, "DELETE", f"/v1/files/{name}", "ben").status == 404
    assert call(gateway, "DELETE", f"/v1/files/{file['id']}").json["deleted"]
    assert [each["id"] for each in call(gateway, "GET", "/v1/files").json["data"]] == [output]
