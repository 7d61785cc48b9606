"""api_key_command: how the file spells it, and what a command may print. Nothing of either gets into an error."""

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from configs import parse, problems, provider

from llm_router_gateway.config.describe import config_text
from llm_router_gateway.config.key_command import printed_key, read_command

WALL = 1_800_000_000.0
TOKEN = "ya29." + "Tok" * 9


def table(lines: str) -> str:
    return f'[[providers]]\nname = "claude"\n{lines}'


@pytest.mark.parametrize(
    ("written", "argv"),
    [
        ('"gcloud auth print-access-token"', ("gcloud", "auth", "print-access-token")),
        ('["op", "read", "op://team/claude/a key"]', ("op", "read", "op://team/claude/a key")),
        ("\"sh -c 'cat /run/key | tail -1'\"", ("sh", "-c", "cat /run/key | tail -1")),
        ('"/opt/bin/token"', ("/opt/bin/token",)),
        ('"~/bin/token"', ("~/bin/token",)),
        ("['C:\\tools\\token.exe']", ("C:\\tools\\token.exe",)),
    ],
)
def test_a_command_is_a_list_or_a_text_that_is_split_as_a_shell_would(written: str, argv: tuple[str, ...]) -> None:
    command = provider(f'name = "claude"\napi_key_command = {written}', ANTHROPIC_API_KEY="of-the-environment").key_command
    assert command is not None
    assert (command.argv, command.ttl_s, command.timeout_s) == (argv, 300, 30)


def test_a_provider_with_a_command_lacks_no_key_and_takes_none_from_the_environment() -> None:
    config = parse(table('api_key_command = "print-it"\napi_key_command_ttl_s = 60\napi_key_command_timeout_s = 2.5'),
                   ANTHROPIC_API_KEY="of-the-environment")  # fmt: skip  # pragma: allowlist secret
    made = config.providers[0]
    assert (made.keys, made.lacks_key, config.notes) == ((), False, ())
    assert made.key_command is not None
    assert (made.key_command.ttl_s, made.key_command.timeout_s) == (60, 2.5)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ('""', "has no program"),
        ("[]", "has no program"),
        ("7", "is not a command: a text, or a list of texts"),
        ('"a \\u0000"', "holds a NUL character, which an argument cannot"),
        ('["a", 7]', "is not a command: a text, or a list of texts"),
        ('"a \'b"', "cannot be split into words: no closing quotation"),
        (
            '"cat key | tail -1"',
            'holds "|", which only a shell understands: put the line into a script, or write ["sh", "-c", "..."]',
        ),
        ('"./token --now"', "has a relative path for its program: write the whole path, or a name that is on the PATH"),
    ],
)
def test_what_cannot_be_run_is_a_problem(written: str, why: str) -> None:
    assert problems(table(f"api_key_command = {written}")) == {"providers[0].api_key_command": why}


def test_a_key_beside_a_command_is_a_problem() -> None:
    found = problems(table('api_key_command = "print-it"\napi_key_env = "X"'))
    expected = "is set together with api_key_env: keep one of them"
    assert found == {"providers[0].api_key_command": expected}


def test_arguments_are_never_shown() -> None:
    secret = "hunter2-" * 3  # pragma: allowlist secret
    config = parse(table(f'api_key_command = ["/opt/bin/token", "--password", "{secret}"]'))
    assert secret not in config_text(config) + repr(config)
    assert "# keys: printed by token with 2 arguments, used for 300 s unless it says" in config_text(config)
    assert secret not in str(problems(table(f'api_key_command = "./token {secret}"')))


# ------------------------------------------------------------------------------------------------------ what it printed


def jwt(**claims: Any) -> str:
    return f"eyJhbGciOiJub25lIn0.{urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"


def naive(seconds: float) -> str:
    """A time of this machine, without a zone, as `az` writes expiresOn."""
    return datetime.fromtimestamp(WALL + seconds).strftime("%Y-%m-%d %H:%M:%S.%f")


