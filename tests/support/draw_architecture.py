#!/usr/bin/env python3
"""Draws references/architecture.svg: the gateway's rooms floor by floor, and the client beside them.

  python3 tests/support/draw_architecture.py           exits 1 when the picture is not the one that this draws
  python3 tests/support/draw_architecture.py --write   draws it

The picture has its own background and colours for light and dark, and no text in a font that a reader may lack.
"""

import sys
from pathlib import Path
from typing import NamedTuple
from xml.sax.saxutils import escape

PICTURE = Path(__file__).resolve().parents[2] / "references" / "architecture.svg"


class Room(NamedTuple):
    name: str
    text: str
    share: int = 1  # of its floor's width
    pure: bool = False  # touches no clock, random source, socket, file, database or environment


FLOORS = (  # the top floor first; the order within a floor is that of the drawing
    (Room("commands", "serve, workers, check, convert, explain, keys, install", 3), Room("__main__", "entry", 1)),
    (Room("cluster", "one gateway in several processes: home and workers"),),
    (Room("management", "monitor page, statistics, metrics, keys API"),
     Room("proxy", "one request: admit, choose, send, record")),
    (Room("routing", "which member answers, in which order", pure=True),
     Room("access", "who calls: keys, sessions, Host, Origin")),
    (Room("config", "router.toml to one Config", pure=True), Room("store", "calls, keys, prices; SQLite"),
     Room("limiter", "limits and budgets in use"), Room("telemetry", "spans and metrics, OTLP", pure=True)),
    (Room("policy", "arithmetic of limits, budgets, health", pure=True),
     Room("wire", "protocols, the neutral form between them", pure=True)),
    (Room("net", "HTTP/1.1: server, client, routes; messages", 2), Room("json_body", "a body, read once", 1, pure=True)),
    (Room("jq", "the selector language", pure=True), Room("errors", "failures, in no vendor's shape", pure=True)),
)  # fmt: skip
CLIENT = (
    "command line (argparse)", "LLMRouterClient", "transport (urllib)", "policy: retry, fallback", "wire shapes",
    "server-sent events", "errors",
)  # fmt: skip

LEFT, TOP, WIDTH, HEIGHT, GAP = 56, 64, 620, 62, 12
SIDE, SIDE_WIDTH = 764, 222
TOTAL_WIDTH = SIDE + SIDE_WIDTH + 20
BOTTOM = TOP + len(FLOORS) * (HEIGHT + GAP)
TOTAL_HEIGHT = BOTTOM + 92
STYLE = """\
  <style>
    svg { color-scheme: light dark }
    text { font-family: system-ui, -apple-system, "Segoe UI", "Liberation Sans", Arial, sans-serif; fill: #1f2328 }
    .paper { fill: #ffffff }
    .room { fill: #eef1f5; stroke: #8c959f }
    .pure { fill: #ddf4e4; stroke: #4a9d63 }
    .side { fill: #e6f0fb; stroke: #5b8fc7 }
    .name { font-size: 16px; font-weight: 600 }
    .small { font-size: 12.5px }
    .faint { font-size: 12.5px; fill: #59636e }
    .line { stroke: #59636e; stroke-width: 1.5; fill: none }
    .tip { fill: #59636e }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .paper { fill: #0d1117 }
      .room { fill: #21262d; stroke: #6e7681 }
      .pure { fill: #12361f; stroke: #4a9d63 }
      .side { fill: #13294a; stroke: #5b8fc7 }
      .faint { fill: #9198a1 }
      .line { stroke: #9198a1 }
      .tip { fill: #9198a1 }
    }
  </style>
  <defs>
    <marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">
      <path class="tip" d="M0 0 L10 5 L0 10 z"/>
    </marker>
  </defs>"""


def text(x: float, y: float, words: str, kind: str, anchor: str = "start") -> str:
    return f'  <text x="{x:g}" y="{y:g}" class="{kind}" text-anchor="{anchor}">{escape(words)}</text>'


