"""`skill` and `docs`: the bundle is whole, lands where agents look, replaces nothing unasked, and its faults are found."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, List

import pytest
from quick import every

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import llm_router_client as client  # noqa: E402  (the path above is what makes it importable)
from llm_router_extras import checkup, pages, skill  # noqa: E402


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    """The bundle in a folder of its own."""
    assert client.main(["skill", "export", str(tmp_path / "out")]) == 0
    return tmp_path / "out" / "llm-router"


def files_in(folder: Path) -> List[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_bundle_is_what_an_agent_needs_and_no_more(exported: Path) -> None:
    linked = re.findall(r"\]\((references/[\w.-]+)\)", (ROOT / "SKILL.md").read_text(encoding="utf-8"))
    modules = {path.name for path in (ROOT / "scripts/llm_router_extras").glob("*.py")}
    extras = [f"scripts/llm_router_extras/{name}" for name in modules - set(skill.LEFT_OUT)]
    assert modules > set(skill.LEFT_OUT)
    scripts = ("llm-router", "llm_router_batch.py", "llm_router_client.py", "llm_router_demo.py")
    assert files_in(exported) == sorted(["LICENSE", "SKILL.md", *linked, *extras, *(f"scripts/{name}" for name in scripts)])
    assert not [name for name in linked if "gateway" in name or name.endswith(".png")]


def test_the_bundle_keeps_the_limits_of_loaders(exported: Path) -> None:
    sizes = [path.stat().st_size for path in exported.rglob("*") if path.is_file()]
    assert sum(sizes) < 500_000 and max(sizes) <= 262_144 and len(sizes) <= 50
    assert os.access(exported / "scripts" / "llm-router", os.X_OK) or os.name == "nt"


def test_the_bundle_runs_by_its_full_path_from_the_users_project(exported: Path, cli: Any, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "q.txt").write_text("Hello from the project", encoding="utf-8")
    words = [sys.executable, str(exported / "scripts" / "llm_router_client.py"), "chat", "--demo", "--message-file", "q.txt"]
    done = subprocess.run([*words, "--output", "a.txt"], capture_output=True, cwd=project, env=cli.env, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "Hello from the project" in (project / "a.txt").read_text(encoding="utf-8")
    assert not (exported / "a.txt").exists()


def test_a_bundle_can_install_itself_elsewhere(exported: Path, cli: Any, home: Path, tmp_path: Path) -> None:
    script = exported / "scripts" / "llm_router_client.py"
    words = [sys.executable, str(script), "skill", "install", "--agent", "claude", "--project", "--json"]
    done = subprocess.run(words, capture_output=True, cwd=tmp_path, env=cli.env, timeout=30)
    assert done.returncode == 0, done.stderr
    assert files_in(tmp_path / ".claude/skills/llm-router") == files_in(exported)


@pytest.mark.parametrize("words,module,named", [
    (["skill", "check"], "checkup", "skill check"), (["talk"], "talk", "talk"), (["prices", "list"], "prices", "prices"),
    (["mcp"], "mcp", "mcp"), (["completion", "bash"], "completion", "completion"), (["man"], "manual", "man"),
])  # fmt: skip
def test_a_bundle_says_which_commands_it_does_not_have(
    exported: Path, cli: Any, words: List[str], module: str, named: str
) -> None:
    command = [sys.executable, str(exported / "scripts" / "llm_router_client.py"), *words]
    done = subprocess.run(command, capture_output=True, env=cli.env, timeout=30)
    assert done.returncode == 2 and f"with its {module}.py" in done.stderr.decode()
    assert f"`{named}`" in (exported / "references" / "cli.md").read_text("utf-8")


PLACES = {
    "claude": (".claude/skills", ".claude/skills"),
    "codex": (".agents/skills", ".agents/skills"),
    "gemini": (".gemini/skills", ".gemini/skills"),
    "opencode": (".config/opencode/skills", ".opencode/skills"),
    "hermes": (".hermes/skills", None),
    "openclaw": (".openclaw/skills", "skills"),
}


@pytest.mark.parametrize("agent", PLACES)
def test_install_puts_the_skill_where_the_agent_looks(cli: Any, tmp_path: Path, agent: str) -> None:
    of_user, of_project = PLACES[agent]
    mine = {"HOME": str(tmp_path / "home"), "USERPROFILE": str(tmp_path / "home")}
    assert cli("skill", "install", "--agent", agent, env=mine).code == 0
    assert (tmp_path / "home" / of_user / "llm-router" / "SKILL.md").is_file()
    in_project = cli("skill", "install", "--agent", agent, "--project", env=mine)
    assert in_project.code == (0 if of_project else 2)
    assert not of_project or (tmp_path / of_project / "llm-router" / "SKILL.md").is_file()


def test_a_variable_that_moves_an_agents_folder_is_followed(cli: Any, tmp_path: Path) -> None:
    moved = {"CLAUDE_CONFIG_DIR": str(tmp_path / "elsewhere")}
    assert cli("skill", "install", "--agent", "claude", env=moved).code == 0
    assert (tmp_path / "elsewhere" / "skills" / "llm-router" / "SKILL.md").is_file()


@pytest.mark.slow
def test_another_version_is_replaced_only_with_force_and_the_same_is_left(cli: Any, exported: Path) -> None:
    assert b"unchanged" in cli("skill", "export", exported.parent).out
    (exported / "SKILL.md").write_text((exported / "SKILL.md").read_text(encoding="utf-8") + "mine\n", encoding="utf-8")
    refused = cli("skill", "export", exported.parent)
    assert refused.code == 8 and b"1 file differs" in refused.err and b"--force" in refused.err
    assert "mine" in (exported / "SKILL.md").read_text(encoding="utf-8")
    assert b"replaced" in cli("skill", "export", exported.parent, "--force").out
    assert "mine" not in (exported / "SKILL.md").read_text(encoding="utf-8")
    assert files_in(exported.parent) == [f"llm-router/{name}" for name in files_in(exported)]


@pytest.mark.parametrize("what", ["other files", "a file", "a link"])
def test_what_is_not_this_skill_is_never_replaced(cli: Any, tmp_path: Path, what: str) -> None:
    target = tmp_path / "llm-router"
    if what == "other files":
        target.mkdir()
        (target / "notes.txt").write_text("mine", encoding="utf-8")
    elif what == "a file":
        target.write_text("mine", encoding="utf-8")
    else:
        (tmp_path / "real").mkdir()
        target.symlink_to(tmp_path / "real")
    before = files_in(tmp_path)
    assert cli("skill", "export", target, "--force").code == 8
    assert files_in(tmp_path) == before


def test_a_version_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, page = tmp_path / "llm-router", b"---\nname: llm-router\n---\n"
    assert skill.write_folder(str(target), {"SKILL.md": page}, False) == "written"
    replace = os.replace

    def failing(source: Any, destination: Any) -> None:
        if os.path.basename(source) == "new":
            raise OSError("no")
        replace(source, destination)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(client.UsageError, match="cannot be written"):
        skill.write_folder(str(target), {"SKILL.md": page, "LICENSE": b"x"}, True)
    assert [path.name for path in tmp_path.iterdir()] == ["llm-router"] and (target / "SKILL.md").read_bytes() == page


def test_as_an_extension_the_skill_lies_below_a_manifest(cli: Any, tmp_path: Path) -> None:
    assert cli("skill", "export", tmp_path, "--extension").code == 0
    manifest = json.loads((tmp_path / "llm-router" / "gemini-extension.json").read_text(encoding="utf-8"))
    assert (manifest["name"], manifest["version"]) == ("llm-router", client.VERSION)
    assert (tmp_path / "llm-router" / "skills" / "llm-router" / "SKILL.md").is_file()


def spoiled(name: str, before: str, after: str) -> Any:
    def spoil(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert before in text
        (folder / name).write_text(text.replace(before, after, 1), encoding="utf-8")

    return spoil


FAULTS = {
    "name: other": ("SKILL.md", spoiled("SKILL.md", "name: llm-router", "name: other"), "loaders expect the same name"),
    "no description": ("SKILL.md", spoiled("SKILL.md", "description: ", "describes: "), "has no description"),
    "long": ("SKILL.md", spoiled("SKILL.md", "description: ", "description: " + "x" * 1000), "more than 1024"),
    "unknown field": ("SKILL.md", spoiled("SKILL.md", "license: ", "allowed-tools: Bash\nlicense: "), "allowed-tools"),
    "no reference": ("errors", lambda folder: (folder / "references/errors.md").unlink(), "references/errors.md is missing"),
    "no script": ("client", lambda folder: (folder / "scripts/llm_router_client.py").unlink(), "is missing"),
    "no Python": ("batch", spoiled("scripts/llm_router_batch.py", "import", "imp ort"), "is not Python"),
    "too large": ("size", lambda folder: (folder / "more.bin").write_bytes(b"x" * 600_000), "more.bin has 600000 bytes"),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", every(4, FAULTS))
def test_check_finds_what_a_loader_would_stumble_over(exported: Path, capfd: Any, fault: str) -> None:
    FAULTS[fault][1](exported)
    assert client.main(["skill", "check", str(exported), "--json"]) == 1
    found = json.loads(capfd.readouterr().out)
    assert not found["ok"] and FAULTS[fault][2] in " ".join(found["checked"][0]["faults"])


@pytest.mark.slow
def test_check_takes_the_folder_that_export_was_given(cli: Any, tmp_path: Path) -> None:
    assert cli("skill", "export", "out").code == 0
    for folder in ("out", "out/llm-router"):
        done = cli("skill", "check", folder)
        assert done.code == 0 and done.out.startswith(b"ok "), done


@pytest.mark.slow
def test_check_alone_looks_here_and_wherever_it_is_installed(cli: Any, tmp_path: Path) -> None:
    cli("skill", "install", "--agent", "opencode", "--project")
    page = tmp_path / ".opencode" / "skills" / "llm-router" / "SKILL.md"
    page.write_text(page.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    rows = cli("skill", "check", "--json").json["checked"]
    by_place = {row["where"]: row for row in rows}
    assert by_place["the skill here"]["current"] and not by_place["the skill here"]["faults"]
    assert not by_place[str(page.parent)]["current"] and not by_place[str(page.parent)]["faults"]


@pytest.mark.parametrize(
    "words",
    [["skill"], ["skill", "install"], ["skill", "install", "--agent", "cluade"], ["skill", "export"],
     ["skill", "check", "none"], ["skill", "install", "--agent", "claude", "--user", "--project"], ["docs", "nothing"]],
    ids=" ".join,
)  # fmt: skip
def test_wrong_usage_says_what_to_write(cli: Any, words: List[str]) -> None:
    done = cli(*words)
    assert done.code == 2 and b"next: " in done.err and not done.out


@pytest.mark.slow
def test_docs_lists_the_pages_and_shows_one(cli: Any) -> None:
    listed = cli("docs").out.decode()
    assert {line.split()[0] for line in listed.splitlines()} == set(pages.page_files())
    for name in ("security", "security.md", "CLI", "changelog"):
        assert cli("docs", name).out.startswith(b"# ")
    assert cli("docs", "security").out == (ROOT / "references" / "security.md").read_bytes()


@pytest.mark.slow
def test_the_skill_of_this_checkout_has_no_fault() -> None:
    assert not list(checkup.faults_of(skill.contents(skill.bundle()), "llm-router"))


def test_the_manifests_of_the_marketplace_name_this_version_and_the_skill_at_the_root() -> None:
    plugin = json.loads((ROOT / ".claude-plugin" / "plugin.json").read_text(encoding="utf-8"))
    [listed] = json.loads((ROOT / ".claude-plugin" / "marketplace.json").read_text(encoding="utf-8"))["plugins"]
    assert plugin["version"] == client.VERSION
    assert listed["name"] == plugin["name"] == "llm-router"
    assert [(ROOT / listed["source"] / folder / "SKILL.md").resolve() for folder in listed["skills"]] == [ROOT / "SKILL.md"]
