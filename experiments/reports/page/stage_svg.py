"""The stage graph as one SVG: boxes by depth, an arrow for each input that others do not imply."""

import statistics
from collections.abc import Sequence
from html import escape
from itertools import pairwise

from experiments.reports.stages import StageNode

WIDTH, HEIGHT, ACROSS, LANE, DOWN, MARGIN = 128, 68, 26, 12, 18, 8
STYLE = (
    ".stage rect{fill:#fff;stroke:#888;stroke-width:1.2}.stage.started rect{stroke-dasharray:5 3}"
    ".stage.missing rect{stroke-dasharray:2 3;fill:none}.stage text{font:11px system-ui,sans-serif;fill:#333}"
    ".stage .name{font-weight:600}.arrow{fill:none;stroke:#999;stroke-width:1.3}.head{fill:#999}"
)
Point = tuple[float, float]


def stage_svg(nodes: Sequence[StageNode], style: str = STYLE) -> str:
    """A self-contained <svg>; each box is a <g class="stage <state>" data-part="<name>">. style: CSS inside it."""
    columns, routes = _columns(nodes)
    heights = [sum(_height(one) + DOWN for one in column) - DOWN for column in columns]
    total, width = max(heights, default=0) + 2 * MARGIN, len(columns) * (WIDTH + ACROSS) - ACROSS + 2 * MARGIN
    places: dict[object, Point] = {}  # left, middle
    for depth, column in enumerate(columns):
        top = (total - heights[depth]) / 2
        for one in column:
            places[_name(one)] = (MARGIN + depth * (WIDTH + ACROSS), top + _height(one) / 2)
            top += _height(one) + DOWN
    arrows = "".join(_arrow([places[stop] for stop in route]) for route in routes)
    boxes = "".join(_box(node, *places[node.name]) for node in nodes)
    what = f"Stage graph: {', '.join(f'{n.name} {n.finished} of {len(n.artifacts)} finished' for n in nodes)}"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {total:g}" width="{width:g}" '
        f'height="{total:g}" role="group" aria-label="{escape(what)}"><style>{style}</style>'
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        f'orient="auto"><path class="head" d="M0 0 8 4 0 8z"/></marker></defs>{arrows}{boxes}</svg>'
    )


def _columns(nodes: Sequence[StageNode]) -> tuple[list[list], list[list]]:
    """Boxes and lanes by depth, and each arrow's stops: an arrow that skips columns has a lane in each (Sugiyama)."""
    columns: list[list] = [[] for _ in range(max((node.depth for node in nodes), default=-1) + 1)]
    depths = {node.name: node.depth for node in nodes}
    routes, comes_from = [], {}
    for node in nodes:
        columns[node.depth].append(node)
        for source in node.inputs:
            lanes = [(source, node.name, depth) for depth in range(depths[source] + 1, node.depth)]
            route = [source, *lanes, node.name]
            for lane in lanes:
                columns[lane[2]].append(lane)
            for start, end in pairwise(route):
                comes_from.setdefault(end, []).append(start)
            routes.append(route)
    heights: dict[object, float] = {}
    for column in columns:  # beside what they come from, so that arrows rarely cross
        column.sort(key=lambda one: statistics.fmean([heights[s] for s in comes_from.get(_name(one), [])] or [0]))
        heights |= {_name(one): row - (len(column) - 1) / 2 for row, one in enumerate(column)}
    return columns, routes


def _name(one: StageNode | tuple) -> object:
    return one.name if isinstance(one, StageNode) else one


def _height(one: StageNode | tuple) -> float:
    return HEIGHT if isinstance(one, StageNode) else LANE


def _arrow(stops: Sequence[Point]) -> str:
    """Out of the first box, level along each lane, into the last box."""
    x, y = stops[0][0] + WIDTH, stops[0][1]
    path = f"M{x:g} {y:g}"
    for i, (left, middle) in enumerate(stops[1:], start=1):
        end = left - (2 if i == len(stops) - 1 else 0)
        bend = (end - x) / 2
        path += f"C{x + bend:g} {y:g} {end - bend:g} {middle:g} {end:g} {middle:g}"
        x, y = left + WIDTH, middle
        if i < len(stops) - 1:
            path += f"H{x:g}"
    return f'<path class="arrow" marker-end="url(#head)" d="{path}"/>'


def _box(node: StageNode, x: float, middle: float) -> str:
    count, y = len(node.artifacts), middle - HEIGHT / 2
    what = node.artifacts[0]["key"][:10] if count == 1 else f"{node.finished} of {count}"
    took = node.state if node.seconds is None else f"{node.state}, {duration(node.seconds)}"
    lines = [("name", node.name), ("key", what), ("seconds", took)]
    size = min(13.5, (WIDTH - 18) / (0.6 * len(node.name)))
    style = f' style="font-size:{size:.3g}px"'
    texts = "".join(
        f'<text class="{kind}" x="{x + 10:g}" y="{y + 22 + 18 * i:g}"'
        f"{style if kind == 'name' else ''}>{escape(text)}</text>"
        for i, (kind, text) in enumerate(lines)
    )
    return (
        f'<g class="stage {node.state}" data-part="{escape(node.name)}">'
        f'<rect x="{x:g}" y="{y:g}" width="{WIDTH}" height="{HEIGHT}" rx="8"/>{texts}</g>'
    )


def duration(seconds: float) -> str:
    """Two or three figures with their unit."""
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
