"""Keys that a command prints (`api_key_command`): run when first needed, again before they expire, and after a refusal.

    keys = KeyCommands(clock=..., wall=..., warn=log.warn)
    candidate = await keys.with_key(candidate)          with the key in its provider; unchanged where that has no command
    candidate = await keys.with_other_key(candidate)    after the upstream refused that key; None where there is no other

One run serves all requests that wait. A key that is about to expire is renewed in the background, and goes on until then.
A command that fails is not run again at once, so that a thousand requests do not start a thousand programs. Each worker process
runs its own. Nothing that a command printed, on either stream, gets into an error or the log.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from ..config.key_command import KeyCommand, PrintedKey, printed_key
from ..config.kinds import Secret
from ..errors import Unavailable
from ..routing.resolve import Candidate

MAX_OUTPUT_BYTES = 65_536  # a token takes a few thousand at most
MARGIN_S, MARGIN_PART = 300.0, 0.1  # before its end a key is renewed: this long, but no more than this part of its life
RETRY_S, MAX_RETRY_S = 2.0, 60.0  # after a failure; doubled with each one
SAME_KEY_S = 30.0  # after a refusal for which the command had no other key
GROUPS = hasattr(os, "killpg")  # not on Windows, where only the process itself is ended
KILL_S = 1.0  # for a process to be gone after it was killed
BY_HAND = "run it by hand, as the user that the gateway runs as, to see why"


class CommandFailed(Exception):
    """Why there is no key. The text names the program, and nothing that it printed."""


@dataclass(slots=True)
class Held:
    """What one command printed last. Times are of the process's clock."""

    provider: str  # the first that needed it, for the log
    key: Secret | None = None
    renew_at: float = 0.0
    expires_at: float = 0.0
    running: asyncio.Task[None] | None = None
    failure: str = ""
    failures: int = 0  # in a row
    again_at: float = 0.0  # when a command that failed is run again
    kept_until: float = 0.0  # a refused key is not renewed before: the command has no other


class KeyCommands:
    """The keys of all commands of a configuration."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, wall: Callable[[], float] = time.time,
        warn: Callable[[str], None] = lambda text: None, run: Callable[[KeyCommand], Awaitable[bytes]] | None = None,
    ) -> None:  # fmt: skip
        self._clock, self._wall, self._warn, self._run = clock, wall, warn, run or run_command
        self._held: dict[KeyCommand, Held] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def forget(self) -> None:
        """The configuration was reloaded: every command runs again when it is next needed."""
        self._held = {}

    async def close(self) -> None:
        """Ends the commands that still run."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def with_key(self, candidate: Candidate) -> Candidate:
        """The candidate with the key that its provider's command printed; Unavailable where it printed none."""
        command = candidate.provider.key_command
        if command is None:
            return candidate
        held = self._held.setdefault(command, Held(candidate.provider.name))
        now = self._clock()
        if held.key is None or now >= held.expires_at:
            if now >= held.again_at:
                await self._renewal(command, held)
            if held.key is None or self._clock() >= held.expires_at:
                raise self._no_key(candidate, held)
        elif now >= max(held.renew_at, held.again_at):
            self._renewal(command, held)
        return candidate_with_key(candidate, held.key)

    async def with_other_key(self, candidate: Candidate) -> Candidate | None:
        """After a refusal: the candidate with a key that is not the refused one. The command is run again for it."""
        command = candidate.provider.key_command
        if command is None or not candidate.provider.keys:
            return None
        refused, held = candidate.provider.keys[0], self._held.setdefault(command, Held(candidate.provider.name))
        if held.key == refused:  # else another request has renewed it since
            now = self._clock()
            if now < max(held.kept_until, held.again_at):
                return None
            await self._renewal(command, held)
            if held.key == refused:
                held.kept_until = self._clock() + SAME_KEY_S
        return None if held.key is None or held.key == refused else candidate_with_key(candidate, held.key)

    def _no_key(self, candidate: Candidate, held: Held) -> Unavailable:
        wait_s = max(0.0, held.again_at - self._clock())
        text = f"{candidate.provider.name}: api_key_command: {held.failure}"
        return Unavailable(text, code="no_key", retry_after_s=wait_s or None)

    # -- runs

    def _renewal(self, command: KeyCommand, held: Held) -> asyncio.Future[None]:
        """The run in progress, or a new one. A caller that stops waiting does not end it."""
        if held.running is None:
            held.running = task = asyncio.create_task(self._renew(command, held))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return asyncio.shield(held.running)

    async def _renew(self, command: KeyCommand, held: Held) -> None:
        try:
            data = await self._run(command)
            try:
                found = printed_key(data, self._wall())
            except ValueError as wrong:
                raise CommandFailed(f"{command.program} {wrong}") from None
            self._keep(command, held, found)
        except CommandFailed as failed:
            held.failure, held.failures = str(failed), held.failures + 1
            held.again_at = self._clock() + min(MAX_RETRY_S, RETRY_S * 2 ** min(held.failures - 1, 10))
            self._warn(f"{held.provider}: api_key_command: {failed}")
        finally:
            held.running = None

    def _keep(self, command: KeyCommand, held: Held, found: PrintedKey) -> None:
        now, lifetime_s = self._clock(), command.ttl_s if found.lifetime_s is None else found.lifetime_s
        held.key = Secret(found.key)
        held.expires_at = now + lifetime_s
        held.renew_at = held.expires_at - min(MARGIN_S, lifetime_s * MARGIN_PART)
        held.failure, held.failures, held.again_at = "", 0, 0.0


