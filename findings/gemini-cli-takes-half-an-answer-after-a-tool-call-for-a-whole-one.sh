#!/usr/bin/env bash
# Gemini CLI takes half an answer for a whole one where the turn before was a tool's result.
#
# Expected: a stream that ends without `finishReason` was cut, so the turn is asked for again, or the run fails. That is what
#   the CLI does with the same cut in the first turn: NO_FINISH_REASON, three more attempts.
# Happens: after a tool's result the check is left out (geminiChat.js, `isOriginalFunctionResponse`): what came so far is
#   printed as the answer, and the exit code is 0. Nothing on stderr tells that half is missing. An error event in the stream
#   (`data: {"error": ...}`) is passed over in the same way, since the SDK below reads it as a chunk without candidates.
# Seen with: @google/gemini-cli 0.61.0, Node.js 22.23.3, 2026-11-28; the source is in the package's bundle.
# Exits 1 when that changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
cd "$folder"
npm install --no-audit --no-fund --loglevel=error @google/gemini-cli@0.61.0 node@22.23.3 >/dev/null
mkdir -p home/.gemini project
echo "The password of the day is plum." >project/notes.txt
cat >home/.gemini/settings.json <<'JSON'
{"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": false},
 "telemetry": {"enabled": false}, "general": {"enableAutoUpdate": false, "enableAutoUpdateNotification": false}}
JSON

# A server that calls a tool, and then breaks its answer off: an HTTP body with a proper end, and no finishReason in it.
cat >server.py <<'PYTHON'
import http.server, json, sys
asked = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        parts = [part for content in body["contents"] for part in content["parts"]]
        result = any("functionResponse" in part for part in parts)
        call = {"functionCall": {"name": "read_file", "args": {"file_path": sys.argv[1]}}}
        candidate = {"content": {"role": "model", "parts": [{"text": "The password is"} if result else call]}, "index": 0}
        if not result:
            candidate["finishReason"] = "STOP"
        asked.append(result)
        print("request", len(asked), "after a tool's result" if result else "first turn", file=sys.stderr, flush=True)
        data = b"data: " + json.dumps({"candidates": [candidate]}).encode() + b"\r\n\r\n"
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
PYTHON
python3 server.py "$folder/project/notes.txt" >port 2>requests &
server=$!
until [ -s port ]; do sleep 0.1; done

code=0
(cd project && PATH="$folder/node_modules/.bin:$PATH" HOME="$folder/home" GEMINI_API_KEY=none NO_COLOR=1 \
  GOOGLE_GEMINI_BASE_URL="http://127.0.0.1:$(cat ../port)" HTTPS_PROXY=http://127.0.0.1:9 NO_PROXY=127.0.0.1 \
  timeout 120 ../node_modules/.bin/gemini --yolo --skip-trust --model a-model -p "What is the password in notes.txt?") \
  >out 2>err </dev/null || code=$?
echo "@google/gemini-cli $(node_modules/.bin/node -p 'require("./node_modules/@google/gemini-cli/package.json").version')"
echo "exit code $code, printed: $(cat out)"
cat requests
after=$(grep -c "after a tool's result" requests || true)
if [ "$code" = 0 ] && grep -q "The password is" out && [ "$after" = 1 ]; then
  echo "as found: half an answer, exit code 0, not asked for again"
else
  echo "changed: $after requests after the tool's result"
  exit 1
fi
