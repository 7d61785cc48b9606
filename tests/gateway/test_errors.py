"""errors: a status, a code and a message, of no vendor's shape."""

import pytest

from llm_router_gateway import errors


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, errors.BadRequest), (401, errors.Unauthorized), (402, errors.NoCredit), (403, errors.Forbidden),
        (404, errors.NotFound), (413, errors.TooLarge), (422, errors.BadRequest), (429, errors.RateLimited),
        (500, errors.GatewayError), (502, errors.UpstreamFailed), (503, errors.Unavailable),
        (504, errors.UpstreamTimeout), (520, errors.UpstreamFailed), (529, errors.Overloaded),
    ],
)  # fmt: skip
def test_an_upstream_status_is_kept_and_gets_its_class(status: int, kind: type[errors.GatewayError]) -> None:
    error = errors.of_status(status, "no")
    assert type(error) is kind
    assert error.status == status


def test_codes_and_statuses_are_those_of_the_class_unless_given() -> None:
    error = errors.RateLimited("slow down", retry_after_s=7.0)
    assert (error.status, error.code, error.retry_after_s, str(error)) == (429, "rate_limited", 7.0, "slow down")
    assert errors.UpstreamFailed("x", code="dns").code == "dns"


def test_every_code_is_used_once() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.GatewayError)]
    codes = [kind.code for kind in kinds]
    assert len(codes) == len(set(codes)) > 10
