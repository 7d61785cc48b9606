"""Where a Config comes from on this machine: router.toml, the overlay and the .env beside it, secret files, the environment.

    source = Source("router.toml", flags={"port": "9000"}, env=os.environ)
    source.load()        -> Config, or ConfigError with every problem
    source.has_changed() -> True once after any of the files changed

What the API changes is kept in router.overlay.json beside the file, which a load lays over it:

    source.trial(overlay)   -> the Config that it would give, or ConfigError; nothing changes
    source.save(overlay)    OSError when it cannot be kept; then nothing changed (blocks: call it in a thread)
    source.adopt(overlay)   -> the Config with it, from now on

    from_portable(source.portable())   -> the same Config, in another process and without a file
"""

from __future__ import annotations

import errno
import json
import os
import re
import socket
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import islice
from pathlib import Path
from secrets import token_hex
from stat import S_IROTH
from typing import Any, NoReturn

from .config import Config, ConfigError, Problem, implied_document, parse
from .dotenv import read_dotenv, unread_lines
from .imported import Wrong, from_jq_server
from .overlay import NOTHING, Merged, Overlay, merge, overlay_json, read_overlay, without
from .presets import LOCAL_ADDRESS
from .settings import CALLER_KEY, KEY_SECRET, PROVIDER, SERVER
from .variables import FILE_VARIABLE as FILE_VARIABLE
from .variables import OVERLAY_VARIABLE as OVERLAY_VARIABLE

DEFAULT_FILE = "router.toml"
PROBE_S = 0.05  # for an Ollama on loopback: it answers at once or is not there
YAML_SUFFIXES = (".yaml", ".yml")  # the jq server's configuration, read unchanged
MERGE_TAG = "tag:yaml.org,2002:merge"  # <<, which takes keys over from another table
NO_YAML = "is YAML, which needs PyYAML: python3 -m pip install PyYAML"
LACKING = "the file no longer contains what it changes"
INLINE = {setting.name for setting in (*SERVER, *PROVIDER, *CALLER_KEY, *KEY_SECRET) if setting.kind == "secret"}
SECRET_HEADER = re.compile("auth|key|token|secret|cookie", re.IGNORECASE)
NO_MODES = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)  # the second is Windows's: no line ends are changed
MAX_ODD_LINES = 3  # of a .env that are named: more of them say no more
MAX_OVERLAY_BYTES = 33_554_432  # a thousand models take a tenth of it


def local_server_is_there(address: tuple[str, int] = LOCAL_ADDRESS) -> bool:
    try:
        socket.create_connection(address, PROBE_S).close()
    except OSError:
        return False
    return True


def stamp(path: Path) -> tuple[int, int, int] | None:
    """A value that changes when a file is rewritten; None while there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def unreadable(path: Path | None, wrong: OSError) -> Problem:
    """What keeps a file from being read, and where a relative path starts."""
    step = "" if path is None or path.is_absolute() else f"; check the path, which starts in {Path.cwd()}"
    return Problem(str(path), f"cannot be read: {wrong.strerror}{step}")


def read_data_file(path: Path, *, last_wins: bool = False) -> Any:
    """What a JSON or YAML file holds; ConfigError with what is wrong with it. PyYAML is imported for YAML alone.

    A key that occurs twice in one table is wrong, but for a JSON file that somebody else keeps: `last_wins`.
    """
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=None if last_wins else once_each)
    except OSError as wrong:
        raise ConfigError([unreadable(path, wrong)]) from None
    except UnicodeDecodeError as wrong:
        raise ConfigError([Problem(str(path), f"is not text in UTF-8: {wrong.reason} at byte {wrong.start}")]) from None
    except (ValueError, RecursionError) as wrong:
        raise ConfigError([Problem(str(path), f"is not JSON: {wrong}")]) from None
    try:
        yaml = import_module("yaml")
    except ImportError:
        raise ConfigError([Problem(str(path), NO_YAML)]) from None
    try:
        return with_text_keys(yaml.load(text, loader_of(yaml)), {})  # nosec B506  # it is the safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as wrong:
        raise ConfigError([Problem(str(path), f"is not YAML: {yaml_fault(wrong)}")]) from None


def once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; ValueError if a key occurs in it twice: the last would win and the others be lost."""
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)[:60]!r} occurs twice in one object")
    return made


