#!/usr/bin/env bash
# agent-framework's stream over OpenAI's Responses holds every answer twice.
#
# Expected: `async for update in agent.run(..., stream=True): print(update.text, end="")`, the loop of its guide, prints the
#   answer once, as it does with the framework's chat completion client.
# Happens: `response.output_text.done`, which the API sends behind the deltas of each text, becomes one more update whose
#   text is the whole answer. It is marked merge_mode="replace", which the framework's own merging heeds; the `text` of an
#   update does not show it, so whoever prints or forwards updates has the answer twice. The whole result is right.
# Seen with: agent-framework-openai 1.17.0, agent-framework-core 1.23.0, 2026-11-28;
#   agent_framework_openai/_chat_client.py, `case "response.output_text.done"`. The events are those of the API's reference.
# Exits 1 when that changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for each in python3.13 python3.12 python3.11 python3.10 python3; do
  "$each" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && python=$each && break
done
"$python" -m venv env
env/bin/pip install -q --disable-pip-version-check agent-framework-openai==1.17.0 agent-framework-core==1.23.0
cat >twice.py <<'PYTHON'
import asyncio, http.server, importlib.metadata, json, sys, threading

def events():
    """The stream of one short answer, event by event as the API's reference has it."""
    part = {"type": "output_text", "annotations": [], "logprobs": []}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {"id": "msg_1", "type": "message", "role": "assistant"}
    done = {**item, "status": "completed", "content": [{**part, "text": "Hello there"}]}
    usage = {"input_tokens": 1, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 2,
             "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 3}
    response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": [], "tools": [],
                "parallel_tool_calls": True, "tool_choice": "auto", "status": "in_progress"}
    yield {"type": "response.created", "response": response}
    yield {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress", "content": []}}
    yield {"type": "response.content_part.added", **at, "part": {**part, "text": ""}}
    for delta in ("Hello ", "there"):
        yield {"type": "response.output_text.delta", **at, "delta": delta, "logprobs": []}
    yield {"type": "response.output_text.done", **at, "text": "Hello there", "logprobs": []}
    yield {"type": "response.content_part.done", **at, "part": {**part, "text": "Hello there"}}
    yield {"type": "response.output_item.done", "output_index": 0, "item": done}
    yield {"type": "response.completed", "response": {**response, "status": "completed", "output": [done], "usage": usage}}

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        lines = [f"event: {each['type']}\ndata: {json.dumps({**each, 'sequence_number': n})}\n\n" for n, each in enumerate(events())]
        data = "".join(lines).encode()
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()

async def main():
    from agent_framework import Agent
    from agent_framework.openai import OpenAIChatClient
    client = OpenAIChatClient(model="m", api_key="none", base_url=f"http://127.0.0.1:{server.server_address[1]}/v1")
    stream = Agent(client=client).run("Hi", stream=True)
    texts = [update.text async for update in stream if update.text]
    return texts, (await stream.get_final_response()).text

texts, whole = asyncio.run(main())
for name in ("agent-framework-openai", "agent-framework-core"):
    print(name, importlib.metadata.version(name))
print("updates:", texts)
print("whole result:", repr(whole))
sys.exit(not ("".join(texts) == "Hello thereHello there" and whole == "Hello there"))
PYTHON
if env/bin/python twice.py; then
  echo "as found: the updates hold the answer twice, the whole result once"
else
  echo "changed"
  exit 1
fi