def candidate_with_key(candidate: Candidate, key: Secret) -> Candidate:
    return replace(candidate, provider=candidate.provider.with_key(key))


async def run_command(command: KeyCommand) -> bytes:
    """What the command printed; CommandFailed. Its group of processes ends with it: gcloud is a script that starts Python."""
    program, starting = command.program, asyncio.ensure_future(start(command))
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:  # in the middle of a start only its first process would be ended
        with suppress(CommandFailed):
            await end(await starting)
        raise
    try:
        async with asyncio.timeout(command.timeout_s):
            data = await read_output(process, program)
            status = await process.wait()
    except TimeoutError:
        raise CommandFailed(
            f"{program} did not end within {command.timeout_s:g} s: {BY_HAND}, or raise api_key_command_timeout_s"
        ) from None
    finally:
        await end(process)
    if status != 0:
        way = f"was ended by signal {-status}" if status < 0 else f"failed with exit code {status}"
        raise CommandFailed(f"{program} {way}: {BY_HAND}")
    return data


def find_program(program: str) -> str:
    """Where a program is: on Windows `gcloud` and `az` are gcloud.cmd and az.cmd, which a start by name does not find."""
    program = os.path.expanduser(program)
    return shutil.which(program) or program


async def start(command: KeyCommand) -> Process:
    program = command.program
    try:
        return await asyncio.create_subprocess_exec(
            find_program(command.argv[0]), *command.argv[1:], stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL,
            start_new_session=GROUPS,
        )  # fmt: skip
    except FileNotFoundError:
        raise CommandFailed(f"{program} was not found: write its whole path, or put its folder on the gateway's PATH") from None
    except PermissionError:
        raise CommandFailed(f"{program} may not be executed by the user that the gateway runs as") from None
    except (OSError, ValueError) as wrong:
        reason = (wrong.strerror if isinstance(wrong, OSError) else None) or type(wrong).__name__
        raise CommandFailed(f"{program} cannot be started: {reason}") from None


async def read_output(process: Process, program: str) -> bytes:
    if process.stdout is None:
        raise RuntimeError("the process was started without a pipe")
    data = b""
    while piece := await process.stdout.read(MAX_OUTPUT_BYTES):
        data += piece
        if len(data) > MAX_OUTPUT_BYTES:
            raise CommandFailed(f"{program} printed more than {MAX_OUTPUT_BYTES} bytes, too many for a key")
    return data


async def end(process: Process) -> None:
    """Kills what is left of a command: itself, and what it started."""
    with suppress(ProcessLookupError, PermissionError):
        if GROUPS:
            os.killpg(process.pid, signal.SIGKILL)
        elif process.returncode is None:
            process.kill()
    with suppress(TimeoutError):
        async with asyncio.timeout(KILL_S):
            await process.wait()
