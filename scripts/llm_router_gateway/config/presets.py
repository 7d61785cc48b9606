"""What is known about each type of provider, as data: protocol, address, credential, oddities.

PRESETS["kimi"].base_url -> "https://api.moonshot.cn/v1"; every field can be overridden in router.toml.
A new provider that speaks one of the protocols is one line here and no code; paths are its protocol's (`wire/NAME/spec`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Preset:
    """One provider type. `local` ones run on the user's machine and need no key."""

    api: str
    base_url: str = ""  # "" = the file must give it
    key_env: tuple[str, ...] = ()  # looked up in this order when the file names none
    families: tuple[str, ...] = ()  # bare names starting so belong here when no [[models]] lists them
    auth_header: str = "Authorization"
    auth_scheme: str = "Bearer"
    local: bool = False
    quirks: Mapping[str, object] = field(default_factory=dict)
    also: tuple[str, ...] = ()  # further protocols that are spoken at base_url
    only: tuple[tuple[str, str], ...] = ()  # (pattern of a model's name, the one protocol in which such a model answers)
    parts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # {part} of base_url -> variables that may hold it
    hosts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # region -> what its address has in another place
    lists: bool = True  # whether it has a list of models
    key_advice: str = ""  # what to set if there is no key, if not one of key_env


# Quirks are listed in the wire module of the provider's api.
THINKING: Mapping[str, object] = {"reasoning": "thinking"}
# A model's own thinking tags come through where such a server was started without knowing them: see wire/think_tags.
TAGS: Mapping[str, object] = {"think_tags": True}
TOP_K: Mapping[str, object] = {"top_k": True, **TAGS}
# `transformers serve` answers 422 to fields that are not OpenAI's (top_k), and reads these without doing anything about them:
# better left out and named (transformers 5.24, cli/serving/chat_completion.py). 8000 is its usual port, as it is vLLM's.
TRANSFORMERS: Mapping[str, object] = {**TAGS, "json_schema": False, "reasoning": "none", "drop": (
    "logprobs", "metadata", "n", "parallel_tool_calls", "presence_penalty", "response_format", "service_tier", "tool_choice",
    "top_logprobs", "user",
)}  # fmt: skip
# Models that OpenAI serves in its newer protocol alone: chat completions answer 404 for them.
NEWER_ALONE = r"(?:o[13]-pro|gpt-5(?:\.\d+)?-pro|gpt-5[\w.]*-codex|codex-mini|computer-use|o[34](?:-mini)?-deep-research)"
# What a part of an address is, for whoever has to give it.
PARTS: Mapping[str, str] = {
    "resource": "the name of the resource, with which its address begins",
    "region": "the region whose models are called",
    "project": "the project that is billed, by its id or number",
}
VERTEX_HOST = "{region}-aiplatform.googleapis.com"
CUSTOM = "custom_http"  # what a provider is that names no preset, only its protocol and address
# What clients ask for by themselves, as far as their vendors' names go.
USUAL_MODELS = ("gpt*", "claude*", "gemini*", "qwen*", "deepseek*", "grok*", "kimi*", "glm*", "llama*", "auto*")
PRESETS: Mapping[str, Preset] = {
    "openai": Preset(
        "openai", "https://api.openai.com/v1", ("OPENAI_API_KEY",),
        ("gpt-", "chatgpt-", "o1", "o3", "o4", "codex-", "text-embedding-"),
        also=("responses",), only=((NEWER_ALONE, "responses"),),
    ),
    "claude": Preset(
        "anthropic", "https://api.anthropic.com", ("ANTHROPIC_API_KEY",), ("claude-",), "x-api-key", "",
    ),
    "gemini": Preset(
        "gemini", "https://generativelanguage.googleapis.com/v1beta", ("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        ("gemini-", "gemma-"), "x-goog-api-key", "",
    ),
    "grok": Preset("openai", "https://api.x.ai/v1", ("XAI_API_KEY", "GROK_API_KEY"), ("grok-",)),
    "deepseek": Preset(
        "openai", "https://api.deepseek.com/v1", ("DEEPSEEK_API_KEY",), ("deepseek-",),
        quirks={"reasoning": "thinking", "json_schema": False, "forced_choice_with_thinking": False},
    ),
    "qwen": Preset(
        "openai", "https://dashscope.aliyuncs.com/compatible-mode/v1", ("DASHSCOPE_API_KEY", "QWEN_API_KEY"),
        ("qwen", "qwq-", "qvq-"),
        quirks={
            "reasoning": "enable_thinking", "forced_choice_with_thinking": False, "cache_control": True, "top_k": True,
        },
    ),
    "kimi": Preset(
        "openai", "https://api.moonshot.cn/v1", ("MOONSHOT_API_KEY", "KIMI_API_KEY"), ("kimi-", "moonshot-"),
        quirks=THINKING,
    ),
    "glm": Preset(
        "openai", "https://open.bigmodel.cn/api/paas/v4", ("ZHIPUAI_API_KEY", "GLM_API_KEY"), ("glm-",),
        quirks=THINKING,
    ),
    "glm-z": Preset(
        "openai", "https://api.z.ai/api/paas/v4", ("ZAI_API_KEY", "GLM_Z_API_KEY"), ("glm-",), quirks=THINKING,
    ),
    "openrouter": Preset(
        "openai", "https://openrouter.ai/api/v1", ("OPENROUTER_API_KEY",),
        quirks={
            "reasoning": "openrouter", "reasoning_field": "reasoning_details", "cache_control": True, "video": True,
            "top_k": True,
        },
    ),
    "aisa": Preset("openai", "https://api.aisa.one/v1", ("AISA_API_KEY",)),
    # Its v1 API needs no api-version, and takes both keys and Entra's tokens as bearer tokens. A model is a deployment's name.
    "azure": Preset(
        "openai", "https://{resource}.openai.azure.com/openai/v1", ("AZURE_OPENAI_API_KEY",), also=("responses",),
        parts={"resource": ("AZURE_OPENAI_RESOURCE_NAME", "AZURE_RESOURCE_NAME")},
    ),
    "bedrock": Preset(
        "openai", "https://bedrock-runtime.{region}.amazonaws.com/openai/v1", ("AWS_BEARER_TOKEN_BEDROCK",),
        ("openai.", "us.openai.", "eu.openai.", "global.openai."),
        parts={"region": ("AWS_REGION", "AWS_DEFAULT_REGION")}, lists=False,
    ),
    "vertex": Preset(
        "openai", f"https://{VERTEX_HOST}/v1/projects/{{project}}/locations/{{region}}/endpoints/openapi", (), ("google/",),
        parts={"project": ("GOOGLE_CLOUD_PROJECT",), "region": ("GOOGLE_CLOUD_LOCATION",)}, lists=False,
        hosts={
            "global": {VERTEX_HOST: "aiplatform.googleapis.com"}, "us": {VERTEX_HOST: "aiplatform.us.rep.googleapis.com"},
            "eu": {VERTEX_HOST: "aiplatform.eu.rep.googleapis.com"},
        },
        key_advice='api_key_command = "gcloud auth print-access-token"',
    ),
    "ollama": Preset("openai", "http://127.0.0.1:11434/v1", ("OLLAMA_API_KEY",), local=True, quirks=TAGS),
    "vllm": Preset("openai", "http://127.0.0.1:8000/v1", ("VLLM_API_KEY",), local=True, quirks=TOP_K),
    "transformers": Preset("openai", "http://127.0.0.1:8000/v1", local=True, quirks=TRANSFORMERS),
    "llama.cpp": Preset("openai", "http://127.0.0.1:8080/v1", ("LLAMA_API_KEY",), local=True, quirks=TOP_K),
    "lmstudio": Preset("openai", "http://127.0.0.1:1234/v1", local=True, quirks=TOP_K),
    "remote_http": Preset("openai", local=True),
    CUSTOM: Preset("openai", local=True),
}  # fmt: skip

ALIASES: Mapping[str, str] = {
    "anthropic": "claude", "google": "gemini", "xai": "grok", "moonshot": "kimi", "dashscope": "qwen",
    "zhipu": "glm", "zai": "glm-z", "llamacpp": "llama.cpp", "llama-cpp": "llama.cpp", "lm-studio": "lmstudio",
    "azure-openai": "azure", "aws-bedrock": "bedrock", "vertex-ai": "vertex",
}  # fmt: skip

# What OpenTelemetry's conventions call the vendor of a type (gen_ai.provider.name), where that is another word.
VENDORS: Mapping[str, str] = {
    "claude": "anthropic", "gemini": "gcp.gemini", "grok": "x_ai", "kimi": "moonshot_ai", "glm": "zhipu_ai", "glm-z": "z_ai",
    "llama.cpp": "llama_cpp", "azure": "azure.ai.openai", "bedrock": "aws.bedrock", "vertex": "gcp.vertex_ai",
}  # fmt: skip

KNOWN_URLS = 1_024  # addresses of calls that are remembered
LOCAL_SERVER = "ollama"  # the type of what is looked for at start when there is no file
LOCAL_ADDRESS = ("127.0.0.1", 11434)  # where


def preset_of(type_name: str) -> Preset | None:
    """The preset of a type or of one of its other names; None if there is no such type."""
    return PRESETS.get(ALIASES.get(type_name, type_name))


def vendor_of(type_name: str, provider: str) -> str:
    """vendor_of("claude", "office") -> "anthropic"; of a type that says nothing the provider's own name."""
    name = ALIASES.get(type_name, type_name)
    return VENDORS.get(name, name) if name in PRESETS and name not in (CUSTOM, "remote_http") else provider


@lru_cache(maxsize=KNOWN_URLS)
def join_url(base_url: str, path: str) -> str:
    """`path` below `base_url`; a segment that both name is taken once.

    join_url("https://h/api/paas/v4", "/v4/chat/completions") -> "https://h/api/paas/v4/chat/completions"
    join_url("https://h/v1", "/v1/messages")                  -> "https://h/v1/messages"
    join_url("https://h/anthropic", "/v1/messages")           -> "https://h/anthropic/v1/messages"
    """
    base, rest = base_url.rstrip("/"), path.lstrip("/")
    first, slash, after = rest.partition("/")
    has_path = base.count("/") > 2  # the last segment of https://host is its host
    return f"{base}/{after if slash and has_path and base.endswith('/' + first) else rest}"


COMMON_API = "openai"  # what a server speaks that says nothing else

# LiteLLM's word before the slash -> our preset; what is not here is kept when it has an api_base.
LITELLM_PRESETS = {
    "openai": "openai", "anthropic": "claude", "gemini": "gemini", "xai": "grok", "deepseek": "deepseek", "dashscope": "qwen",
    "moonshot": "kimi", "zai": "glm", "openrouter": "openrouter", "ollama": "ollama", "ollama_chat": "ollama",
    "hosted_vllm": "vllm", "vllm": "vllm", "lm_studio": "lmstudio", "llamafile": "llama.cpp",
}  # fmt: skip
LITELLM_ADDRESSES = {
    "groq": "https://api.groq.com/openai/v1", "mistral": "https://api.mistral.ai/v1",
    "together_ai": "https://api.together.xyz/v1", "fireworks_ai": "https://api.fireworks.ai/inference/v1",
    "perplexity": "https://api.perplexity.ai", "cerebras": "https://api.cerebras.ai/v1",
    "nvidia_nim": "https://integrate.api.nvidia.com/v1", "deepinfra": "https://api.deepinfra.com/v1/openai",
}  # fmt: skip
# LiteLLM's word for a cloud -> our preset, the parts of its address by LiteLLM's names, (pattern of a model's name, what it is
# called in this protocol) of those that are served in it, and what to say.
LITELLM_CLOUDS: Mapping[str, tuple[str, Mapping[str, str], tuple[tuple[str, str], ...], str]] = {
    "azure": ("azure", {}, ((r"(.+)", r"\1"),), "Azure is called through its v1 API, which needs no api_version"),
    "bedrock": (
        "bedrock", {"region": "aws_region_name"}, ((r"(?:converse/|invoke/)?((?:\w+\.)?openai\..+)", r"\1"),),
        "Bedrock is called through its OpenAI-compatible endpoint, with a Bedrock API key in AWS_BEARER_TOKEN_BEDROCK",
    ),
    "vertex_ai": (
        "vertex", {"project": "vertex_project", "region": "vertex_location"},
        ((r"(gemini.+)", r"google/\1"), (r"((?:google|openai)/.+)", r"\1")),
        'Vertex AI is called through its OpenAI-compatible endpoint: add api_key_command = "gcloud auth print-access-token"',
    ),
}  # fmt: skip
AZURE_HOST, AZURE_PATH = ".openai.azure.com", "/openai/v1"
# type of a channel -> our preset, or (protocol, address); numbers as One API 0.6 and its descendants have them
ONE_API_KINDS: Mapping[int, str | tuple[str, str]] = {
    1: "openai", 14: "claude", 17: "qwen", 20: "openrouter", 24: "gemini", 25: "kimi", 36: "deepseek", 45: "grok",
    8: ("openai", ""), 16: "glm", 28: ("openai", "https://api.mistral.ai/v1"),
    29: ("openai", "https://api.groq.com/openai/v1"), 30: "ollama", 39: ("openai", "https://api.together.xyz/v1"),
    50: ("openai", ""), 3: "azure",
}  # fmt: skip
