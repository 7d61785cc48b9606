"""200 chats in a row over TLS on loopback from one process: CPU, wall time and the number of TCP connections.

The figures with a limit are of the 200 calls alone: imports, construction and one call before them are over, for that call
connects and may import more. Those of the whole process follow. The server is the mock server, in this process; every side
starts anew in each round and its connections are counted.
"""

from __future__ import annotations

import json
import sys
import time

from measure import SCRIPTS, Bench, Failed, Row, cpu_s, median, ms, report, wall_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

CHATS = 200
ROUNDS = 7
LIMIT = 0.5
LOOP = f"""
ask("Hello")
cpu, wall = time.process_time(), time.perf_counter()
for number in range({CHATS}):
    assert str(number) in ask("Question " + str(number))
print(json.dumps([time.process_time() - cpu, time.perf_counter() - wall]))
"""
START = """
import json, os, sys, time
url, key, ca_file = sys.argv[1], os.environ["LLM_ROUTER_API_KEY"], os.environ["SSL_CERT_FILE"]
"""
OURS = """
from llm_router_client import LLMRouterClient
client = LLMRouterClient(base_url=url)
def ask(text):
    return client.chat("demo", [{"role": "user", "content": text}])["choices"][0]["message"]["content"]
"""
OPENAI = """
from openai import OpenAI
client = OpenAI(base_url=url, api_key=key)
def ask(text):
    return client.chat.completions.create(model="demo", messages=[{"role": "user", "content": text}]).choices[0].message.content
"""
REQUESTS = """
import requests
session = requests.Session()
session.verify, session.headers["Authorization"] = ca_file, "Bearer " + key
def ask(text):
    body = {"model": "demo", "messages": [{"role": "user", "content": text}]}
    return session.post(url + "/chat/completions", json=body, timeout=60).json()["choices"][0]["message"]["content"]
"""
BARE = """
import http.client, ssl
host = url.split("/")[2]
connection = http.client.HTTPSConnection(host, context=ssl.create_default_context(cafile=ca_file), timeout=60)
head = {"Authorization": "Bearer " + key, "Content-Type": "application/json"}
def ask(text):
    body = json.dumps({"model": "demo", "messages": [{"role": "user", "content": text}]})
    connection.request("POST", "/v1/chat/completions", body, head)
    return json.loads(connection.getresponse().read())["choices"][0]["message"]["content"]
"""
SDK = "openai SDK"
SIDES = {"ours": OURS, SDK: OPENAI, "requests": REQUESTS, "bare http.client": BARE}


def one_round(bench: Bench, tls: tuple[str, str], found: Dict[str, List[Any]]) -> None:
    """Every side once: found[side] gets (run, CPU s of the calls, wall s of the calls, TCP connections)."""
    from llm_router_demo import DemoServer

    with DemoServer(tls=tls, record=False) as demo:
        for name, code in SIDES.items():
            before = demo.connections
            run = bench.run([bench.python, "-c", START + code + LOOP, demo.base_url])
            time.sleep(0.05)  # the threads of its connections end outside of the next side's time
            found[name].append((run, *json.loads(run.out), demo.connections - before))


def rows_of(found: Dict[str, List[Any]]) -> List[Row]:
    """The table: the calls alone beside every peer, the whole process beside the SDK, the connections."""

    def row(what: str, peer: str, ours_s: float, peer_s: float) -> Row:
        judged = (f"<= {LIMIT} x", ours_s / peer_s <= LIMIT) if peer == SDK else ("", None)
        return Row(f"{what}; peer {peer}", ms(ours_s), ms(peer_s), ours_s / peer_s, *judged)

    rows = []
    for peer in list(SIDES)[1:]:
        for what, of in (("CPU", 1), ("wall", 2)):
            seconds = (median(each[of] for each in found[side]) for side in ("ours", peer))
            rows.append(row(f"{CHATS} chats over TLS, {what}", peer, *seconds))
    for what, of_runs in (("CPU", cpu_s), ("wall", wall_s)):
        seconds = (of_runs(each[0] for each in found[side]) for side in ("ours", SDK))
        rows.append(row(f"the same, whole process, {what}", SDK, *seconds))
    ours, peers = ({each[3] for each in found[side]} for side in ("ours", SDK))
    if not min(ours | peers):
        raise Failed("connections were not counted")
    return [*rows, Row(f"{CHATS} chats, TCP connections; peer {SDK}", str(max(ours)), str(max(peers)), None, "1", ours == {1})]


def main() -> int:
    """Measure in rounds, print."""
    sys.path.insert(0, str(SCRIPTS))
    found: Dict[str, List[Any]] = {name: [] for name in SIDES}
    with Bench() as bench:
        tls = bench.certificate()
        for number in range(ROUNDS + 1):
            one_round(bench, tls, found)
            if not number:  # it filled the caches of bytecode
                found = {name: [] for name in SIDES}
    return report(rows_of(found))


if __name__ == "__main__":
    sys.exit(main())
