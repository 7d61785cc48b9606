"""Configurations from TOML text, and the problems of those that are none."""

import tomllib

import pytest

from llm_router_gateway.config import config


def parse(text: str = "", *, flags: dict[str, str] | None = None, **env: str) -> config.Config:
    return config.parse(tomllib.loads(text), env=env, flags=flags)


def problems(text: str, *, flags: dict[str, str] | None = None, **env: str) -> dict[str, str]:
    with pytest.raises(config.ConfigError) as caught:
        parse(text, flags=flags, **env)
    return {problem.path: problem.text for problem in caught.value.problems}


def provider(text: str, **env: str) -> config.Provider:
    return parse(f"[[providers]]\n{text}", flags=None, **env).providers[0]


ABC = '[[providers]]\nname = "ollama"\n' + "".join(f'[[ollama.models]]\nname = "{name}"\n' for name in "abc")


def in_group(lines: str) -> dict[str, str]:
    return problems(f'{ABC}[[groups]]\nname = "g"\nmembers = [{{model = "a"}}]\n{lines}')


def member(fields: str) -> dict[str, str]:
    return problems(f'{ABC}[[groups]]\nname = "g"\nmembers = [{{model = "a"}}, {{{fields}}}]')
