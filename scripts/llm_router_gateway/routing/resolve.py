"""A model's name -> the candidates for it, in order. Pure: everything it depends on is an argument.

    routes = routes_of(config)                        once per Config
    candidates(routes, "openai/gpt-4.1")              -> (Candidate(provider openai, remote_id "gpt-4.1"),)
    candidates(routes, "gpt-4.1")                     -> the same, when only one provider has it
    candidates(routes, "no-such")                     -> UnknownModel, with similar names

One name has one candidate here; `plan` groups several under one name and chooses among them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from ..config.config import Config, Model, Provider, accepting_providers
from ..config.kinds import MODEL_NAME
from ..errors import UnknownModel
from ..policy.overrides import Overrides, compose
from ..wire.registry import UPSTREAMS

MAX_NAME = 256  # characters; the longest real ones have about 100
MAX_NAMED = 8  # names in one error text
WILD = "*"  # in a name of `rename`: any text
KNOWN_PATTERNS = 1_024  # names with a * that are remembered compiled


@dataclass(frozen=True, slots=True)
class Candidate:
    """One provider that serves a model, and its own id for the model."""

    provider: Provider
    remote_id: str
    model: Model | None = None  # the configured model; None where the file lists none of this name
    alias: str = ""  # the name that callers use, where the provider renames it
    name: str = field(init=False)  # "provider/model"
    overrides: Overrides = field(init=False)  # the provider's overrides and the model's, which take precedence

    def __post_init__(self) -> None:
        model = self.model
        name = f"{self.provider.name}/{model.name if model else self.alias or self.remote_id}"
        object.__setattr__(self, "name", name)  # it is frozen from here on
        overrides = compose(self.provider.overrides, model.overrides) if model else self.provider.overrides
        object.__setattr__(self, "overrides", overrides)

    def speaking(self, api: str) -> Candidate:
        """The same in the caller's own protocol, where the provider has that too: then nothing is lost in conversion."""
        other = self.provider.also.get(api) if self.provider.also else None
        return self if other is None else Candidate(other, self.remote_id, self.model, self.alias)

    def url(self, call: str, quoted_id: str = "") -> str:
        """URL of a call; a model's own endpoint replaces the chat call's path."""
        return self.provider.url(call, quoted_id or self.remote_id)


@dataclass(frozen=True, slots=True)
class Routes:
    """A Config turned into look-ups."""

    full: Mapping[str, Candidate]  # "openai/gpt-4.1"
    bare: Mapping[str, tuple[Candidate, ...]]  # "gpt-4.1"
    open: Mapping[str, Provider]  # providers that accept any model name
    off: frozenset[str] = frozenset()  # full names of what is switched off
    wild: tuple[Provider, ...] = ()  # providers that claim names by a * in their `rename`


def routes_of(config: Config) -> Routes:
    """The look-ups of a Config, without what is switched off."""
    active = {provider.name: provider for provider in config.providers if provider.is_active}
    found = [
        Candidate(with_endpoint(active[model.provider], model), remote_id_of(active[model.provider], model), model)
        for model in config.models
        if model.is_active and model.provider in active
    ]
    bare: dict[str, tuple[Candidate, ...]] = {}
    for candidate in found:
        name = candidate.name.partition("/")[2]
        bare[name] = (*bare.get(name, ()), candidate)
    opened = {name: provider for name, provider in active.items() if provider.any_model}
    full = {candidate.name: candidate for candidate in found}
    listed = {f"{model.provider}/{model.name}" for model in config.models}
    wild = tuple(provider for provider in active.values() if any(WILD in name for name in provider.rename))
    return Routes(full, bare, opened, frozenset(listed - full.keys()), wild)


def remote_id_of(provider: Provider, model: Model) -> str:
    """A model's own `remote_id` takes precedence over the provider's `rename` table."""
    return model.remote_id if model.remote_id != model.name else provider.rename.get(model.name, model.name)


