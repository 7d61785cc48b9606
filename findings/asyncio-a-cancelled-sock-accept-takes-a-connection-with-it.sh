#!/usr/bin/env bash
# asyncio: a cancelled loop.sock_accept() can take a connection from the queue and hand it to nobody.
#
# Expected: a cancelled call has done nothing: the connection stays in the queue of the listening socket, for the next accept of
#   this process or, where several processes accept from one inherited socket, of another.
# Happens: when the socket becomes readable in the turn of the loop in which the task is cancelled, the reader's callback accepts
#   first and finds its future cancelled afterwards. The accepted socket is referenced by nothing that will ever answer it;
#   InvalidStateError goes to the exception handler of the loop. The caller is connected, and waits until its own timeout.
# Seen with: CPython 3.11.7, 3.12.1, 3.13.0, Linux, 2026-11-29; asyncio/selector_events.py, _sock_accept.
# Around it: wait for readability with add_reader, and accept in one's own task after the wait.
# Exits 1 when that changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/dropped.py" <<'PYTHON'
import asyncio, platform, socket, sys

def is_still_queued(listening):
    try:
        listening.accept()[0].close()
    except BlockingIOError:
        return False
    return True

async def main():
    loop, heard = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: heard.append(repr(context.get("exception"))))
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    accepting = asyncio.create_task(loop.sock_accept(listening))
    await asyncio.sleep(0)  # now the loop watches the socket
    caller = socket.create_connection(listening.getsockname())  # readable from here on
    loop.call_soon(accepting.cancel)
    [outcome] = await asyncio.gather(accepting, return_exceptions=True)
    await asyncio.sleep(0.05)
    queued = is_still_queued(listening)
    caller.settimeout(1)
    try:
        answered = repr(caller.recv(1))
    except OSError as wrong:
        answered = type(wrong).__name__
    print(f"CPython {platform.python_version()}: sock_accept() ended with {outcome!r}; still in the queue: {queued};",
          f"the caller got {answered}; the loop heard {heard}")
    return isinstance(outcome, asyncio.CancelledError) and not queued

sys.exit(0 if asyncio.run(main()) else 1)
PYTHON
seen=0
for python in python3.11 python3.12 python3.13 python3; do
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
  "$python" "$folder/dropped.py" || exit 1
  seen=1
done
[ "$seen" = 1 ] || { echo "no CPython 3.11 or newer is here"; exit 1; }
