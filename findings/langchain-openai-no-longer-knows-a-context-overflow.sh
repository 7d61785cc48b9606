#!/usr/bin/env bash
# langchain-openai no longer raises its ContextOverflowError once the openai SDK is a newer one that it admits.
#
# Expected: a 400 of OpenAI's with the code context_length_exceeded is raised as a ContextOverflowError (that is what the class
#   is for: agents trim their history on it), whatever release of the openai SDK the package's own requirement lets in.
# Happens: langchain-openai looks for "context_length_exceeded" in str(error). Releases of the SDK up to 2.x put the whole body
#   into that text; 3.57 puts only the body's message, which does not name the code ("This model's maximum context length is
#   8192 tokens."). The code still is in error.code. So the same answer is an OpenAIInvalidRequestError with the newer SDK.
# Seen with: langchain-openai 1.7.4 with openai 3.57.0 and with openai 2.54.0, 2026-11-28;
#   langchain_openai/chat_models/base.py, `_handle_openai_bad_request`.
# Exits 1 when that changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for each in python3.13 python3.12 python3.11 python3.10 python3; do
  "$each" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && python=$each && break
done
cat >overflow.py <<'PYTHON'
import http.server, importlib.metadata, json, threading

BODY = {"error": {"message": "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens. "
                             "Please reduce the length of the messages.",
                  "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        data = json.dumps(BODY).encode()
        self.send_response(400)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_):
        pass

server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
from langchain_core.exceptions import ContextOverflowError
from langchain_openai import ChatOpenAI

try:
    ChatOpenAI(model="m", api_key="none", base_url=f"http://127.0.0.1:{server.server_address[1]}/v1").invoke("Hi")  # pragma: allowlist secret
except Exception as error:
    versions = {name: importlib.metadata.version(name) for name in ("langchain-openai", "openai")}
    print(versions, type(error).__name__, "code:", error.code, "text:", str(error)[:60])
    print("overflow" if isinstance(error, ContextOverflowError) else "no overflow")
PYTHON
for sdk in 2.54.0 3.57.0; do
  "$python" -m venv "env-$sdk"
  "env-$sdk/bin/pip" install -q --disable-pip-version-check langchain-openai==1.7.4 "openai==$sdk"
  "env-$sdk/bin/python" overflow.py | tee "said-$sdk"
done
if [ "$(tail -n 1 said-2.54.0)" = overflow ] && [ "$(tail -n 1 said-3.57.0)" = "no overflow" ]; then
  echo "as found: the same answer is an overflow with the older SDK only"
else
  echo "changed"
  exit 1
fi
