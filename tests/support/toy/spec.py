"""The toy protocol: what is its own."""

from llm_router_gateway.wire.spec import Line, Spec, Upstream

SPEC = Spec(
    name="toy", title="Toy",
    lines=(
        Line("POST", "toy", "chat"), Line("POST", "toy/count", "count"), Line("GET", "toy/models", "models"),
        Line("GET", "toy/{id}/state", "health"), Line("DELETE", "toy/{id}/state", "health"),
    ),
    marks=frozenset({"x-toy"}),
    key_headers=("x-toy-key",),
    turns="say",
    answer_field="said",
    upstream=Upstream(
        paths={"chat": "/toy", "models": "/toy/models"}, auth_header="x-toy-key", auth_scheme="",
        parameters={"max_tokens": ("longest",), "temperature": ("heat",)},
    ),
)  # fmt: skip