def loader_of(yaml: Any) -> Any:
    """PyYAML's safe loader, but for keys that stand twice in one table: they are an error."""

    class OnceEach(yaml.SafeLoader):  # type: ignore[misc]  # a class of a module that is there at run time
        def compose_mapping_node(self, anchor: Any) -> Any:
            """Before << takes keys over from other tables, which the table's own replace."""
            node, seen = super().compose_mapping_node(anchor), set()
            for key, _ in node.value:
                name = (key.tag, str(key.value))
                if name in seen and key.tag != MERGE_TAG:
                    fault = f"the key {name[1][:60]!r} occurs twice in one table"
                    raise yaml.MarkedYAMLError(problem=fault, problem_mark=key.start_mark)
                seen.add(name)
            return node

    return OnceEach


def with_text_keys(value: Any, made: dict[int, Any]) -> Any:
    """Tables with texts for keys, which YAML takes for numbers, dates or truth too; `made` is what was converted, by its id."""
    if not isinstance(value, (dict, list)):
        return value
    if id(value) not in made:
        made[id(value)] = (
            {str(key): with_text_keys(item, made) for key, item in value.items()}
            if isinstance(value, dict)
            else [with_text_keys(item, made) for item in value]
        )
    return made[id(value)]


def yaml_fault(wrong: Exception) -> str:
    """What PyYAML says, and where, without the line itself: it may hold a key."""
    mark = getattr(wrong, "problem_mark", None)
    if mark is None:
        return type(wrong).__name__
    return f"{getattr(wrong, 'problem', None) or 'it cannot be parsed'} at line {mark.line + 1}, column {mark.column + 1}"


