"""The view as lines of styled text: pure, the same for a terminal and for a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edged.demo.view import CameraRow, Seen, TaskRow, View

CODES: Mapping[str, str] = {
    "title": "1",
    "dim": "2",
    "good": "32",
    "warn": "33",
    "bad": "31",
    "pedestrian": "33",
    "vehicle": "36",
    "lane": "32",
}
"""Style -> ANSI code. A style that is not here is plain."""

SCORES_MAX = 4
STATE_STYLES = {"active": "good", "running": "good", "hot": "good", "inactive": "dim", "parked": "dim", "cold": "dim"}


@dataclass(frozen=True)
class Span:
    """A piece of a line, in one style."""

    text: str
    style: str = ""


Line = tuple[Span, ...]


def plain(line: Line) -> str:
    """Return a line's text."""
    return "".join(span.text for span in line).rstrip()


def painted(line: Line, width: int, color: bool) -> str:
    """Return a line cut to `width` columns, with ANSI colours if they are wanted."""
    pieces, left = [], width
    for span in line:
        text = span.text[:left]
        left -= len(text)
        code = CODES.get(span.style) if color else None
        pieces.append(f"\x1b[{code}m{text}\x1b[0m" if code and text else text)
    return "".join(pieces)


def render(view: View, now_s: float, elapsed_s: float, seconds: float) -> list[Line]:
    """Return the whole live view: the daemon, its tasks, its cameras."""
    return [
        _head(view, now_s, elapsed_s, seconds),
        (),
        *_table(("TASK", "", "STATE", "HZ", "WHY"), [_task(name, row) for name, row in view.tasks.items()]),
        (),
        *_table(
            ("CAMERA", "MODE", "STATE", "HZ", "P50 MS", "LAST RESULTS"),
            [_camera(view, name, row, now_s) for name, row in view.cameras.items()],
        ),
    ]


def found_text(one: Seen) -> str:
    """Say what a result found: `pedestrian 0.93, 0.71`, `2 lanes`."""
    scores: dict[str, list[float]] = {}
    for box in one.boxes:
        scores.setdefault(box.label, []).append(box.score)
    parts = [f"{label} {_scores(values)}" for label, values in scores.items()]
    if one.lanes:
        parts.append(f"{len(one.lanes)} lane{'s' if len(one.lanes) > 1 else ''}")
    return "; ".join(parts) or f"no {one.task}"


def _scores(values: Sequence[float]) -> str:
    best = sorted(values, reverse=True)
    more = f" and {len(best) - SCORES_MAX} more" if len(best) > SCORES_MAX else ""
    return ", ".join(f"{score:.2f}" for score in best[:SCORES_MAX]) + more


def _head(view: View, now_s: float, elapsed_s: float, seconds: float) -> Line:
    parts = [f"  {min(elapsed_s, seconds):.0f} s of {seconds:g} s", f"{view.results_per_s(now_s)} results/s"]
    if view.cpu_cores is not None:
        parts.append(f"{view.cpu_cores:.2f} cores")
    if view.rss_mb is not None:
        parts.append(f"{view.rss_mb:.0f} MB")
    return (Span("edged demo", "title"), Span("   ".join(parts)))


def _task(name: str, row: TaskRow) -> tuple[Line, ...]:
    return (
        (Span(name, name),),
        (Span("on" if row.on else "off", "title" if row.on else "dim"),),
        (Span(row.state, STATE_STYLES.get(row.state, "warn")),),
        (Span(f"{row.rate_hz:.1f}" if row.on else "-"),),
        (Span(row.reason, "dim"),),
    )


def _camera(view: View, name: str, row: CameraRow, now_s: float) -> tuple[Line, ...]:
    hot = row.mode == "hot"
    latency_ms = view.latency_ms(name, now_s) if hot else None
    return (
        (Span(name, "" if hot else "dim"),),
        (Span(row.mode, STATE_STYLES.get(row.mode, "")),),
        (Span(row.state, STATE_STYLES.get(row.state, "bad") if hot else "dim"),),
        (Span(f"{row.rate_hz:.1f}" if hot else "-"),),
        (Span("-" if latency_ms is None else f"{latency_ms:.0f}"),),
        _last(view, name, row, now_s),
    )


def _last(view: View, name: str, row: CameraRow, now_s: float) -> Line:
    if row.mode != "hot" or row.state != "running":
        return (Span(row.reason, "dim"),)
    spans: list[Span] = []
    for task, one in view.newest(name, now_s).items():
        nothing = not (one.boxes or one.lanes)
        spans += [Span("; ")] if spans else []
        spans.append(Span(found_text(one), "dim" if nothing else task))
    return tuple(spans) or (Span("-", "dim"),)


def _table(header: Sequence[str], rows: Sequence[tuple[Line, ...]]) -> list[Line]:
    """Put cells in columns as wide as their widest; numbers to the right, the last column as long as it is."""
    cells = [tuple((Span(name, "dim"),) for name in header), *rows]
    widths = [max(len(plain(row[column])) for row in cells) for column in range(len(header))]
    right = [name in ("HZ", "P50 MS") for name in header]
    return [tuple(_spread(row, widths, right)) for row in cells]


def _spread(row: Sequence[Line], widths: Sequence[int], right: Sequence[bool]) -> list[Span]:
    spans: list[Span] = []
    for cell, width, to_right in zip(row[:-1], widths, right, strict=False):
        pad = Span(" " * (width - len(plain(cell))))
        spans += [pad, *cell] if to_right else [*cell, pad]
        spans.append(Span("  "))
    return [*spans, *row[-1]]
