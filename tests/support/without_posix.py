"""A Python as a system without POSIX has it: modules, signals, flags and functions that Windows lacks are gone.

    python -c "import without_posix; without_posix.strip(); ..."

Only what programs ask for by name is taken away; file systems, paths and the event loop stay those of this machine. The
standard library is imported first, as it finds its own way around what is missing on each system.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
from asyncio.base_subprocess import BaseSubprocessTransport
from types import ModuleType
from typing import Any, Dict

LIBRARY = (
    "argparse", "asyncio.subprocess", "concurrent.futures", "ctypes", "http.client", "http.server", "logging",
    "multiprocessing", "sqlite3", "ssl", "subprocess", "tempfile", "threading", "unittest.mock", "urllib.request",
    "uuid", "zipfile",
)  # fmt: skip
MODULES = ("fcntl", "grp", "posix", "pwd", "readline", "resource", "syslog", "termios", "tty")
GONE: Dict[Any, str] = {
    os: "chown fchmod fchown fork forkpty getegid geteuid getgid getgroups getloadavg getpgid getpriority getsid getuid killpg "
    "lchown mkfifo nice pread pwrite sched_getaffinity setgid setpgid setsid setuid statvfs sync uname wait wait3 wait4 "
    "O_CLOEXEC O_DIRECTORY O_NOCTTY O_NOFOLLOW O_NONBLOCK O_SYNC WNOHANG",
    signal: "SIGALRM SIGCHLD SIGCONT SIGHUP SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGUSR1 SIGUSR2 SIGWINCH alarm "
    "pthread_sigmask setitimer siginterrupt sigwait",
    socket: "AF_UNIX SO_REUSEPORT CMSG_LEN SCM_RIGHTS send_fds recv_fds",
    select: "poll epoll kqueue",
}


def refuse(*_: object, **__: object) -> None:
    raise NotImplementedError


def locks() -> ModuleType:
    """What Windows has in the place of fcntl."""
    import fcntl

    def locking(descriptor: int, mode: int, size: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PermissionError(13, "Permission denied") from None

    made = ModuleType("msvcrt")
    vars(made).update(LK_NBLCK=2, locking=locking)
    return made


def strip() -> None:
    """Takes it away, in this process, for good."""
    for name in LIBRARY:
        importlib.import_module(name)
    sys.modules["msvcrt"] = locks()
    for name in MODULES:
        sys.modules[name] = None  # type: ignore[assignment]  # an import of it fails
    pair, unix = socket.socketpair, socket.AF_UNIX
    socket.socketpair = lambda *_: pair(unix)  # type: ignore[assignment]  # its loop needs one, as on every system
    number = signal.SIGKILL
    subprocess.Popen.kill = lambda self: os.kill(self.pid, number)  # type: ignore[method-assign]  # no signal there
    BaseSubprocessTransport.kill = lambda self: self.send_signal(number)  # type: ignore[method-assign]  # nor since 3.13
    vars(os)["process_cpu_count"] = os.cpu_count  # which looks for sched_getaffinity (since 3.13)
    for module, names in GONE.items():
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)
    for loop in (asyncio.SelectorEventLoop, asyncio.BaseEventLoop):
        loop.add_signal_handler = refuse  # type: ignore[method-assign,assignment]
