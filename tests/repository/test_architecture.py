"""references/architecture.md agrees with the code: the picture, the floors, the modules it names, the figures it quotes."""

import importlib.util
import re
from pathlib import Path
from typing import List

import draw_architecture
import pytest

import llm_router_client

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "scripts" / "llm_router_gateway"
PAGE = (ROOT / "references" / "architecture.md").read_text(encoding="utf-8")
LAW = (ROOT / "tests" / "gateway" / "test_rooms.py").read_text(encoding="utf-8")
BENCH = (ROOT / "tests" / "bench" / "README.md").read_text(encoding="utf-8")
FLOORS = [[room.name for room in floor] for floor in reversed(draw_architecture.FLOORS)]  # the lowest first


def names_in(assignment: str) -> List[str]:
    """The strings of a tuple or set in test_rooms: names_in("ROOMS") -> ["errors", "jq", ...]."""
    block = re.search(rf"(?s)\n{assignment} = [({{](.*?)[)}}]", LAW)
    assert block, assignment
    return re.findall(r'"(\w+)"', block[1])


def chapter(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_the_picture_is_the_one_that_the_script_draws() -> None:
    drawn = draw_architecture.PICTURE.read_text(encoding="utf-8")
    assert drawn == draw_architecture.drawing(), "run: python3 tests/support/draw_architecture.py --write"


def test_the_picture_has_every_room_on_its_floor() -> None:
    rooms = names_in("ROOMS")
    assert sorted(rooms) == sorted(room for floor in FLOORS for room in floor)
    floors = [number for room in rooms for number, floor in enumerate(FLOORS) if room in floor]
    assert floors == sorted(floors), "a room stands below one that it may import"


def test_the_picture_marks_the_pure_rooms() -> None:
    marked = {room.name for floor in draw_architecture.FLOORS for room in floor if room.pure}
    assert marked == set(names_in("PURE"))


def test_the_table_of_rooms_is_the_picture() -> None:
    rows = re.findall(r"(?m)^\| (\d) \| (.*?) \|", chapter("The picture"))
    listed = {room: int(floor) for floor, rooms in rows for room in re.findall(r"`(\w+)`", rooms)}
    assert listed == {room: number for number, floor in enumerate(FLOORS, 1) for room in floor}


def test_every_module_named_exists() -> None:
    rooms = "|".join(room for floor in FLOORS for room in floor)
    named = set(re.findall(rf"`((?:{rooms})/\w+)`", PAGE))
    assert len(named) > 20
    assert not [name for name in named if not (PACKAGE / f"{name}.py").exists() and not (PACKAGE / name).is_dir()]


def test_every_step_of_the_chat_is_in_the_client() -> None:
    walk = re.sub(r"(?s)```.*?```", "", chapter("A chat, from command line to wire"))
    named = {name.partition(".") for name in re.findall(r"`([A-Za-z_]\w*(?:\.\w+)?)`", walk)}
    known = [(owner, member) for owner, _, member in named if hasattr(llm_router_client, owner)]
    assert len(known) > 12
    for owner, member in known:
        assert not member or hasattr(getattr(llm_router_client, owner), member), f"{owner}.{member}"
    outside = {owner for owner, _, _ in named} - {owner for owner, _ in known}
    assert all(importlib.util.find_spec(name) for name in outside), outside


@pytest.mark.parametrize("figure", sorted(set(re.findall(r"\b\d[\d.,]* (?:us|ms|s|KiB|MiB)\b", chapter("Decisions")))))
def test_every_figure_is_one_that_was_measured(figure: str) -> None:
    number, unit = figure.split()
    assert re.search(rf"(?<![\d.,]){re.escape(number)}(?:\.0)? {unit}\b", BENCH), f"{figure} is not in tests/bench/README.md"
