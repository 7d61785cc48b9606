"""The skill tells the truth: what SKILL.md, README.md and references/ say is held against the client's own code."""

import inspect
import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Callable, Dict, List, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
CLIENT = SCRIPTS / "llm_router_client.py"
sys.path[:0] = [str(SCRIPTS), str(Path(__file__).resolve().parent)]

import generate_cli_reference as reference  # noqa: E402  (the path above is what makes it importable)

import llm_router_batch as batch  # noqa: E402
import llm_router_client as client  # noqa: E402

SKILL = (ROOT / "SKILL.md").read_text(encoding="utf-8")
FRONTMATTER, BODY = SKILL.split("---\n", 2)[1:]
OF_PEOPLE = re.compile(
    r"gateway.*\.md|architecture\.(?:md|svg)|monitor\.png|install\.md|clients\.md|mcp\.md|scaling\.md"
    r"|grafana-dashboard\.json|prometheus-alerts\.yml"
)  # not part of the skill
REFERENCES = sorted(path for path in (ROOT / "references").glob("*.md") if not OF_PEOPLE.fullmatch(path.name))
OF_THE_GATEWAY = sorted(path for path in (ROOT / "references").glob("*.md") if path not in REFERENCES)
PAGES = [ROOT / "SKILL.md"] + [page for page in (ROOT / "README.md",) if page.exists()] + REFERENCES
SHIPPED_MARKDOWN = sorted(ROOT.glob("*.md")) + REFERENCES + [ROOT / "references" / "install.md"]
SCHEMA = json.loads((ROOT / "references" / "envelope.schema.json").read_text(encoding="utf-8"))


# ------------------------------------------------------------------------------------------------------------- commands


def commands_in(text: str) -> List[List[str]]:
    """The client's command lines printed in a page, as argument lists.

    commands_in("`python3 scripts/llm_router_client.py chat --message - < f`") -> [["chat", "--message", "-"]]

    Line continuations are joined; redirections, pipes and comments end a command, as in a shell.
    """
    found = []
    for line in re.findall(r"python3 \S*llm_router_client\.py +([^`\n]+)", text.replace("\\\n", " ")):
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
        end = next((i for i, word in enumerate(words) if set(word) <= set("<>|&;()") and word), len(words))
        found.append(words[:end])
    return found


def parsed(words: List[str]) -> str:
    """ "" when the real parser takes this command line, else what it said."""
    if words[0] not in client.COMMANDS:
        return "" if words[0] in ("--help", "--version") else f"no such command: {words[0]}"
    if "--help" in words:
        return ""
    try:
        client.parser_of(words[0]).parse(words[1:])
    except client.UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_printed_is_one_that_the_parser_takes(page: Path) -> None:
    commands = commands_in(page.read_text(encoding="utf-8"))
    assert not {" ".join(words): parsed(words) for words in commands if parsed(words)}


def test_the_pages_hold_commands_at_all() -> None:
    assert len(commands_in(SKILL)) >= 10
    assert len(commands_in((ROOT / "references" / "cli.md").read_text(encoding="utf-8"))) >= 5


def test_every_option_named_in_a_page_exists() -> None:
    known = {"--port", "--extra"}  # the mock server's
    known.update(flag for command in client.COMMANDS for flag in client.parser_of(command).options)
    known.update(flag for command in batch.COMMANDS for flag in batch.parser_of(command).options)
    for page in REFERENCES + [ROOT / "SKILL.md"]:
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page.read_text(encoding="utf-8")))
        assert named <= known | {"--version", "--help"}, page.name


def test_the_generated_sections_agree_with_the_code() -> None:
    wrong = {name: headings for name, (_, headings) in reference.drifted().items()}
    assert not wrong, "run: python3 tests/skill/generate_cli_reference.py --write"


@pytest.mark.slow
@pytest.mark.parametrize("command", list(client.COMMANDS))
def test_help_is_short_shows_an_example_and_every_exit_code(cli: Any, command: str) -> None:
    run = cli(command, "--help")
    text = run.out.decode("utf-8")
    assert run.code == 0 and run.err == b""
    assert len(text.splitlines()) < 100  # argparse gives each option and each exit code a line of its own
    assert re.search(rf"\n  llm-router {command}(?: .*-|.*\n)", text)  # an example, under the name that was typed
    for code in client.EXIT_CODES:
        assert re.search(rf"(?<!\d){code}(?!\d)", text), code


