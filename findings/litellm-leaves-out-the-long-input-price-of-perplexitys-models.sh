#!/usr/bin/env bash
# LiteLLM's price list has a higher price for long inputs of models served by Perplexity; its cost function does not use it.
#
# Expected: cost_per_token prices 300,000 tokens of input at `input_cost_per_token_above_100k_tokens` where the list gives a model
#   one, as it does for the same model at its own vendor: a user who sees the field in the list counts on it in budgets.
# Happens: for the provider perplexity the price of short inputs is used at every length. At Anthropic the same call of the same
#   model costs five times as much, which is what the list says of both.
# Seen with: litellm 1.110.2, 2026-11-29; litellm/llms/perplexity/cost_calculator.py reads input_cost_per_token alone, and
#   litellm/model_prices_and_context_window_backup.json has the field for both names.
# Exits 1 when that changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
for each in python3.13 python3.12 python3.11 python3.10 python3; do
  "$each" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null && python=$each && break
done
"$python" -m venv env
env/bin/pip install -q --disable-pip-version-check litellm==1.110.2
cat >costs.py <<'PYTHON'
import importlib.metadata
import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # the list that the package carries, not today's
import litellm

print("litellm", importlib.metadata.version("litellm"))
found = {}
for name, provider in (("claude-haiku-5-5", "anthropic"), ("perplexity/anthropic/claude-haiku-5-5", "perplexity")):
    entry = litellm.model_cost[name]
    short, long = entry["input_cost_per_token"], entry["input_cost_per_token_above_100k_tokens"]
    cost, _ = litellm.cost_per_token(model=name, custom_llm_provider=provider, prompt_tokens=300_000, completion_tokens=0)
    found[provider] = round(cost / 300_000 / short, 3)
    print(f"{name}: the list says {short} a token, {long} over 100,000; 300,000 tokens cost {cost:.4f} USD")
print("times the short price:", found["anthropic"], found["perplexity"])
PYTHON
env/bin/python costs.py | tee said
if [ "$(tail -n 1 said)" = "times the short price: 5.0 1.0" ]; then
  echo "as found: the long price is in the list and not in the cost"
else
  echo "changed"
  exit 1
fi
