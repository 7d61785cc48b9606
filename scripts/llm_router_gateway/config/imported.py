"""Configurations of other routers, converted: a parsed file in, a router.toml's document and what could not be carried out.

    from_jq_server(yaml)  -> Imported({"providers": [...], "models": [...], "groups": [...]}, ["model2: ..."])
    from_litellm(yaml)    the config.yaml of LiteLLM's proxy
    from_one_api(json)    the channels of One API, from its /api/channel/ or an export of the table
    toml_text(document)   -> the text of a router.toml

Nothing is checked here that `config.parse` checks: a value of the wrong type goes on as it is, and is reported there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from . import litellm
from .describe import printable, toml
from .presets import (
    AZURE_HOST,
    AZURE_PATH,
    COMMON_API,
    LITELLM_ADDRESSES,
    LITELLM_CLOUDS,
    LITELLM_PRESETS,
    ONE_API_KINDS,
    PRESETS,
)
from .price_list import is_carried, price_config

Table = dict[str, Any]


@dataclass(slots=True)
class Imported:
    """A document for `config.parse`, what of the file has no place in it, and what behaves otherwise here."""

    document: Table
    lost: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Wrong(ValueError):
    """The file is not what it should be: the message says where."""


def tables(value: Any, where: str) -> list[Table]:
    """A list of tables, or Wrong that says where one was expected; nothing counts as an empty list."""
    found = [] if value is None else value
    if not isinstance(found, list):
        raise Wrong(f"{where} is not a list of tables")
    odd = next((number for number, item in enumerate(found) if not isinstance(item, dict)), None)
    if odd is not None:
        raise Wrong(f"{where}[{odd}] is not a table")
    return found


def table(value: Any, where: str) -> Table:
    if value is not None and not isinstance(value, dict):
        raise Wrong(f"{where} is not a table")
    return value or {}


def host_name(address: str) -> str:
    """A provider's name out of its address: "https://dashscope.aliyuncs.com/v1" -> "dashscope", else host and port."""
    where = urlsplit(address)
    host = where.hostname or "provider"
    labels = [label for label in host.split(".")[:-1] if label not in ("www", "api", "open")]
    if not labels or re.fullmatch(r"[\d.:]+", host):
        return f"{host}-{where.port}".replace(":", "-") if where.port else host.replace(":", "-")
    return max(labels, key=len)


class Builder:
    """Collects providers (one for each address and key), their models, and the names that they answer to."""

    def __init__(self, advice: Mapping[str, str] | None = None) -> None:
        """`advice`: a setting of the other router that has no place here -> what to do instead."""
        self.advice = advice or {}
        self.providers: dict[tuple[Any, ...], Table] = {}
        self.models: dict[tuple[str, str], Table] = {}
        self.answers: dict[str, list[Table]] = {}  # what callers ask for -> members of a group
        self.lost: list[str] = []
        self.notes: list[str] = []

    def provider(self, name: str, **settings: Any) -> str:
        """The name of the provider with these settings, made when it is the first; taken names get a number."""
        settings = {key: value for key, value in settings.items() if value not in (None, "", {})}
        key = tuple(sorted((key, json.dumps(value, sort_keys=True, default=str)) for key, value in settings.items()))
        if key not in self.providers:
            wanted = re.sub(r"[^A-Za-z0-9_.+-]+", "-", name).strip("-") or "provider"
            taken = {made["name"] for made in self.providers.values()}
            numbered = (f"{wanted}-{number}" for number in range(2, len(taken) + 3))
            free = wanted if wanted not in taken else next(each for each in numbered if each not in taken)
            self.providers[key] = {"name": free, **settings}
        return str(self.providers[key]["name"])

    def take_any_model(self, name: str, wanted: str) -> None:
        """The provider of this name takes models that no entry lists, as WANTED/* did."""
        next(made for made in self.providers.values() if made["name"] == name)["any_model"] = True
        if name != wanted:
            self.notes.append(f"what was {wanted}/MODEL is {name}/MODEL here, as another provider has that name")

    def model(self, provider: str, asked: str, remote: str, member: Table, **settings: Any) -> None:
        """One model of a provider's, which answers to `asked`; the same again adds its weight."""
        settings = {key: value for key, value in settings.items() if value not in (None, "", {}, [])}
        other = {"remote_identifier": remote} if remote != asked else {}
        made = {"name": asked, "provider": provider, **other, **settings}
        known = self.models.setdefault((provider, asked), made)
        if known is not made and known != made:
            number = sum(key[0] == provider and key[1].startswith(f"{asked}#") for key in self.models) + 2
            made["name"] = f"{asked}-{number}"
            made.setdefault("remote_identifier", remote)
            self.models[(provider, f"{asked}#{number}")] = made
        self.answers.setdefault(asked, []).append({"model": f"{provider}/{made['name']}", **member})

    def document(self, groups: list[Table]) -> Table:
        found = {"providers": [*self.providers.values()], "models": [*self.models.values()], "groups": groups}
        return {name: rows for name, rows in found.items() if rows}

    def drop(self, where: str, given: Mapping[str, Any], known: set[str]) -> None:
        """Name the keys that have no place here, when they say something."""
        nothing: tuple[Any, ...] = (None, "", [], {}, False)
        for name, value in given.items():
            if name not in known and value not in nothing:
                self.lost.append(f"{where}: {name}" + (f"; {self.advice[name]}" if name in self.advice else ""))


