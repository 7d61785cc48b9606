"""Listening sockets that a thread of a test waits on."""

from __future__ import annotations

import contextlib
import socket


def stop_listening(listener: socket.socket) -> None:
    """Closes a listening socket and ends the accept() that a thread waits in.

    close() alone leaves that accept() waiting on Linux, with the number of a descriptor reserved for the connection that never
    comes. /proc/self/fd does not show it; after a thousand of them select() refuses whatever is opened next.
    """
    with contextlib.suppress(OSError):  # macOS: not connected; there close() is enough
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