@lru_cache(maxsize=KNOWN_PATTERNS)
def pattern_of(asked: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, asked.split(WILD))))


def star_name(provider: Provider, name: str) -> str:
    """What the first fitting * in a provider's `rename` makes of a name; "" where none fits.

    star_name(a provider with rename {"gemini-*-flash*": "small"}, "gemini-3-flash-preview") -> "small"
    """
    return next((remote for asked, remote in provider.rename.items()
                 if WILD in asked and pattern_of(asked).fullmatch(name)), "")  # fmt: skip


def with_endpoint(provider: Provider, model: Model) -> Provider:
    """The provider with the protocol or chat path of one of its models, where that has its own."""
    if not model.endpoint:
        return provider.for_model(remote_id_of(provider, model))
    if model.endpoint in UPSTREAMS:
        return provider.speaking(model.endpoint)
    from dataclasses import replace

    paths = {**provider.paths, "chat": model.endpoint}
    if "stream" in paths:
        paths["stream"] = UPSTREAMS[provider.api].stream_path(model.endpoint)
    return replace(provider, paths=paths, also={})


def of_open(provider: Provider, name: str) -> Candidate:
    """A model that the file does not list, of a provider that accepts any name."""
    remote_id = provider.rename.get(name) or star_name(provider, name) or name
    return Candidate(provider.for_model(remote_id), remote_id, alias=name)


def star_candidates(routes: Routes, name: str) -> tuple[Candidate, ...]:
    """The models that a * in some provider's `rename` makes of a name: as they are listed, where they are."""
    owner, _, rest = name.partition("/")
    mine = [(provider, rest) for provider in routes.wild if rest and provider.name == owner]
    found: list[Candidate] = []
    for provider, asked in mine or [(provider, name) for provider in routes.wild]:
        remote = star_name(provider, asked)
        if remote:
            listed = routes.full.get(f"{provider.name}/{remote}")
            found.append(listed or Candidate(provider.for_model(remote), remote, alias=asked))
    return tuple(found)


def candidates(routes: Routes, name: str) -> tuple[Candidate, ...]:
    """The candidates of a name, best first; UnknownModel when there is none or the name is ambiguous."""
    name = name.removeprefix("models/")  # the Gemini SDKs put this before every model name
    exact = routes.full.get(name)
    if exact:
        return (exact,)
    if not name or len(name) > MAX_NAME or not MODEL_NAME.fullmatch(name) or ".." in name.split("/"):
        raise UnknownModel(f"{name[:MAX_NAME]!a} is not a model name")
    if name in routes.off:  # a provider that accepts any name must not get it instead
        raise UnknownModel(f"{name} is switched off", details={"model": name})
    owner, _, rest = name.partition("/")
    if rest and owner in routes.open:
        return (of_open(routes.open[owner], rest),)
    named = routes.bare.get(name) or star_candidates(routes, name)
    named = named or tuple(of_open(provider, name) for provider in accepting_providers(routes.open.values(), name))
    if len(named) == 1:
        return named
    raise unknown(routes, name, named)


class Unlisted(UnknownModel):
    """No provider has a model of that name, or the name is ambiguous: the default model may answer."""


def unknown(routes: Routes, name: str, named: tuple[Candidate, ...]) -> Unlisted:
    """The error, with what to write instead."""
    if named:
        ways = ", ".join(candidate.name for candidate in named[:MAX_NAMED])
        return Unlisted(f"{name!r} is ambiguous: write one of {ways}", details={"model": name})
    from difflib import get_close_matches  # 8 ms, only when something is wrong

    near = get_close_matches(name, [*routes.full, *routes.bare], n=3)
    hint = f"; similar names: {', '.join(near)}" if near else "; GET /v1/models lists the models"
    owner = name.partition("/")[0]
    if owner in {full.partition("/")[0] for full in routes.full}:
        hint = f"; {owner} lists its models, and this one is not among them" + hint
    return Unlisted(f"no provider has a model {name!r}{hint}", details={"model": name})
