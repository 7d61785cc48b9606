"""Files and batches: passed on as they are, and each the caller's own that made it."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fakes import Exchange, Upstream
from routed import Hosts, Ways, group, model, ok, play, provider, refusal
from vendor import Vendor, form

from llm_router_gateway.errors import NotSaved, StreamCut, UpstreamFailed
from llm_router_gateway.store.owned import Owned
from llm_router_gateway.store.sql_owned import SqlOwned
from llm_router_gateway.store.sqlite.database import Store

KIND = ("content-type", "multipart/form-data; boundary=b")
LINES = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"gpt-x"}}\n'
NAMES = ("ann", "ben")
KEYS = [{"name": name, "key": f"sk-{name}-0123456789"} for name in NAMES]
LIMITED = {"name": "low", "key": "sk-low-0123456789"}  # pragma: allowlist secret


def document(**more: Any) -> dict[str, Any]:
    return {"providers": [provider("a")], "models": [model("a")], "keys": KEYS, **more}


def call(method: str, path: str, who: str = "ann", body: bytes = b"", *headers: tuple[str, str]) -> Exchange:
    return Exchange(method, path, body, [("authorization", f"Bearer sk-{who}-0123456789"), *headers])


def as_upstream(vendor: Vendor) -> Callable[[dict[str, Any]], Upstream]:
    def answer(sent: dict[str, Any]) -> Upstream:
        status, value = vendor.answer(sent["method"], sent["url"], sent["body"])
        if isinstance(value, bytes):
            return Upstream(status, [value[:3], value[3:]], content_type="application/octet-stream")
        return Upstream(status, json.dumps(value).encode())

    return answer


class Desk:
    """What callers do, one after the other."""

    def __init__(self, ways: Ways) -> None:
        self.ways = ways

    async def do(self, method: str, path: str, who: str = "ann", body: bytes = b"", *headers: tuple[str, str]) -> Exchange:
        return await self.ways.ask(call(method, path, who, body, *headers))

    async def upload(self, who: str = "ann", data: bytes = LINES, *headers: tuple[str, str]) -> Exchange:
        return await self.do("POST", "/v1/files", who, form(data), KIND, *headers)

    async def batch(self, file: str, who: str = "ann") -> Exchange:
        body = {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}
        return await self.do("POST", "/v1/batches", who, json.dumps(body).encode())

    async def ids(self, path: str, who: str = "ann") -> list[str]:
        return [each["id"] for each in (await self.do("GET", path, who)).json["data"]]


Deeds = Callable[[Desk], Coroutine[Any, Any, None]]
IN_MEMORY: Any = object()


def run(folder: Path, deeds: Deeds, settings: dict[str, Any] | None = None, owned: Any = IN_MEMORY, **hosts: Any) -> Ways:
    store = Store.open(":memory:")

    async def story(ways: Ways) -> None:
        try:
            await deeds(Desk(ways))
        finally:
            await ways.gateway.offload.close()

    try:
        seam = SqlOwned(store) if owned is IN_MEMORY else owned
        return play(story, settings or document(), Hosts(**hosts), folder, owned=seam)
    finally:
        store.close()


def test_a_batch_from_its_file_to_its_output(tmp_path: Path) -> None:
    vendor, calls = Vendor(), list[Any]()

    async def deeds(desk: Desk) -> None:
        desk.ways.gateway.on_call = lambda call, bodies: calls.append(call)
        file = await desk.upload()
        name = file.json["id"]
        assert file.status == 200 and file.json == vendor.objects[name]
        assert (await desk.do("GET", f"/v1/files/{name}")).json == vendor.objects[name]
        content = await desk.do("GET", f"/v1/files/{name}/content")
        assert content.out == LINES and content.ended and content.out_headers["content-type"] == "application/octet-stream"
        batch = (await desk.batch(name)).json
        assert batch["input_file_id"] == name and (await desk.do("GET", f"/v1/batches/{batch['id']}")).json == batch
        output = vendor.finish(batch["id"], b'{"id":1}\n')
        assert (await desk.do("GET", f"/v1/files/{output}")).status == 404  # the gateway has not seen yet whose it is
        done = await desk.do("GET", f"/v1/batches/{batch['id']}")
        assert done.json["output_file_id"] == output
        assert (await desk.do("GET", f"/v1/files/{output}/content")).out == b'{"id":1}\n'
        assert await desk.ids("/v1/files") == [output, name]
        assert await desk.ids("/v1/files?purpose=batch_output") == [output]
        gone = await desk.do("DELETE", f"/v1/files/{name}")
        assert gone.json["deleted"] and await desk.ids("/v1/files") == [output]

    ways = run(tmp_path, deeds, a=as_upstream(vendor))
    sent = ways.hosts.sent
    assert sent[0]["body"] == form(LINES) and sent[0]["headers"]["content-type"] == KIND[1]
    assert {each["headers"]["authorization"] for each in sent} == {"Bearer key-a"}
    assert [(call.kind, call.served, call.key_name) for call in calls] == [
        ("files", "a/files", "ann"), ("batches", "a/batches", "ann"),
    ]  # fmt: skip


OF_ANOTHER = [
    ("GET", "/v1/files/{file}"), ("GET", "/v1/files/{file}/content"), ("DELETE", "/v1/files/{file}"),
    ("GET", "/v1/batches/{batch}"), ("POST", "/v1/batches/{batch}/cancel"), ("GET", "/v1/files?after={file}"),
    ("GET", "/v1/batches?after={batch}"),
]  # fmt: skip


def test_what_is_another_keys_is_an_unknown_id_and_nothing_is_sent(tmp_path: Path) -> None:
    vendor = Vendor()

    async def deeds(desk: Desk) -> None:
        file = (await desk.upload()).json["id"]
        batch = (await desk.batch(file)).json["id"]
        before = list(vendor.seen)
        for method, path in OF_ANOTHER:
            answer = await desk.do(method, path.format(file=file, batch=batch), "ben")
            words = f"No such File object: {file}" if "files" in path else f"No batch found with id '{batch}'."
            error = answer.json["error"]
            assert (answer.status, error["message"], error["type"]) == (404, words, "invalid_request_error"), path
        assert await desk.ids("/v1/files", "ben") == [] and await desk.ids("/v1/batches", "ben") == []
        refused = await desk.batch(file, "ben")
        assert refused.status == 404 and refused.json["error"]["param"] == "input_file_id"
        assert vendor.seen == before

    run(tmp_path, deeds, a=as_upstream(vendor))


NAMING = [
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "%s"}}]}]}),
    ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "%s"}]}], "store": False}),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x" * 600_000 + '"'}], "file_ids": ["file-z", "%s"]}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), NAMING)
def test_a_request_to_a_model_names_no_file_of_another(path: str, body: dict[str, Any], tmp_path: Path) -> None:
    vendor, name = Vendor(), ""

    def answer(sent: dict[str, Any]) -> Upstream:
        return ok() if sent["url"].endswith("/chat/completions") else as_upstream(vendor)(sent)

    async def deeds(desk: Desk) -> None:
        nonlocal name
        name = (await desk.upload()).json["id"]
        for who, file, status in (("ann", name, 200), ("ben", name, 404), ("ben", "file-elsewhere", 200)):
            text = json.dumps({"model": "a/m", **body}, indent=1).replace("%s", file)
            asked = await desk.do("POST", path, who, text.encode())
            assert asked.status == status, (who, asked.out)
        assert asked.status == 200

    assert run(tmp_path, deeds, a=answer).lines.count(f"No such File object: {name}") == 1


def naming(path: str, name: str, file: str) -> bytes:
    part = {"type": "input_file", "file_id": file} if path == "/v1/responses" else {"type": "file", "file": {"file_id": file}}
    turns = [{"role": "user", "content": [part]}]
    return json.dumps({"model": name, "input" if path == "/v1/responses" else "messages": turns}).encode()


def of_two(**more: Any) -> dict[str, Any]:
    """Two providers, a group that tries a first, another of a alone whose fallback is b, and a third of a alone."""
    groups = [group({"model": "a/m", "priority": 2}, "b/m"), {**group("a/m"), "name": "back", "fallbacks": ["b/m"]},
              {**group("a/m"), "name": "only-a"}]  # fmt: skip
    providers = [provider("a"), provider("b", api_key="key-b1,key-b2")]  # pragma: allowlist secret
    return {"providers": providers, "models": [model("a"), model("b")], "groups": groups, "keys": KEYS, **more}


def answering(vendor: Vendor) -> Callable[[dict[str, Any]], Upstream]:
    def answer(sent: dict[str, Any]) -> Upstream:
        return ok() if sent["url"].endswith("/chat/completions") else as_upstream(vendor)(sent)

    return answer


AT_B = ("x-llm-router-provider", "b")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
@pytest.mark.parametrize("name", ["g", "back", "b/m"])
def test_a_request_goes_to_the_provider_that_has_its_file_with_the_key_that_uploaded_it(
    path: str, name: str, tmp_path: Path
) -> None:
    refuses = [refusal(401), answering(Vendor())]  # the first key does not upload: the second one's account has the file

    async def deeds(desk: Desk) -> None:
        file = (await desk.upload("ann", LINES, AT_B)).json["id"]
        for _ in range(3):
            answer = await desk.do("POST", path, "ann", naming(path, name, file))
            assert (answer.status, answer.out_headers["x-llm-router-model"]) == (200, "b/m"), answer.out

    hosts = run(tmp_path, deeds, of_two(), a=ok(), b=refuses).hosts
    assert hosts.hosts == ["b"] * 5 and hosts.keys == ["key-b1"] + ["key-b2"] * 4


def test_where_no_member_is_the_providers_the_request_is_refused_and_says_what_to_do(tmp_path: Path) -> None:
    async def deeds(desk: Desk) -> None:
        file = (await desk.upload("ann", LINES, AT_B)).json["id"]
        for name in ("only-a", "a/m"):
            answer = await desk.do("POST", "/v1/chat/completions", "ann", naming("", name, file))
            error = answer.json["error"]
            assert (answer.status, error["param"]) == (400, "file_id") and file in error["message"], error
            assert f"{name} has no model of b" in error["message"] and "x-llm-router-provider" in error["message"]
        other = await desk.do("POST", "/v1/chat/completions", "ann", naming("", "only-a", "file-of-elsewhere"))
        assert other.status == 200, "of what was uploaded past the gateway nothing is known"

    run(tmp_path, deeds, of_two(), a=ok(), b=answering(Vendor()))


def test_files_of_two_providers_are_not_in_one_request(tmp_path: Path) -> None:
    async def deeds(desk: Desk) -> None:
        names = [(await desk.upload("ann", LINES, ("x-llm-router-provider", where))).json["id"] for where in "ab"]
        body = json.dumps({"model": "g", "messages": [{"role": "user", "content": "hi"}], "file_ids": names}).encode()
        answer = await desk.do("POST", "/v1/chat/completions", "ann", body)
        message = answer.json["error"]["message"]
        assert answer.status == 400 and f"{names[0]} is at a and {names[1]} at b" in message

    run(tmp_path, deeds, of_two(), a=answering(Vendor("one")), b=answering(Vendor("two")))


@pytest.mark.parametrize("path", ["/route", "/route/invoke"])
def test_routing_calls_know_files_too(path: str, tmp_path: Path) -> None:
    async def deeds(desk: Desk) -> None:
        file = (await desk.upload("ann", LINES, AT_B)).json["id"]
        body = json.dumps({"model": "g", "request": {"messages": json.loads(naming("", "g", file))["messages"]}}).encode()
        answer = await desk.do("POST", path, "ann", body)
        assert (answer.status, answer.json["model"]) == (200, "b/m"), answer.out
        if path == "/route":
            assert answer.json["explain"]["candidates"][0]["why"] == "the file that the request names is at b"
        assert (await desk.do("POST", path, "ben", body)).status == 404, "another key's"

    run(tmp_path, deeds, of_two(), a=ok(), b=answering(Vendor()))


LIMITS = [
    ({"allowed_models": ["a/*"]}, "the models"),
    ({"parameter_limits": {"max_tokens": 100}}, "the parameters"),
    ({"budget": {"usd_per_day": 1}}, "the spending"),
]


@pytest.mark.parametrize(("terms", "reason"), LIMITS)
def test_a_limited_key_may_only_if_its_terms_say_so(terms: dict[str, Any], reason: str, tmp_path: Path) -> None:
    vendor = Vendor()

    async def refused(desk: Desk) -> None:
        for answer in (await desk.upload("low"), await desk.batch("file-v0", "low")):
            assert answer.status == 403 and reason in answer.json["error"]["message"], answer.out
            assert "allow_batches" in answer.json["error"]["message"]
        assert await desk.ids("/v1/files", "low") == []

    async def allowed(desk: Desk) -> None:
        file = await desk.upload("low")
        assert file.status == 200 and (await desk.batch(file.json["id"], "low")).status == 200

    run(tmp_path, refused, document(keys=[{**LIMITED, **terms}]), a=as_upstream(vendor))
    assert not vendor.seen
    run(tmp_path, allowed, document(keys=[{**LIMITED, **terms, "allow_batches": True}]), a=as_upstream(vendor))


def test_a_spent_budget_holds_for_a_key_that_may(tmp_path: Path) -> None:
    low = {**LIMITED, "budget": {"tokens_per_day": 0}, "allow_batches": True}

    async def deeds(desk: Desk) -> None:
        assert (await desk.upload("low")).status == 402

    assert not run(tmp_path, deeds, document(keys=[low]), a=Upstream()).hosts.sent


TWO = {"providers": [provider("a"), provider("b"), provider("claude", api="anthropic")], "keys": KEYS}
PLACES = [
    (TWO, [("x-llm-router-provider", "b")], "b", ""),
    ({**TWO, "server": {"files_provider": "b"}}, [], "b", ""),
    ({**TWO, "server": {"files_provider": "b"}}, [("x-llm-router-provider", "a")], "a", ""),
    ({**TWO, "keys": [{**KEYS[0], "allowed_providers": ["b"], "allow_batches": True}]}, [], "b", ""),
    (TWO, [], "", "there are a, b; name one in the header x-llm-router-provider"),
    (TWO, [("x-llm-router-provider", "claude")], "", "claude takes no files"),
    (TWO, [("x-llm-router-provider", "zed")], "", "zed takes no files"),
    ({**TWO, "keys": [{**KEYS[0], "allowed_providers": ["b"], "allow_batches": True}]}, [("x-llm-router-provider", "a")], "",
     "is not allowed for this key"),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "headers", "place", "message"), PLACES)
def test_a_file_goes_to_the_provider_that_is_named_or_the_only_one(
    settings: dict[str, Any], headers: Any, place: str, message: str, tmp_path: Path
) -> None:
    vendors = {name: as_upstream(Vendor(name)) for name in "ab"}

    async def deeds(desk: Desk) -> None:
        file = await desk.upload("ann", LINES, *headers)
        if message:
            assert file.status in (400, 403) and message in file.json["error"]["message"]
            return
        assert file.status == 200, file.out
        await desk.batch(file.json["id"])  # goes to where its file is, whatever else is set

    ways = run(tmp_path, deeds, settings, **vendors)
    assert ways.hosts.hosts == ([place, place] if place else [])
    assert all("x-llm-router-provider" not in sent["headers"] for sent in ways.hosts.sent)


def test_what_a_key_of_the_provider_made_is_reached_with_that_key(tmp_path: Path) -> None:
    vendor = Vendor()

    def first_is_refused(sent: dict[str, Any]) -> Upstream:
        return refusal(401) if sent["headers"]["authorization"] == "Bearer one" else as_upstream(vendor)(sent)

    async def deeds(desk: Desk) -> None:
        name = (await desk.upload()).json["id"]
        desk.ways.skip(10_000)  # the first key is tried again
        assert (await desk.do("GET", f"/v1/files/{name}")).status == 200

    settings = {"providers": [provider("a", api_key="one,two")], "keys": KEYS}  # pragma: allowlist secret
    ways = run(tmp_path, deeds, settings, a=first_is_refused)
    assert ways.hosts.keys == ["one", "two", "two"]


class Full:
    """A store whose disk is full."""

    async def put(self, objects: Any) -> None:
        raise NotSaved("nothing was changed: the disk is full")

    async def find(self, owner: str, kind: str, name: str) -> Owned:
        return Owned(owner, kind, name, 1.0, "a", "", {})


def test_what_cannot_be_remembered_is_taken_back(tmp_path: Path) -> None:
    vendor = Vendor()

    async def deeds(desk: Desk) -> None:
        assert (await desk.upload()).status == 507 and not vendor.objects
        assert (await desk.batch("file-x")).status == 507
        assert [each["status"] for each in vendor.objects.values()] == ["cancelling"]

    run(tmp_path, deeds, owned=Full(), a=as_upstream(vendor))


def test_without_a_store_there_are_none(tmp_path: Path) -> None:
    async def deeds(desk: Desk) -> None:
        for answer in (await desk.upload(), await desk.do("GET", "/v1/files"), await desk.do("GET", "/v1/batches/b")):
            assert answer.status == 400 and "set [server] store" in answer.json["error"]["message"]

    assert not run(tmp_path, deeds, owned=None, a=Upstream()).hosts.sent


def test_lists_have_pages(tmp_path: Path) -> None:
    async def deeds(desk: Desk) -> None:
        names = [(await desk.upload(data=str(at).encode())).json["id"] for at in range(3)]
        page = (await desk.do("GET", "/v1/files?limit=2")).json
        assert [each["id"] for each in page["data"]] == names[:0:-1]
        assert (page["first_id"], page["last_id"], page["has_more"]) == (names[2], names[1], True)
        rest = (await desk.do("GET", f"/v1/files?limit=2&after={names[1]}")).json
        assert [each["id"] for each in rest["data"]] == names[:1] and not rest["has_more"]
        assert await desk.ids("/v1/files?order=asc") == names and await desk.ids("/v1/files?purpose=vision") == []
        for query in ("limit=0", "limit=x", "limit=10001", "order=up", "limit=%C2%B2"):
            assert (await desk.do("GET", f"/v1/files?{query}")).status == 400, query

    run(tmp_path, deeds, a=as_upstream(Vendor()))


def test_a_list_of_batches_shows_them_as_they_are_now_or_were_last(tmp_path: Path) -> None:
    vendor = Vendor()
    away = False

    def answer(sent: dict[str, Any]) -> Upstream:
        if away:
            raise UpstreamFailed("no connection")
        return as_upstream(vendor)(sent)

    async def deeds(desk: Desk) -> None:
        nonlocal away
        file = (await desk.upload()).json["id"]
        one, two = [(await desk.batch(file)).json["id"] for _ in range(2)]
        output = vendor.finish(one, b"{}")
        shown = {each["id"]: each["status"] for each in (await desk.do("GET", "/v1/batches")).json["data"]}
        assert shown == {one: "completed", two: "in_progress"}
        assert output in await desk.ids("/v1/files")
        assert (await desk.do("POST", f"/v1/batches/{two}/cancel")).json["status"] == "cancelling"
        away = True
        shown = {each["id"]: each["status"] for each in (await desk.do("GET", "/v1/batches")).json["data"]}
        assert shown == {one: "completed", two: "cancelling"}

    run(tmp_path, deeds, a=answer)


def test_a_file_whose_time_is_over_is_gone(tmp_path: Path) -> None:
    vendor = Vendor()

    async def over(desk: Desk) -> None:
        vendor.more = {"expires_at": 5}
        name = (await desk.upload()).json["id"]
        assert await desk.ids("/v1/files") == [] and (await desk.do("GET", f"/v1/files/{name}")).status == 404

    run(tmp_path, over, a=as_upstream(vendor))


def test_callers_of_another_protocol_get_its_own_404(tmp_path: Path) -> None:
    async def deeds(desk: Desk) -> None:
        answer = await desk.do("GET", "/v1/files", "ann", b"", ("anthropic-version", "2023-06-01"))
        assert answer.status == 404 and answer.json["type"] == "error" and "Anthropic" in answer.json["error"]["message"]

    assert not run(tmp_path, deeds, a=Upstream()).hosts.sent


def test_the_limit_of_a_key_holds(tmp_path: Path) -> None:
    keys = [{**KEYS[0], "limits": {"max_requests": 2, "per_seconds": 60}}]

    async def deeds(desk: Desk) -> None:
        statuses = [(await desk.do("GET", "/v1/files")).status for _ in range(3)]
        assert statuses == [200, 200, 429]

    run(tmp_path, deeds, document(keys=keys), a=Upstream())


def test_errors_of_the_provider_pass_and_its_key_does_not(tmp_path: Path) -> None:
    vendor, secret = Vendor(), "key-a-0123456789"
    settings = {"providers": [provider("a", api_key=secret)], "keys": KEYS}

    async def deeds(desk: Desk) -> None:
        file = await desk.upload(data=b"before key-a-0123456789 after")
        name = file.json["id"]
        assert (await desk.do("GET", f"/v1/files/{name}/content")).out == b"before *** after"
        del vendor.objects[name]
        lost = await desk.do("DELETE", f"/v1/files/{name}")
        assert lost.status == 404 and lost.json["error"]["message"] == f"No such object: {name}"
        assert await desk.ids("/v1/files") == []
        bad = await desk.do("POST", "/v1/files", "ann", b"x", KIND)
        assert bad.status == 400 and "first boundary" in bad.json["error"]["message"]
        no_file = await desk.do("POST", "/v1/batches", "ann", b'{"endpoint":"/v1/chat/completions"}')
        assert no_file.status == 400 and no_file.json["error"]["param"] == "input_file_id"
        cut = (await desk.upload(data=secret.encode() + b" is cut")).json["id"]  # it comes in two pieces
        assert (await desk.do("GET", f"/v1/files/{cut}/content")).out == b"*** is cut"

    run(tmp_path, deeds, settings, a=as_upstream(vendor))


def test_a_file_that_breaks_off_ends_without_its_end(tmp_path: Path) -> None:
    vendor = Vendor()
    half = [b"half of ", StreamCut("the upstream closed the connection")]

    def answer(sent: dict[str, Any]) -> Upstream:
        is_content = sent["url"].endswith("/content")
        return Upstream(200, half, content_type="text/plain") if is_content else as_upstream(vendor)(sent)

    async def deeds(desk: Desk) -> None:
        content = await desk.do("GET", f"/v1/files/{(await desk.upload()).json['id']}/content")
        assert content.out == b"half of " and content.aborted and not content.ended

    assert "error=stream_cut" in run(tmp_path, deeds, a=answer).lines


def test_an_object_at_a_provider_that_is_gone_says_so(tmp_path: Path) -> None:
    class Elsewhere(Full):
        async def find(self, owner: str, kind: str, name: str) -> Owned:
            return Owned(owner, kind, name, 1.0, "zed", "", {})

    async def deeds(desk: Desk) -> None:
        answer = await desk.do("GET", "/v1/files/file-1")
        assert answer.status == 404 and answer.json["error"]["code"] == "not_found"
        assert "which this gateway no longer has" in answer.json["error"]["message"]

    run(tmp_path, deeds, owned=Elsewhere(), a=Upstream())
