"""Where a Config comes from on this machine: router.toml, the .env beside it, secret files, the environment.

    source = Source("router.toml", flags={"port": "9000"}, env=os.environ)
    source.load()      -> Config, or ConfigError with every problem
    source.changed()   -> True once after any of the files changed
"""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .config import Config, ConfigError, Problem, implied, parse, read_dotenv
from .presets import OLLAMA_ADDRESS

DEFAULT_FILE = "router.toml"
FILE_VARIABLE = "LLM_ROUTER_MODEL_CONFIG"
PROBE_S = 0.05  # for an Ollama on loopback: it answers at once or is not there


def ollama_is_there(address: tuple[str, int] = OLLAMA_ADDRESS) -> bool:
    try:
        socket.create_connection(address, PROBE_S).close()
    except OSError:
        return False
    return True


def stamp(path: Path) -> tuple[int, int, int] | None:
    """What differs when a file was written anew; None while there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


class Source:
    """The files and settings of one run, read again at every load."""

    def __init__(
        self, path: str, *, flags: Mapping[str, str], env: Mapping[str, str], document: Mapping[str, Any] | None = None
    ) -> None:  # fmt: skip
        """`path` "" means: the variable, else router.toml here if there is one. `document` stands in for a file."""
        chosen = path or env.get(FILE_VARIABLE, "").strip()
        self.path: Path | None = Path(chosen or DEFAULT_FILE)
        if document is not None or (not chosen and not self.path.exists()):
            self.path = None
        self._document, self._flags, self._env = document, flags, env
        self._secrets: set[Path] = set()
        self._stamps: dict[Path, tuple[int, int, int] | None] = {}

    @property
    def name(self) -> str:
        return str(self.path) if self.path else "the environment"

    def load(self) -> Config:
        self._secrets.clear()
        try:
            env = {**self._dotenv(), **self._env}
            return parse(self._read(env), env=env, flags=self._flags, read_secret=self._read_secret)
        finally:
            self._stamps = {path: stamp(path) for path in self._files()}

    def changed(self) -> bool:
        now = {path: stamp(path) for path in self._files()}
        before, self._stamps = self._stamps, now
        return now != before

    def _files(self) -> list[Path]:
        return [self.path, self.path.with_name(".env"), *sorted(self._secrets)] if self.path else sorted(self._secrets)

    def _dotenv(self) -> dict[str, str]:
        """.env beside the file; without a file none, for the working directory may be anybody's."""
        path = self.path.with_name(".env") if self.path else None
        try:
            return read_dotenv(path.read_text("utf-8", "replace")) if path and path.exists() else {}
        except OSError as wrong:
            raise ConfigError([Problem(str(path), f"cannot be read: {wrong.strerror}")]) from None

    def _read(self, env: Mapping[str, str]) -> Mapping[str, Any]:
        if self._document is not None:
            return self._document
        if self.path is None:
            return implied(env, ollama=ollama_is_there())
        try:
            return tomllib.loads(self.path.read_text("utf-8"))
        except OSError as wrong:
            raise ConfigError([Problem(str(self.path), f"cannot be read: {wrong.strerror}")]) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
            raise ConfigError([Problem(str(self.path), f"is not TOML: {wrong}")]) from None

    def _read_secret(self, name: str) -> str:
        path = (self.path.parent if self.path else Path()) / Path(name).expanduser()
        self._secrets.add(path)
        return path.read_text("ascii")