# ----------------------------------------------------------------------------------------------- the jq server's YAML


def patch(value: Any, where: str) -> Any:
    """rewrite_body and rewrite_header: an object, or the same as a JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.strip() else None
        except ValueError as wrong:
            raise Wrong(f"{where} is not JSON: {wrong}") from None
    return table(value, where)


def without_nulls(value: Any, path: str, lost: list[str]) -> Any:
    """The value without what TOML cannot say, which is noted."""
    if isinstance(value, list):
        return [without_nulls(item, f"{path}[{at}]", lost) for at, item in enumerate(value) if item is not None]
    if not isinstance(value, dict):
        return value
    lost += [f"{path}.{name}, which is null" for name, item in value.items() if item is None]
    return {name: without_nulls(item, f"{path}.{name}", lost) for name, item in value.items() if item is not None}


def toml_value(value: Table) -> Table | str:
    """A patch as TOML can write it: with a null in it as JSON text."""
    text = json.dumps(value, ensure_ascii=False)
    return text if re.search(r"\bnull\b", text) else value


def from_jq_server(given: Any) -> Imported:
    """Models of model_list by their names, one group for each of router_settings.model_groups."""
    given, made = table(given, "the file"), Builder()
    settings = table(given.get("router_settings"), "router_settings")
    made.drop("the file", given, {"model_list", "router_settings"})
    made.drop("router_settings", settings, {"strategy", "model_groups"})
    names: dict[str, str] = {}
    for place, entry in enumerate(tables(given.get("model_list"), "model_list")):
        where = f"model_list[{place}]"
        name, params = str(entry.get("model_name")), table(entry.get("llm_params"), f"{where}.llm_params")
        made.drop(where, entry, {"model_name", "llm_params"})
        known = {"api_type", "model", "api_base", "api_key", "rewrite_header", "rewrite_body"}
        made.drop(where, params, known)
        kind, base = params.get("api_type"), str(params.get("api_base"))
        provider = made.provider(host_name(base), api=kind, base_url=base, api_key=params.get("api_key"))
        body = patch(params.get("rewrite_body"), f"{where}.llm_params.rewrite_body")
        headers = patch(params.get("rewrite_header"), f"{where}.llm_params.rewrite_header")
        if name in names:
            raise Wrong(f"{where}.model_name {name!r} occurs twice")
        names[name] = f"{provider}/{name}"
        made.model(
            provider, name, str(params.get("model")), {}, rewrite_body=toml_value(body), rewrite_header=toml_value(headers)
        )
        made.notes += jq_body_notes(name, body)
    groups = list(jq_groups(settings, names, made))
    made.notes.append("a failed request goes to the group's next member, whereas the jq server gave up; callers may also "
                      "name a model of model_list directly, and `/v1/models` lists these as well")  # fmt: skip
    if any(member.get("selector") for group in groups for member in group["members"]):
        made.notes.append('a selector matches if its first output is true; unlike there, the text "true" does not match')
    return Imported(made.document(groups), made.lost, made.notes)


def jq_body_notes(name: str, body: Table) -> Iterator[str]:
    """What rewrite_body, a JSON merge patch here, does otherwise."""
    for key, value in body.items():
        if value is None:
            yield f"{name}: rewrite_body sets {key} to null, which removes it here; the jq server sent the null"
        elif isinstance(value, dict):
            yield f"{name}: rewrite_body merges {key} into that of the request, whereas the jq server replaced it as a whole"


def jq_groups(settings: Table, names: Mapping[str, str], made: Builder) -> Iterator[Table]:
    for place, group in enumerate(tables(settings.get("model_groups"), "router_settings.model_groups")):
        where = f"router_settings.model_groups[{place}]"
        made.drop(where, group, {"name", "models"})
        members = []
        for number, member in enumerate(tables(group.get("models"), f"{where}.models")):
            made.drop(f"{where}.models[{number}]", member, {"name", "weight", "selector"})
            name = str(member.get("name"))  # YAML takes 4.1 for a number
            if name not in names:
                raise Wrong(f"{where}.models[{number}].name {name!r} is not in model_list")
            said = {"weight": member.get("weight"), "selector": member.get("selector")}
            filled = {key: value for key, value in said.items() if value not in (None, "")}
            members.append({"model": names[name], **filled})
        yield {"name": group.get("name"), "strategy": settings.get("strategy", "roundrobin"), "members": members}


# ------------------------------------------------------------------------------------------------------------ LiteLLM


LITELLM_PROVIDER_PARAMS = {
    "model", "api_key", "api_base", "base_url", "timeout", "stream_timeout", "extra_headers", "custom_llm_provider",
}  # fmt: skip
LITELLM_PARAMS = LITELLM_PROVIDER_PARAMS | {"rpm", "tpm", "weight", "order", "max_parallel_requests"}
SENT_PARAMS = {"temperature", "top_p", "max_tokens", "max_completion_tokens", "seed", "stop", "presence_penalty",
               "frequency_penalty", "reasoning_effort", "extra_body"}  # fmt: skip
LITELLM_INFO = {"id", "mode", "base_model"}  # what says nothing that a configuration of ours could


def secret(value: Any, name: str = "api_key") -> Table:
    """{"api_key_env": "X"} for os.environ/X, {"api_key": ...} for a key, {} for none."""
    if isinstance(value, str) and value.startswith(litellm.VARIABLE):
        return {f"{name}_env": value.removeprefix(litellm.VARIABLE)}
    return {name: value} if value else {}


def from_litellm(given: Any) -> Imported:
    """Deployments of one model_name are the members of a group of that name."""
    given, made = table(given, "the file"), Builder(litellm.ADVICE)
    for place, entry in enumerate(tables(given.get("model_list"), "model_list")):
        litellm_model(f"model_list[{place}]", entry, made)
    parts = {part: table(given.get(part), part) for part in litellm.PARTS}
    router, master_key = parts["router_settings"], parts["general_settings"].get("master_key")
    aliases = table(router.get("model_group_alias"), "router_settings.model_group_alias")
    fallbacks = litellm_fallbacks(parts, set(aliases), made)
    groups = groups_of(made.answers, litellm_strategy(router, made), fallbacks)
    groups += [group_of_alias(alias, target, groups) for alias, target in aliases.items()]
    own = litellm.carry(parts, made.lost, made.notes)
    server = {**secret(master_key, "token"), **own.pop("server", {})}
    document = {**({"server": server} if server else {}), **made.document(groups), **own}
    for part, settings in parts.items():
        made.drop(part, settings, litellm.known_of(part))
    made.drop("the file", given, {"model_list", *parts})
    return Imported(document, made.lost, made.notes)


def litellm_strategy(router: Table, made: Builder) -> str:
    said = str(router.get("routing_strategy") or "")
    if said and said not in litellm.STRATEGIES:
        made.lost.append(f"router_settings: routing_strategy {said} (random in its place)")
    found = litellm.STRATEGIES.get(said, "random")
    if found == "cost":
        made.notes.append("the cheapest member is found by the prices of [models.config], and those without come last: "
                          "prices import or models refresh --prices has LiteLLM's")  # fmt: skip
    return found


def group_of_alias(alias: str, target: Any, groups: list[Table]) -> Table:
    """A group that answers as the one that the alias names, or as the one model."""
    name = target.get("model") if isinstance(target, dict) else target
    same = next((group for group in groups if group["name"] == name), {"members": [{"model": name}]})
    return {**same, "name": alias}


def azure_address(base: str) -> Table:
    """azure_address("https://mine.openai.azure.com/") -> {"resource": "mine"}; of another host the address of its v1 API.

    An address with a path is one of one's own.
    """
    parts = urlsplit(base)
    host = parts.hostname or ""
    if host.endswith(AZURE_HOST):
        return {"resource": host.removesuffix(AZURE_HOST)}
    return {"base_url": base if parts.path.strip("/") or not host else f"{parts.scheme}://{parts.netloc}{AZURE_PATH}"}


def litellm_cloud(where: str, word: str, params: Table, base: Any, made: Builder) -> Table:
    """The settings of a provider in a cloud, but for its key."""
    kind, names, _, note = LITELLM_CLOUDS[word]
    if note not in made.notes:
        made.notes.append(note)
    parts = {ours: params.get(theirs) for ours, theirs in names.items()}
    for name, value in parts.items():
        if isinstance(value, str) and value.startswith(litellm.VARIABLE):
            made.lost.append(f"{where}: {names[name]}, which comes from {value}; set {' or '.join(PRESETS[kind].parts[name])}")
            parts[name] = None
    own = azure_address(str(base)) if base else {}
    return {"type": kind, **parts, **own}


def litellm_provider(word: str, place: Table, params: Table, made: Builder) -> str:
    """The name of the provider at that place with the key and the settings of a deployment."""
    settings: Table = {"headers": params["extra_headers"]} if params.get("extra_headers") else {}
    for theirs, ours in (("timeout", "timeout"), ("stream_timeout", "first_output_timeout_s")):
        amount = litellm.number_at(f"{word} {params.get('model')}: {theirs}", params.get(theirs), made.lost)
        if amount is not None:
            settings[ours] = amount
    return made.provider(word, **place, **secret(params.get("api_key")), settings=settings)


def litellm_model(where: str, entry: Table, made: Builder) -> None:
    asked, params = str(entry.get("model_name")), table(entry.get("litellm_params"), f"{where}.litellm_params")
    info = table(entry.get("model_info"), f"{where}.model_info")
    missing = [name for name, value in (("model_name", entry.get("model_name")), ("model", params.get("model"))) if not value]
    if missing:
        made.lost.append(f"{where}: it has no {missing[0]}")
        return
    said = str(params.get("model"))
    word, _, remote = said.rpartition("/") if "/" not in said else said.partition("/")
    word = str(params.get("custom_llm_provider") or word or COMMON_API)
    base = params.get("api_base") or params.get("base_url") or LITELLM_ADDRESSES.get(word)
    cloud = LITELLM_CLOUDS.get(word)
    if word not in LITELLM_PRESETS and not base and cloud is None:
        made.lost.append(f"{where}: {asked}, as {word} has no known address")
        return
    kind: Table = {"type": LITELLM_PRESETS[word]} if word in LITELLM_PRESETS else {"api": COMMON_API}
    if "*" in asked or "*" in remote:
        if cloud is not None or (asked, remote) != (f"{word}/*", "*"):
            made.lost.append(f"{where}: {asked}, a pattern; only PROVIDER/* with the provider's own name can be imported")
            return
        made.take_any_model(litellm_provider(word, {"base_url": base, **kind}, params, made), word)
        made.drop(where, entry, {"model_name", "litellm_params", "model_info"})
        made.drop(f"{where} {asked}", params, LITELLM_PROVIDER_PARAMS)
        return
    if cloud is not None:
        names = [found.expand(to) for pattern, to in cloud[2] if (found := re.fullmatch(pattern, remote))]
        if not names:
            made.lost.append(f"{where}: {asked}, as {word} does not serve {remote} in a known protocol")
            return
        kind, base, remote = litellm_cloud(f"{where} {asked}", word, params, base, made), None, names[0]
    provider = litellm_provider(word, {"base_url": base, **kind}, params, made)
    limits = {"max_requests": params.get("rpm"), "per_seconds": 60 if params.get("rpm") else None,
              "tokens_per_minute": params.get("tpm"), "max_concurrent": params.get("max_parallel_requests")}  # fmt: skip
    limits = {key: value for key, value in limits.items() if value}
    sent = sorted(SENT_PARAMS & params.keys() - {"extra_body"})
    defaults = {key: params[key] for key in sent if params[key] is not None}
    defaults.update(table(params.get("extra_body"), f"{where}.extra_body"))
    defaults = without_nulls(defaults, f"{where} {asked}", made.lost)
    weight = params.get("weight") or params.get("rpm")
    order = litellm.number_at(f"{where} {asked}: order", params.get("order"), made.lost) or 0
    member = {key: value for key, value in {"weight": weight, "priority": -order}.items() if value}
    made.model(provider, asked, remote or said, member, default_params=defaults, limits=limits, config=price_config(info))
    made.drop(where, entry, {"model_name", "litellm_params", "model_info"})
    of_cloud = {*cloud[1].values(), "api_version"} if cloud is not None else set()
    made.drop(f"{where} {asked}", params, LITELLM_PARAMS | SENT_PARAMS | of_cloud)
    made.drop(f"{where} {asked}", info, LITELLM_INFO | set(filter(is_carried, info)))


def litellm_fallbacks(parts: Mapping[str, Table], aliases: set[str], made: Builder) -> dict[str, list[str]]:
    """{"gpt-4": ["claude"]} out of fallbacks: [{"gpt-4": ["claude"]}], of two places, and those for all else."""
    said: dict[str, Any] = {}
    for where in ("router_settings", "litellm_settings"):
        for row in tables(parts[where].get("fallbacks"), f"{where}.fallbacks"):
            said.update(row)
    general = [
        said.pop("*", None),
        *(parts[where].get("default_fallbacks") for where in ("router_settings", "litellm_settings")),
    ]
    usual: Any = next(filter(None, general), [])
    made.lost += [f"fallbacks of {name}, which is not a model_name" for name in said if name not in made.answers]
    opened = {str(provider["name"]) for provider in made.providers.values() if provider.get("any_model")}
    found: dict[str, list[str]] = {}
    for name in made.answers:
        names = said.get(name, usual)
        for other in names if isinstance(names, list) else [names]:
            is_here = isinstance(other, str) and (
                other in made.answers or other in aliases or other.partition("/")[0] in opened
            )
            if is_here and other != name:
                found.setdefault(name, []).append(other)
            elif not is_here:
                shown = other if isinstance(other, str) else json.dumps(other, default=str)
                made.lost.append(f"fallback of {name}: {shown[:100]}, which is not a model_name")
    return found


def groups_of(answers: Mapping[str, list[Table]], strategy: str, fallbacks: Mapping[str, list[str]]) -> list[Table]:
    """A group for each name that several answer to, or that has fallbacks; the others are models of that name."""
    groups = []
    for name, members in answers.items():
        then = fallbacks.get(name, [])
        plain = len(members) == 1 and members[0]["model"].endswith(f"/{name}")
        if not plain or then:
            groups.append({"name": name, "strategy": strategy, "members": members, **({"fallbacks": then} if then else {})})
    return groups


# ------------------------------------------------------------------------------------------------------------ One API


COMPATIBLE = 50  # whose address holds the version already
AZURE = 3
ENABLED = 1
ONE_API_KNOWN = {
    "id", "type", "key", "status", "name", "weight", "priority", "base_url", "models", "group", "model_mapping", "created_time",
    "test_time", "response_time", "balance", "balance_updated_time", "used_quota",
}  # fmt: skip


def from_one_api(given: Any) -> Imported:
    """A provider for each channel; models that several channels have are groups with their weights and priorities."""
    rows = given.get("data") if isinstance(given, dict) else given
    rows = rows.get("items") if isinstance(rows, dict) else rows  # New API wraps them once more
    made = Builder()
    for place, channel in enumerate(tables(rows, "the list of channels")):
        one_api_channel(f"channel {channel.get('name') or place}", channel, made)
    for members in made.answers.values():
        weigh_channels(members)
    return Imported(made.document(groups_of(made.answers, "random", {})), made.lost, made.notes)


def weigh_channels(members: list[Table]) -> None:
    """Without any weight among those of one priority all are equal; with one, those without are only for its failures."""
    weighed = [member.get("priority") for member in members if member.get("weight")]
    for member in members:
        if member.get("priority") in weighed:
            member.setdefault("weight", 0)


def one_api_channel(where: str, channel: Table, made: Builder) -> None:
    number = channel.get("type")
    kind, base = ONE_API_KINDS.get(number) if isinstance(number, int) else None, str(channel.get("base_url") or "").rstrip("/")
    if kind is None and not base:
        made.lost.append(f"{where}: type {channel.get('type')} has no known address")
        return
    api, address = (COMMON_API, "") if kind is None else kind if isinstance(kind, tuple) else (PRESETS[kind].api, "")
    at: Table = {}
    if base and kind == ONE_API_KINDS[AZURE]:
        at, base = azure_address(base), ""
    if base and api == COMMON_API and channel.get("type") != COMPATIBLE:
        base = f"{base}/v1" if not re.search(r"/v\d+$", base) else base
    name = str(channel.get("name") or where)
    keys = ",".join(str(channel.get("key") or "").split())
    safe = re.sub(r"\W+", "_", name).strip("_").upper() or "CHANNEL"
    if not keys:
        made.notes.append(f"{where}: its key is not in the file; set {safe}_API_KEY")
    of = {"type": kind} if isinstance(kind, str) else {"api": api}
    active = None if channel.get("status", ENABLED) == ENABLED else False
    provider = made.provider(name, **{"base_url": base or address, **at}, **of, is_active=active,
                             **({"api_key": keys} if keys else {"api_key_env": f"{safe}_API_KEY"}))  # fmt: skip
    renamed = patch(channel.get("model_mapping"), f"{where}: model_mapping")
    weight, priority = channel.get("weight"), channel.get("priority")
    member = {key: value for key, value in {"weight": weight, "priority": priority}.items() if value}
    for model in filter(None, (text.strip() for text in str(channel.get("models") or "").split(","))):
        made.model(provider, model, str(renamed.get(model, model)), member)
    if channel.get("group") not in (None, "", "default"):
        made.lost.append(f"{where}: group {channel['group']}")
    made.drop(where, channel, ONE_API_KNOWN)


READERS: Mapping[str, Callable[[Any], Imported]] = {
    "litellm": from_litellm, "one-api": from_one_api, "jq-server": from_jq_server,
}  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ as TOML


def bare(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def rows_of(given: Mapping[str, Any]) -> Iterator[str]:
    lines = (f"{bare(name)} = {toml(value)}" for name, value in given.items() if name != "members" and value is not None)
    yield from map(printable, lines)


def toml_text(document: Mapping[str, Any]) -> str:
    """A router.toml's text: [server] and [health], then [[providers]], [[models]], [[groups]] with their [[groups.members]]."""
    parts = [[f"[{name}]", *rows_of(document[name])] for name in ("server", "health") if document.get(name)]
    for kind in ("providers", "models", "groups"):
        for entry in document.get(kind, ()):
            lines = [f"[[{kind}]]", *rows_of(entry)]
            for member in entry.get("members", ()):
                lines += ["[[groups.members]]", *rows_of(member)]
            parts.append(lines)
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"
