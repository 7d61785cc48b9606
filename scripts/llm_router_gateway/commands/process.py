"""What every serving process does with the system: signals, the limit of open files, ids, sockets that it was started with."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from pathlib import Path

from ..cluster.silence import Doing

FIRST_INHERITED = 3  # the first descriptor that systemd passes; sd_listen_fds(3)


def new_id() -> str:
    """An x-request-id for callers that send none."""
    return os.urandom(8).hex()


def raise_file_limit() -> None:
    """As many open files as this user may have: every caller and every upstream is one."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def on_signals(loop: asyncio.AbstractEventLoop, actions: dict[str, Callable[[], None]]) -> None:
    """Calls each action in the loop when its signal comes; signals that a system lacks are left out."""
    for name, action in actions.items():
        number = getattr(signal, name, None)
        if number is None:
            continue
        try:
            loop.add_signal_handler(number, action)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_, action=action: loop.call_soon_threadsafe(action))


def doing_of(pid: int) -> Doing | None:
    """What Linux says of a process: Doing("S", 1.25); None elsewhere, and of one that is gone. proc_pid_stat(5)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
        return Doing(fields[0], (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return None


def inherited_sockets(env: MutableMapping[str, str], pid: int) -> list[socket.socket]:
    """The listening sockets that this process was started with (socket activation); [] without any.

    They are announced by LISTEN_PID and LISTEN_FDS, which are removed: they are meant for this process alone. ValueError where
    one of them is not a listening stream socket. sd_listen_fds(3).
    """
    for_pid, number = env.pop("LISTEN_PID", ""), env.pop("LISTEN_FDS", "")
    env.pop("LISTEN_FDNAMES", None)
    if for_pid != str(pid) or not number.isdigit():
        return []
    found = []
    for descriptor in range(FIRST_INHERITED, FIRST_INHERITED + int(number)):
        os.set_inheritable(descriptor, False)
        sock = socket.socket(fileno=descriptor)
        if sock.type != socket.SOCK_STREAM or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.close()
            raise ValueError(f"descriptor {descriptor} is not a listening stream socket: set ListenStream= in the socket unit")
        sock.setblocking(False)
        found.append(sock)
    return found


def notify(state: str) -> None:
    """Tells the supervisor that started this process what has become of it: notify("READY=1"). sd_notify(3).

    Nothing happens without NOTIFY_SOCKET, or if the manager cannot be reached.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)


class Watchdog:
    """Shows systemd, where it watches this process, that the event loop goes on. sd_watchdog_enabled(3).

    WATCHDOG_USEC and WATCHDOG_PID are removed: they are meant for this process alone.
    """

    def __init__(self, env: MutableMapping[str, str], pid: int, clock: Callable[[], float]) -> None:
        limit, for_pid = env.pop("WATCHDOG_USEC", ""), env.pop("WATCHDOG_PID", "")
        is_watched = limit.isdigit() and int(limit) > 0 and for_pid in ("", str(pid))
        self.every_s = int(limit) / 2_000_000 if is_watched else math.inf
        self._clock, self._at = clock, clock()

    def beat(self) -> None:
        """Often; it says something when half of the limit is over."""
        if self._clock() - self._at >= self.every_s:
            self._at = self._clock()
            notify("WATCHDOG=1")