def box(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'  <rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="7" class="{kind}"/>'


def arrow(path: str, dashed: bool = False) -> str:
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f'  <path class="line" d="{path}"{dashes} marker-end="url(#tip)"/>'


def y_of(floor: int) -> float:
    """The top edge of a floor; 0 is the highest."""
    return TOP + floor * (HEIGHT + GAP)


def floor_of(name: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if name in (room.name for room in rooms))


def rooms() -> list[str]:
    lines = []
    for number, floor in enumerate(FLOORS):
        y, x, unit = y_of(number), float(LEFT), (WIDTH - GAP * (len(floor) - 1)) / sum(room.share for room in floor)
        lines.append(text(LEFT - 18, y + HEIGHT / 2 + 5, str(len(FLOORS) - number), "faint", "middle"))
        for room in floor:
            width = unit * room.share
            lines += [
                box(x, y, width, HEIGHT, "pure" if room.pure else "room"),
                text(x + 12, y + 26, room.name, "name"),
                text(x + 12, y + 47, room.text, "small"),
            ]
            x += width + GAP
    return lines


def client() -> list[str]:
    """The client file with its parts, what stands beside it, and the one thread between the two houses."""
    lines = [
        box(SIDE, TOP, SIDE_WIDTH, 84, "side"),
        text(SIDE + 12, TOP + 24, "llm-router", "name"), text(SIDE + 122, TOP + 24, "launcher", "small"),
        text(SIDE + 12, TOP + 48, "llm_router_batch.py", "small"),
        text(SIDE + 12, TOP + 70, "llm_router_extras/  on demand", "small"),
    ]  # fmt: skip
    top = TOP + 84 + GAP
    height = 46 + 38 * len(CLIENT)
    lines += [box(SIDE, top, SIDE_WIDTH, height, "side"), text(SIDE + 12, top + 26, "llm_router_client.py", "name")]
    for number, part in enumerate(CLIENT):
        y = top + 40 + 38 * number
        lines += [box(SIDE + 10, y, SIDE_WIDTH - 20, 32, "room"), text(SIDE + 20, y + 21, part, "small")]
    events = top + 40 + 38 * CLIENT.index("server-sent events") + 16
    wire, bend = y_of(floor_of("wire")) + HEIGHT / 2, LEFT + WIDTH + 22
    lines += [
        arrow(f"M{LEFT + WIDTH} {wire} H{bend} V{events} H{SIDE + 8}", dashed=True),
        text(bend + 8, events + 18, "parser", "faint"),
    ]
    return lines


def edges() -> list[str]:
    """Titles, the law, and where bytes come in and go out."""
    end = y_of(len(FLOORS) - 1) + HEIGHT
    y, middle = BOTTOM + 30, LEFT + WIDTH / 2
    return [
        text(LEFT, TOP - 22, "The gateway: llm_router_gateway/", "name"), text(SIDE, TOP - 22, "The client", "name"),
        arrow(f"M{LEFT - 34} {TOP + 4} V{end - 4}"),
        text(LEFT, y, "Imports go down, never up.", "small"),
        box(LEFT + 196, y - 13, 16, 16, "pure"), text(LEFT + 218, y, "pure: values in, values out", "small"),
        text(middle, y + 34, "callers  →  net/server  →  proxy  →  wire  →  net/client  →  providers", "name", "middle"),
    ]  # fmt: skip


def drawing() -> str:
    """The whole picture, as SVG."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {TOTAL_WIDTH} {TOTAL_HEIGHT}" width="{TOTAL_WIDTH}" '
        f'height="{TOTAL_HEIGHT}" role="img" aria-labelledby="title">\n'
        '  <title id="title">The rooms of the gateway on seven floors, and the client beside them</title>'
    )
    paper = f'  <rect width="{TOTAL_WIDTH}" height="{TOTAL_HEIGHT}" class="paper"/>'
    return "\n".join([head, STYLE, paper, *edges(), *rooms(), *client(), "</svg>", ""])


def main(words: list[str]) -> int:
    if words == ["--write"]:
        PICTURE.write_text(drawing(), encoding="utf-8")
    same = PICTURE.exists() and PICTURE.read_text(encoding="utf-8") == drawing()
    if not same:
        print(f"{PICTURE.name} is not what this draws: run it with --write")
    return int(not same)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