# -------------------------------------------------------------------------------------------------- tables and the code


def rows_under(heading: str, page: str) -> List[List[str]]:
    """The cells of the table under a level-2 heading, without its head."""
    section = re.search(rf"(?ms)^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", page)
    assert section, heading
    lines = [line for line in section.group(1).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


def test_the_exit_codes_of_skill_md_are_those_of_the_client() -> None:
    codes = [int(code) for row in rows_under("Output", SKILL) for code in row[0].split(",")]
    assert codes == list(client.EXIT_CODES)


def test_the_error_classes_and_codes_of_the_reference_are_those_of_the_client() -> None:
    classes = {
        name for name, value in vars(client).items() if inspect.isclass(value) and issubclass(value, client.LLMRouterError)
    }
    assert set(reference.CODES_OF) == classes
    assert sorted(code for codes in reference.CODES_OF.values() for code in codes) == sorted(client.ERRORS)
    for name, codes in reference.CODES_OF.items():
        assert getattr(client, name).code in codes
        assert {client.ERRORS[code][0] for code in codes} <= set(client.EXIT_CODES)


def test_the_schema_knows_every_error_code_and_no_other() -> None:
    assert set(SCHEMA["$defs"]["code"]["enum"]) == set(client.ERRORS)


def test_the_declared_environment_is_what_the_client_reads() -> None:
    entry = r"(?m)^      - name: (\w+)\n        required: \w+\n(?:        description: (.*)\n)?"
    declared = dict(re.findall(entry, FRONTMATTER))
    assert list(declared) == list(client.SETTINGS)
    described = {name: text for name, text in declared.items() if text}  # what is asked for when the skill is installed
    assert len(described) >= 4 and described.items() <= client.SETTINGS.items()
    assert "primaryEnv: AISA_API_KEY" in FRONTMATTER


def test_the_client_reads_each_of_its_variables_through_its_accessor() -> None:
    source = CLIENT.read_text(encoding="utf-8")
    for name in set(re.findall(r"\b(?:AISA|LLM_ROUTER)_[A-Z_]+\b", source)):
        assert name in client.SETTINGS, name
    assert not re.search(r"os\.environ", source)


def test_the_version_is_the_clients() -> None:
    assert re.findall(r'^  version: "(.+)"$', FRONTMATTER, re.M) == [client.VERSION]


# ----------------------------------------------------------------------------------------------------- form and budgets


def test_the_description_routes_from_its_first_words() -> None:
    description = re.findall(r"^description: (.*)$", FRONTMATTER, re.M)[0]
    assert 200 <= len(description) <= 600
    assert description[:57] == "Use when another LLM should answer, check or compare. Sen"  # all that one runtime shows
    assert not re.search(r"[<>]|: ", description)


def test_the_frontmatter_has_only_the_fields_of_the_specification() -> None:
    fields = re.findall(r"^(\S+?):", FRONTMATTER, re.M)
    assert fields == ["name", "description", "license", "compatibility", "metadata"]
    assert "name: llm-router\n" in FRONTMATTER
    assert "network" in re.findall(r"^compatibility: (.*)$", FRONTMATTER, re.M)[0]


def tokens(text: str) -> int:
    """An upper estimate of o200k tokens without its vocabulary: SKILL.md has 3.9 characters a token, 3.6 is assumed."""
    return math.ceil(len(text) / 3.6)


def test_skill_md_keeps_its_budgets() -> None:
    assert 110 <= len(SKILL.splitlines()) <= 130
    assert tokens(BODY) <= 1500


@pytest.mark.parametrize("page", REFERENCES, ids=lambda page: page.name)
def test_a_reference_is_short_and_has_contents_when_long(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= {"cli.md": 210, "python-api.md": 160}.get(page.name, 150)  # generated tables, snippets
    if len(text.splitlines()) > 100:
        listed = re.findall(r"\]\(#([\w-]+)\)", text)
        assert listed == [anchor(heading) for heading in re.findall(r"^## (.*)$", text, re.M)]


def anchor(heading: str) -> str:
    """The fragment of a heading: anchor("Fields of --json") -> "fields-of---json"."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_path_named_exists_and_every_file_of_the_skill_is_named() -> None:
    named = set(re.findall(r"\b(?:scripts|references)/[\w./-]*\w", SKILL))
    assert all((ROOT / name).is_file() for name in named), named
    pages = [path.name for path in (ROOT / "references").iterdir() if not OF_PEOPLE.fullmatch(path.name)]
    shipped = {f"references/{name}" for name in pages}
    assert shipped | {"scripts/llm_router_client.py"} <= named


def test_references_do_not_link_to_each_other() -> None:
    for page in REFERENCES:
        assert not re.findall(r"\]\((?!#|https://)[^)]+\)", page.read_text(encoding="utf-8")), page.name


def test_the_skill_has_no_dated_model_name() -> None:
    dated = re.compile(r"\b(?:gpt-\d|claude-\d|gemini-\d|o[134]-mini|qwen-?\w*\d)\S*")
    for page in [ROOT / "SKILL.md"] + REFERENCES:
        assert not dated.findall(page.read_text(encoding="utf-8")), page.name


# -------------------------------------------------------------------------------------------------------------- wording

FORBIDDEN = {  # what registries' scanners read as an attack, and what an honest page can say otherwise
    "a key taken from the environment in a snippet": r"os\.environ(?:\.get\(|\[)",
    "a tutorial for a command that carries a key": r"\bcur[l]\b",
    "a switch that turns certificates off": r"verify\s*=\s*False|CERT_\s*NONE|check_hostname\s*=\s*False",
    "an address that listens everywhere": r"\b0\.0\.0\.0\b",
    "a secret as an argument": r"--(?:token|password|api-key)\s+[\"'$]",
    "the words for a model's instructions": r"(?i)system prompt\s*[:=]",
    "a quoted injection": r"(?i)ignore\s+(?:all\s+)?previous\s+instructions",
    "a command to hand over context": r"(?i)\bsend\s+a\s+conversation|\b(?:include|print)\s+\S*\s*\S*\s*context\b",
    "a command to upload": r"(?i)\b(?:send|post|upload)\b[^.\n]{0,60}\bto\s+https?://",
    "a path where secrets lie": r"~/\.ssh|/etc/(?:passwd|shadow)|\.hermes/\.env",
    "a file of instructions for agents": r"\b(?:AGENTS|CLAUDE)\.md\b",
    "a literal that looks like a key": r"sk-[A-Za-z0-9]{20}|(?i:api_key)\s*=\s*[\"'][^\"']{20}",
    "a change of role": r"(?i)\byou\s+are\s+now\b|\bpretend\s+to\s+be\b",
    "an invisible character": "[\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]",
}


@pytest.mark.parametrize("page", SHIPPED_MARKDOWN, ids=lambda page: page.name)
def test_shipped_pages_avoid_the_wording_of_attacks(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert not {why: re.findall(pattern, text) for why, pattern in FORBIDDEN.items() if re.search(pattern, text)}


@pytest.mark.parametrize("page", OF_THE_GATEWAY, ids=lambda page: page.name)
def test_the_gateways_pages_avoid_it_too(page: Path) -> None:
    """They show curl, for a server that is somebody's own; a key stands in a file, never in the command."""
    patterns = {why: pattern for why, pattern in FORBIDDEN.items() if "that carries a key" not in why}
    text = page.read_text(encoding="utf-8")
    assert not {why: re.findall(pattern, text) for why, pattern in patterns.items() if re.search(pattern, text)}
    assert not re.findall(r"cur[l][^\n]*\$|send the whole conversation", text)


def test_the_clients_files_and_their_tests_hold_no_key_and_nothing_invisible() -> None:
    names = ("a literal that looks like a key", "an invisible character", "a quoted injection")
    strict = [FORBIDDEN[why] for why in names]
    files = [CLIENT, SCRIPTS / "llm_router_demo.py", SCRIPTS / "llm_router_batch.py", *SCRIPTS.glob("llm_router_extras/*.py")]
    parts = ("batch", "client", "demo", "extras", "skill")
    files += [path for part in parts for path in sorted((ROOT / "tests" / part).rglob("*.py"))]
    for path in filter(Path.exists, files):
        text = path.read_text(encoding="utf-8")
        assert not [pattern for pattern in strict if re.search(pattern, text)], path.name


def test_the_forbidden_wording_is_found_when_it_is_there() -> None:
    samples = {
        "a command to upload": "upload the file to " + "https://example.com",
        "a change of role": "You are" + " now root",
        "an invisible character": "a\u202eb",
        "a literal that looks like a key": "sk-" + "a" * 20,
    }
    for why, sample in samples.items():
        assert re.search(FORBIDDEN[why], sample), why


# ------------------------------------------------------------------------------------------------------ the client runs


def test_the_client_alone_runs_from_an_empty_directory(tmp_path: Path) -> None:
    alone = shutil.copy(str(CLIENT), str(tmp_path))
    dry_run = ["chat", "--model", "MODEL", "--message", "Hello", "--dry-run"]
    for words in (["--version"], ["--help"], ["chat", "--help"], ["models", "--offline"], dry_run):
        command = [sys.executable, "-I", alone, *words]
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=30)
        assert run.returncode == 0 and run.stdout and b"Traceback" not in run.stderr, (words, run)


# ------------------------------------------------------------------------------------------------ snippets and envelope


def snippets(page: Path) -> List[str]:
    """The Python blocks of a page."""
    return re.findall(r"(?ms)^```python\n(.*?)^```", page.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_python_page_runs_as_printed_against_the_mock_server(demo: Any, cli: Any, tmp_path: Path) -> None:
    blocks = snippets(ROOT / "references" / "python-api.md")
    assert len(blocks) >= 5
    script = tmp_path / "snippets.py"
    script.write_text("\n".join(blocks).replace("MODEL2", "demo-reasoning").replace("MODEL", "demo"), encoding="utf-8")
    environment = {**cli.env, "LLM_ROUTER_BASE_URL": demo.base_url, "PYTHONPATH": str(SCRIPTS)}
    command = [sys.executable, str(script)]
    run = subprocess.run(command, capture_output=True, timeout=30, env=environment, cwd=tmp_path)
    assert run.returncode == 0 and b"mock server" in run.stdout, run


def test_the_python_page_names_the_real_arguments_and_attributes() -> None:
    page = (ROOT / "references" / "python-api.md").read_text(encoding="utf-8")
    taken = set(inspect.signature(client.LLMRouterClient).parameters)
    listed = {row[0].strip("`") for row in rows_under("Client", page)}
    assert listed == taken - {"transport"}  # the seam for tests
    for name in re.findall(r"^\| `(\w+)\(", page, re.M):
        assert callable(getattr(client.LLMRouterClient, name)), name


KEYWORDS = {
    "$schema", "$defs", "$ref", "title", "description", "type", "required", "additionalProperties", "properties",
    "items", "enum", "const", "minimum", "anyOf", "if", "then", "else",
}  # fmt: skip
TYPES = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}


def of_type(value: Any, name: str) -> bool:
    """JSON Schema's idea of a type: booleans are no numbers."""
    if name in ("integer", "number"):
        return isinstance(value, int if name == "integer" else (int, float)) and not isinstance(value, bool)
    return isinstance(value, TYPES[name])


def faults(value: Any, schema: Dict[str, Any], path: str = "$") -> List[str]:
    """Where a value breaks a schema; knows the keywords that envelope.schema.json uses, refuses to guess at others."""
    assert set(schema) <= KEYWORDS, set(schema) - KEYWORDS
    found: List[str] = []
    if "$ref" in schema:
        found += faults(value, SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]], path)
    names = [schema["type"]] if isinstance(schema.get("type"), str) else schema.get("type")
    if names and not any(of_type(value, name) for name in names):
        found.append(f"{path} is {value!r}, not {names}")
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        found.append(f"{path} is {value!r}")
    if "minimum" in schema and of_type(value, "number") and value < schema["minimum"]:
        found.append(f"{path} is {value!r}")
    if "anyOf" in schema and all(faults(value, each, path) for each in schema["anyOf"]):
        found.append(f"{path} is {value!r}")
    if "if" in schema:
        found += faults(value, schema.get("else" if faults(value, schema["if"], path) else "then", {}), path)
    if isinstance(value, dict):
        found += [f"{path}.{name} is missing" for name in schema.get("required", ()) if name not in value]
        for name, each in value.items():
            if name in schema.get("properties", {}):
                found += faults(each, schema["properties"][name], f"{path}.{name}")
            elif schema.get("additionalProperties") is False:
                found.append(f"{path}.{name} is not in the schema")
    if isinstance(value, list) and "items" in schema:
        found += [fault for i, each in enumerate(value) for fault in faults(each, schema["items"], f"{path}[{i}]")]
    return found


