#!/usr/bin/env bash
# Python on Linux: a thread that waits in accept() holds the number of a descriptor that /proc/self/fd does not list. After a
# thousand of them select.select() refuses the next sockets of a process that has some ten descriptors open.
#
# Expected: accept() takes a descriptor when a connection comes, and socket.close() of the listening socket ends an accept() that
#   another thread waits in. A server that a test started and closed leaves nothing behind; os.listdir("/proc/self/fd") counts
#   what counts for select() and RLIMIT_NOFILE.
# Happens: accept4(2) reserves the number of its descriptor before it waits, and close() neither wakes it nor gives the number
#   back. Each server of that kind costs one number for good, seen by no list of open files; the next socket gets a number above
#   FD_SETSIZE: "filedescriptor out of range in select()". shutdown(SHUT_RDWR) before close() ends the accept().
# Seen with: CPython 3.11.7 and 3.13.0, Linux 6.18, 2026-11-29; net/socket.c, __sys_accept4_file.
# Exits 1 when that changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/accepts.py" <<'PYTHON'
import os, platform, resource, select, socket, sys, threading, time

def wait_in(listener):
    try:
        listener.accept()
    except OSError:
        pass

def serve_and_close(end):
    listener = socket.create_server(("127.0.0.1", 0))
    waiting = threading.Thread(target=wait_in, args=(listener,), daemon=True)
    waiting.start()
    while not in_accept(waiting.native_id):
        time.sleep(0.001)
    end(listener)
    return waiting

def in_accept(thread):  # /proc/.../syscall begins with the number of the call: 43 accept, 288 accept4 (x86-64), 202, 242 (arm64)
    try:
        return open(f"/proc/self/task/{thread}/syscall").read().split()[0] in ("43", "288", "202", "242")
    except (OSError, IndexError):
        return False

def shut(listener):
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()

def try_select():
    with socket.socket(), socket.socket() as sock:  # the first takes the number of the last listening socket
        listed = len(os.listdir("/proc/self/fd"))
        try:
            select.select([sock], [], [], 0)
            return f"socket number {sock.fileno()} with {listed} descriptors listed: taken", True
        except ValueError as refusal:
            return f"socket number {sock.fileno()} with {listed} descriptors listed: {refusal}", False

soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
print(f"CPython {platform.python_version()}, Linux {platform.release()}")
ended = [serve_and_close(shut) for _ in range(1100)]
for thread in ended:
    thread.join(10)
text, after_shutdown = try_select()
print("1,100 servers ended by shutdown() and close():", text)
left = [serve_and_close(socket.socket.close) for _ in range(1100)]
text, after_close = try_select()
print(f"1,100 servers ended by close() alone, {sum(map(threading.Thread.is_alive, left))} of them still in accept():", text)
sys.stdout.flush()
os._exit(0 if after_shutdown and not after_close else 1)
PYTHON
seen=0
for python in python3.11 python3.13 python3; do
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null || continue
  "$python" "$folder/accepts.py" || exit 1
  seen=1
done
[ "$seen" = 1 ] || { echo "no CPython 3.9 or newer is here"; exit 1; }