def zoned(seconds: float) -> str:
    return datetime.fromtimestamp(WALL + seconds, UTC).isoformat().replace("+00:00", "Z")


EXEC = "client.authentication.k8s.io/v1"
PRINTED: dict[str, tuple[Any, float | None]] = {
    "plain text, as of gcloud": (TOKEN + "\n", None),
    "plain text, as Windows ends lines": (f"\ufeff{TOKEN}\r\n", None),
    "with its scheme": (f"Bearer {TOKEN}\n", None),
    "a JSON text, as of az --query": (json.dumps(TOKEN), None),
    "gcloud --format=json": ({"token": TOKEN}, None),
    "an OAuth server": ({"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer"}, 3599),
    "az, new": ({"accessToken": TOKEN, "expiresOn": naive(900), "expires_on": int(WALL) + 3600, "tokenType": "Bearer"}, 3600),
    "az, old": ({"accessToken": TOKEN, "expiresOn": naive(900), "tokenType": "Bearer"}, 900),
    "gcloud config config-helper": ({"credential": {"access_token": TOKEN, "token_expiry": zoned(1200)}}, 1200),
    "an ExecCredential": ({"apiVersion": EXEC, "status": {"token": TOKEN, "expirationTimestamp": zoned(840)}}, 840),
    "milliseconds, as text": ({"token": TOKEN, "expiresAt": str(int(WALL + 60) * 1000)}, 60),
    "an expiry that is none": ({"token": TOKEN, "expires_in": "soon", "expiry": "never", "exp": True}, None),
    "an expiry that no clock reaches": ({"token": TOKEN, "expires_in": 10**400, "expiry": zoned(840)}, 840),
}


@pytest.mark.parametrize("name", PRINTED)
def test_what_programs_print(name: str) -> None:
    printed, lifetime_s = PRINTED[name]
    data = (printed if isinstance(printed, str) else json.dumps(printed)).encode()
    found = printed_key(data, WALL)
    assert found.key == TOKEN
    assert found.lifetime_s == (None if lifetime_s is None else pytest.approx(lifetime_s, abs=0.01))


def test_a_json_web_token_says_itself_when_it_ends() -> None:
    assert printed_key(jwt(exp=WALL + 77).encode(), WALL).lifetime_s == 77
    assert printed_key(json.dumps({"token": jwt(exp=WALL + 77), "expires_in": 50}).encode(), WALL).lifetime_s == 50
    assert printed_key(jwt(sub="x").encode(), WALL).lifetime_s is None
    assert printed_key(b"not.a_token.atall", WALL).lifetime_s is None


@pytest.mark.parametrize(
    ("printed", "why"),
    [
        (b"", "printed nothing"),
        (b" \n", "printed nothing"),
        (b"\xff\xfe\x00", "printed something that is not text"),
        (b"Updating...\nya29.hidden", "printed 2 lines: a key is one line, or a JSON object with a token"),
        (b"ERROR: ya29 hidden", "printed a key with a space, a line end or a character outside ASCII"),
        ("ya29hidd\u00e9n".encode(), "printed a key with a space, a line end or a character outside ASCII"),
        (b'{"token": "ya29.hidden"', "printed JSON that cannot be read"),
        (b'{"a":' * 20_000, "printed JSON that cannot be read"),
        (b'{"other": "ya29.hidden", "token": 7}', "printed a JSON object without a token under token, "),
        (b'{"token": "ya29.hidden", "expires_in": 0}', "printed a key that has expired already"),
    ],
)
def test_what_is_no_key_is_said_without_showing_it(printed: bytes, why: str) -> None:
    with pytest.raises(ValueError, match="printed") as caught:
        printed_key(printed, WALL)
    assert str(caught.value).startswith(why)
    assert "hidden" not in str(caught.value)


def test_a_word_that_only_a_shell_knows_is_fine_in_a_list() -> None:
    assert read_command(["token", "|"]) == ("token", "|")
