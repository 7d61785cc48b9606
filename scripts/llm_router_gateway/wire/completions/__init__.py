"""POST /v1/completions, OpenAI's older text completions: for callers alone. Upstreams that speak it get it relayed.

    {"prompt": "Once"}  -> Request("m", (Message("user", (Text("Once"),)),))  for an upstream that knows only chats
    ir.Answer           -> {"object": "text_completion", "choices": [{"text": " upon a time", ...}]}

What a chat cannot do (`suffix`, `echo`, log probabilities, prompts of token numbers, several prompts) is refused with a reason,
for the text would be another one. Errors and usage are those of chat completions.
"""