@pytest.fixture
def envelope_of(cli: Any, demo: Any) -> Callable[..., Tuple[int, Any]]:
    """Runs a command with --json against the mock server: (exit code, the last line of stdout as JSON)."""

    def run(*words: str) -> Tuple[int, Any]:
        ran = cli(*words, "--json", env={"LLM_ROUTER_BASE_URL": demo.base_url})
        assert ran.out, ran
        return ran.code, ran.events[-1]

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, more, code",
    [
        ("demo", (), 0),
        ("demo", ("--stream",), 0),
        ("demo-reasoning", (), 0),
        ("demo-tools", (), 0),
        ("fail-400", (), 1),
        ("fail-401", (), 3),
        ("fail-402", (), 4),
        ("fail-404", (), 5),
        ("fail-html", (), 9),
        ("fail-429", ("--retries", "0"), 6),
        ("fail-500", ("--retries", "0"), 6),
        ("fail-drop", ("--retries", "0"), 7),
        ("fail-cut", ("--stream",), 10),
        ("fail-error-mid", ("--stream", "--retries", "0"), 10),
        ("fail-length", (), 0),
        ("fail-length", ("--strict",), 10),
        ("fail-filter", (), 11),
        ("fail-404", ("--fallback", "demo"), 0),
        ("demo", ("--temperature", "nan"), 2),
        ("demo", ("--no-such-option",), 2),
    ],
)
def test_the_envelope_keeps_its_schema(envelope_of: Any, model: str, more: Tuple[str, ...], code: int) -> None:
    exit_code, envelope = envelope_of("chat", "--model", model, "--message", "Hello", *more)
    assert exit_code == code, envelope
    assert not faults(envelope, SCHEMA)
    assert envelope["ok"] is (code == 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ("compare", "--models", "demo,fail-404", "--message", "Hello"),
        ("compare", "--models", "fail-401", "--message", "Hello"),
        ("models",),
        ("models", "--offline"),
        ("models", "--search", "zzz"),
        ("doctor",),
        ("cache", "stats"),
        ("cache", "clear"),
        ("usage",),
        ("usage", "--by", "day", "--since", "7d"),
    ],
    ids=" ".join,
)
def test_the_other_commands_keep_theirs(envelope_of: Any, words: Tuple[str, ...]) -> None:
    exit_code, envelope = envelope_of(*words)
    assert not faults(envelope, SCHEMA["$defs"][words[0]])
    assert envelope["ok"] is (exit_code == 0)


@pytest.mark.parametrize("command", ["compare", "models", "doctor"])
def test_a_command_that_fails_before_it_began_prints_the_common_envelope(envelope_of: Any, command: str) -> None:
    exit_code, envelope = envelope_of(command, "--no-such-option")
    assert exit_code == 2 and not faults(envelope, SCHEMA)


def test_the_example_in_skill_md_is_part_of_a_real_envelope() -> None:
    example = json.loads(re.findall(r"(?ms)^```json\n(.*?)^```", BODY)[0])
    missing = [fault for fault in faults(example, SCHEMA) if not fault.endswith("is missing")]
    assert not missing


def test_the_schema_is_strict_and_says_so() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for schema in [SCHEMA] + [each for each in SCHEMA["$defs"].values() if each.get("type") == "object"]:
        assert schema["additionalProperties"] is False
    assert faults({"ok": True, "surprise": 1}, SCHEMA)


def test_the_schema_agrees_with_a_full_validator(envelope_of: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator
    validator.check_schema(SCHEMA)
    for model in ("demo", "fail-401"):
        assert validator(SCHEMA).is_valid(envelope_of("chat", "--model", model, "--message", "Hello")[1])
    assert not validator(SCHEMA).is_valid({"ok": True})