def no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def overlay_in(path: Path) -> Overlay:
    """The overlay that a file holds, none when there is no file; ValueError with what is wrong with it, OSError."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_OVERLAY_BYTES + 1)
    except FileNotFoundError:
        return NOTHING
    if len(data) > MAX_OVERLAY_BYTES:
        raise ValueError(f"it is longer than {MAX_OVERLAY_BYTES} bytes")
    try:
        return read_overlay(json.loads(data.decode("utf-8"), parse_constant=no_constant))
    except json.JSONDecodeError as wrong:
        raise ValueError(f"it is not JSON: line {wrong.lineno}: {wrong.msg}") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def holds_secrets(document: Mapping[str, Any]) -> bool:
    """Whether keys stand in a document itself, and not in variables or files that it names."""
    tables = [document.get("server"), *list_in(document, "providers"), *list_in(document, "keys")]
    for table in tables:
        if isinstance(table, Mapping):
            settings = table.get("settings")
            headers = [settings.get("headers") if isinstance(settings, Mapping) else None, table.get("rewrite_header")]
            named = any(SECRET_HEADER.search(name) for each in headers if isinstance(each, Mapping) for name in each)
            if named or any(table.get(name) for name in INLINE):
                return True
    return False


def list_in(document: Mapping[str, Any], name: str) -> list[Any]:
    found = document.get(name)
    return found if isinstance(found, list) else []


def put(path: Path, data: bytes) -> None:
    """The file with these bytes and readable by its owner alone, whole or not at all, also when the power goes."""
    new = path.with_name(f".{path.name}.{token_hex(6)}.tmp")
    number = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | NO_MODES, 0o600)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        with suppress(OSError):
            new.unlink()
        raise
    with suppress(OSError):  # not every system can open a folder
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def from_portable(text: str) -> Config:
    """The Config that `Source.portable` describes; reads no file. ConfigError."""
    found = json.loads(text)

    def read_secret(name: str) -> str:
        path = str(Path(found["folder"]) / Path(name).expanduser())
        if path not in found["secrets"]:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return str(found["secrets"][path])

    return parse(found["document"], env=found["env"], flags=found["flags"], read_secret=read_secret)


@dataclass(slots=True)
class Base:
    """What one load read, without the overlay."""

    document: Mapping[str, Any]
    env: Mapping[str, str]
    secrets: dict[Path, str] = field(default_factory=dict)


class Source:
    """The files and settings of one run, read again at every load."""

    def __init__(
        self, path: str, *, flags: Mapping[str, str], env: Mapping[str, str], document: Mapping[str, Any] | None = None
    ) -> None:  # fmt: skip
        """`path` "" means: the variable, else router.toml here if there is one. `document` replaces the file."""
        chosen = path or env.get(FILE_VARIABLE, "").strip()
        self.path: Path | None = Path(chosen or DEFAULT_FILE)
        if document is not None or (not chosen and not self.path.exists()):
            self.path = None
        beside = self.path.parent / f"{self.path.stem}.overlay.json" if self.path else None
        named = env.get(OVERLAY_VARIABLE, "").strip() if document is None else ""
        self.overlay_path = Path(named) if named else beside  # None: kept until the stop
        self._document, self._flags, self._env = document, flags, env
        self._secrets: set[Path] = set()
        self._stamps: dict[Path, tuple[int, int, int] | None] = {}
        self._base = Base({}, {})
        self._document_read: Mapping[str, Any] = {}  # of the last load, whether it could be used or not
        self.overlay: Overlay = NOTHING
        self.merged: Merged = merge({}, NOTHING)  # the current document
        self.unfit: Mapping[str, str] = {}  # entries of the overlay that are not, and why
        self.fault = ""  # why the overlay cannot be changed now
        self.is_refused = False  # the files could not be used at the last load: what was read before them is in effect
        self._damage = ""  # what is wrong with the overlay's file
        self._is_keeper = False
        self._read_at: tuple[int, int, int] | None = None  # the stamp of the overlay that was read
        self._notes: list[str] = []  # for the next Config
        self.share: Callable[[bytes], None] = lambda data: None  # gives it to other gateways before it is kept; OSError
        self._tried: tuple[Base, Overlay, Merged, Config] | None = None  # the last trial, which `adopt` need not repeat

    @property
    def log_format(self) -> str:
        """What was said of it, also where the rest cannot be used: "json", or "text"."""
        server = self._document_read.get("server")
        said = self._env.get("LLM_ROUTER_LOG_FORMAT", "").strip() or (
            server.get("log_format") if isinstance(server, dict) else ""
        )
        return "json" if said == "json" else "text"

    @property
    def name(self) -> str:
        return str(self.path) if self.path else "the environment"

    def load(self) -> Config:
        self.is_refused = True
        self._notes.clear()  # of a load that failed; what they were about is read again
        self._secrets.clear()
        # Of before they are read: what is written meanwhile, be it the rest of a file, is a change.
        self._stamps = {path: stamp(path) for path in self._files()}
        env = {**self._dotenv(), **self._env}
        self._document_read = self._read(env)
        base = Base(self._document_read, env)
        config = self._take(base, self._read_overlay())
        self.is_refused = False
        return replace(config, notes=(*config.notes, *self._readable_secrets(base)))

    def _readable_secrets(self, base: Base) -> Iterator[str]:
        """What to say of each file that holds keys and that every user of this machine can read."""
        dotenv = self.path.parent / ".env" if self.path else None
        files = [self.path if holds_secrets(base.document) else None, dotenv, *sorted(self._secrets)]
        for path in files if os.name == "posix" and self._document is None else ():
            with suppress(OSError):
                if path is not None and path.stat().st_mode & S_IROTH:
                    yield f"{path} holds keys and can be read by every user of this machine: chmod o-r {path}"

    def portable(self) -> str:
        """All that the current Config is made of, keys and secrets included, for another process of this gateway."""
        folder = str(self.path.parent if self.path else Path())
        secrets = {str(path): text for path, text in self._base.secrets.items()}
        env = dict(self._base.env)
        parts = {"document": self.merged.document, "env": env, "flags": dict(self._flags), "folder": folder, "secrets": secrets}
        return json.dumps(parts, default=str)  # TOML's dates as texts, which settings read as well

    def has_changed(self) -> bool:
        now = {path: stamp(path) for path in self._files()}
        before, self._stamps = self._stamps, now
        return now != before

    def _files(self) -> list[Path]:
        beside = [self.path, self.path.parent / ".env"] if self.path else []
        return [*beside, *([self.overlay_path] if self.overlay_path else []), *sorted(self._secrets)]

    def _dotenv(self) -> dict[str, str]:
        """.env beside the file; without a file none, for the working directory is not trusted."""
        path = self.path.parent / ".env" if self.path else None
        try:
            text = path.read_text("utf-8", "replace") if path and path.exists() else ""
        except OSError as wrong:
            raise ConfigError([unreadable(path, wrong)]) from None
        odd = list(islice(unread_lines(text), MAX_ODD_LINES))
        self._notes += [f"{path}: line {number} is not NAME=value and is ignored" for number in odd]
        return read_dotenv(text)

    def _read(self, env: Mapping[str, str]) -> Mapping[str, Any]:
        if self._document is not None:
            return self._document
        if self.path is None:
            return implied_document(env, local_server=local_server_is_there())
        if self.path.suffix in YAML_SUFFIXES:
            return self._read_yaml(self.path)
        try:
            return tomllib.loads(self.path.read_text("utf-8-sig"))  # editors of Windows put a mark first
        except OSError as wrong:
            raise ConfigError([unreadable(self.path, wrong)]) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as wrong:
            raise ConfigError([Problem(str(self.path), f"is not TOML: {wrong}")]) from None
        except RecursionError:
            raise ConfigError([Problem(str(self.path), "is nested too deeply")]) from None

    def _read_yaml(self, path: Path) -> Mapping[str, Any]:
        """The jq server's file as a document like router.toml's; what differs here, or is lost, waits to be reported."""
        try:
            found = from_jq_server(read_data_file(path))
        except Wrong as wrong:
            raise ConfigError([Problem(str(path), str(wrong))]) from None
        self._notes += [*(f"{path}: not used: {line}" for line in found.lost), *(f"{path}: {line}" for line in found.notes)]
        return found.document

    def _read_secret(self, base: Base, name: str) -> str:
        """The text of a secret's file as this load read it."""
        path = (self.path.parent if self.path else Path()) / Path(name).expanduser()
        self._secrets.add(path)
        if path not in base.secrets:
            self._stamps[path] = stamp(path)
            base.secrets[path] = path.read_text("utf-8-sig")  # a key that is not ASCII is refused later
        return base.secrets[path]

    # -- the overlay's file

    def _read_overlay(self) -> Overlay:
        """The overlay in the file; the current one when the file cannot be read."""
        path = self.overlay_path
        if path is None:
            return self.overlay
        self._read_at, self._damage, self.fault = stamp(path), "", ""
        try:
            found = overlay_in(path)
        except OSError as wrong:
            self.fault = f"{path} cannot be read: {wrong.strerror or wrong}"
            self._notes.append(f"{self.fault}; earlier changes through the API stay in effect")
            return self.overlay
        except ValueError as wrong:
            self._damage = self.fault = f"{path} is damaged: {wrong}"
            self._notes.append(self._put_aside(path) if self._is_keeper else f"{self._damage}; continuing without it")
            return self.overlay
        if found and os.name == "posix" and path.stat().st_mode & 0o077:
            self._notes.append(f"{path} may hold keys and can be read by others: chmod 600 {path}")
        return found

    def _put_aside(self, path: Path) -> str:
        """Moves a damaged overlay aside and writes the current one in its place; returns the log text."""
        when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        aside = path.with_name(f"{path.name}.damaged-{when}")
        if aside.exists():
            aside = aside.with_name(f"{aside.name}-{token_hex(3)}")
        try:
            path.rename(aside)
            if self.overlay:
                self.save(self.overlay)
        except OSError as wrong:
            self.fault = f"{self._damage}; moving it aside failed: {wrong.strerror or wrong}"
            return self.fault
        self.fault, self._read_at = "", stamp(path)
        self._stamps[path] = self._read_at
        kept = "earlier changes through the API stay in effect and were saved again"
        return f"{self._damage}: moved aside to {aside}; {kept if self.overlay else 'continuing without it'}"

    def keep_overlay(self) -> str:
        """Makes this process the owner of the overlay's file: a damaged one is moved aside; returns the log text."""
        self._is_keeper = True
        path = self.overlay_path
        if path is None:
            return ""
        with suppress(OSError):
            for left in path.parent.glob(f".{path.name}.*.tmp"):  # of a process that was killed while it wrote
                left.unlink()
        return self._put_aside(path) if self._damage else ""

    def refresh(self) -> None:
        """Reads an overlay that another process wrote, before it is changed here."""
        if self.overlay_path is not None and stamp(self.overlay_path) != self._read_at:
            self.overlay = self._read_overlay()

    def save(self, overlay: Overlay) -> None:
        if self.overlay_path is None:
            return
        data = json.dumps(overlay_json(overlay), indent=1, allow_nan=False).encode() + b"\n"
        self.share(data)
        put(self.overlay_path, data)
        self._read_at = self._stamps[self.overlay_path] = stamp(self.overlay_path)

    # -- what it gives

    def _parse(self, base: Base, merged: Merged) -> Config:
        def read_secret(name: str) -> str:
            return self._read_secret(base, name)

        try:
            config = parse(merged.document, env=base.env, flags=self._flags, read_secret=read_secret)
        except ConfigError as error:
            raise ConfigError(merged.problems(error)) from None
        return replace(config, notes=(*config.notes, *merged.notes), sources=(*config.sources, *merged.sources))

    def _take(self, base: Base, overlay: Overlay) -> Config:
        """Applies both and returns their Config. Entries that do not fit the file are left out and logged."""
        merged = merge(base.document, overlay)
        unfit = dict.fromkeys(merged.unfit, LACKING)
        try:
            config = self._parse(base, merged)
        except ConfigError as error:
            fitting, reasons = self._fitting(base, overlay, error)
            merged = merge(base.document, fitting)
            config = self._parse(base, merged)
            unfit |= reasons
            self._notes += [f"{name} was changed through the API, which no longer fits the file: {why}"
                            for name, why in reasons.items()]  # fmt: skip
        self._base, self.overlay, self.merged, self.unfit = base, overlay, merged, unfit
        return self._with_notes(config)

    def _with_notes(self, config: Config) -> Config:
        """The Config with the pending notes."""
        notes, self._notes = tuple(self._notes), []
        return replace(config, notes=(*config.notes, *notes))

    def _fitting(self, base: Base, overlay: Overlay, error: ConfigError) -> tuple[Overlay, dict[str, str]]:
        """The part of the overlay that gives a valid Config, and why the rest does not; `error` when the file is invalid."""
        reasons: dict[str, str] = {}
        try:
            self._parse(base, merge(base.document, NOTHING))
        except ConfigError:
            raise error from None
        names = sorted(overlay, key=lambda name: "/" in name)  # models after their providers

        def widest(have: Overlay, more: list[str]) -> Overlay:
            wanted = {**have, **{name: overlay[name] for name in more}}
            try:
                self._parse(base, merge(base.document, wanted))
                return wanted
            except ConfigError as wrong:
                if len(more) == 1:
                    reasons[more[0]] = "; ".join(map(str, wrong.problems[:3]))
                    return have
            half = len(more) // 2
            return widest(widest(have, more[:half]), more[half:])

        return widest(NOTHING, names), reasons

    def trial(self, overlay: Overlay, names: set[str]) -> Config:
        """The Config with an overlay whose entries `names` are new; ConfigError with every problem."""
        waiting = set(self.unfit) - names
        merged = merge(self._base.document, without(overlay, waiting))
        config = self._parse(self._base, merged)
        self._tried = None if waiting else (self._base, overlay, merged, config)
        return config

    def file_only(self) -> Config | None:
        """The Config of the file alone; None when it needs the overlay."""
        try:
            return self._parse(self._base, merge(self._base.document, NOTHING))
        except ConfigError:
            return None

    def adopt(self, overlay: Overlay) -> Config:
        """Applies an overlay that was saved and returns its Config."""
        tried, self._tried = self._tried, None
        if tried is None or tried[0] is not self._base or tried[1] is not overlay:
            return self._take(self._base, overlay)
        self.overlay, self.merged, self.unfit = overlay, tried[2], dict.fromkeys(tried[2].unfit, LACKING)
        return self._with_notes(tried[3])

    def names_in_file(self) -> set[str]:
        return set(merge(self._base.document, NOTHING).tables)
