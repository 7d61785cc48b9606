"""An error as its caller gets it: in the words that the clients of its protocol look for, and without any key.

for_caller(error, context)   the same error, its message changed
"""

from __future__ import annotations

from ..errors import CONTEXT, GatewayError
from ..wire.registry import SPECS
from ..wire.token_estimate import input_tokens
from .headers import without_secrets
from .mask import mask_of
from .request import RequestContext


def for_caller(error: GatewayError, context: RequestContext) -> GatewayError:
    if error.code == CONTEXT:
        error.message = context_overflow_text(error, context)
    mask = mask_of(context.printed_keys)
    error.message, error.code = mask.text(error.message), mask.text(error.code)
    return without_secrets(error, context.state.config.providers)


def context_overflow_text(error: GatewayError, context: RequestContext) -> str:
    """Clients compact a conversation by these words; the numbers are the upstream's where it gave them, else ours."""
    spec, mark = SPECS[context.call.protocol], SPECS[context.call.protocol].too_long_mark.decode()
    if mark in error.message or not spec.too_long:
        return error.message
    model = context.candidate.model if context.candidate is not None else None
    window = error.details.get("window") or (model.context_window if model is not None else None)
    if isinstance(window, int) and window > 0:
        stated = error.details.get("tokens")
        tokens = stated if isinstance(stated, int) else max(input_tokens(context.fields), window + 1)  # more than fit, surely
        return spec.too_long.format(tokens=tokens, window=window)
    if not spec.too_long_words:
        return f"{mark}: {error.message}"
    return error.message if spec.too_long_words in error.message else f"{spec.too_long_words} exceeded: {error.message}"
