"""How the engine commands print what they found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edged.cli.output import print_json, print_table

if TYPE_CHECKING:
    from edged.engines.build.record import Record


def print_engines(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print one row for each task's engine."""
    print_table(
        ("TASK", "MODEL", "BACKEND", "WANTS", "PLACE", "STATE", "LOSS", "SPEED", "WHY"),
        [
            (
                row["task"],
                row["model"],
                ",".join(row["backend"]),
                row["precision"],
                _place(row),
                row["state"],
                "-" if row["drop"] is None else f"{row['drop']:.4f} {row['by']}",
                _two(row["speedup"], "x"),
                row["reason"],
            )
            for row in rows
        ],
    )


def _place(row: Mapping[str, Any]) -> str:
    """Return `gpu0`, `gpu0 twin`, `dla0 x4`; a star marks the one that a daemon takes where it may choose."""
    batch = f" x{row['batch']}" if row["place"].startswith("dla") else ""
    return f"{row['place']}{batch}{' twin' if row['twin'] else ''}{' *' if row['chosen'] else ''}"


def print_record(record: Record, wanted: int, then: str, *, as_json: bool) -> None:
    """Print which frames were taken, what they cover, and what comes then."""
    low, middle, high = record.brightness()
    coverage = record.coverage
    if as_json:
        print_json({
            "task": record.task, "sha256": record.sha256, "frames": len(record.notes), "cameras": record.per_camera(),
            "brightness": {"min": low, "median": middle, "max": high}, "input": str(record.seen),
            "folder": str(record.folder), "coverage": coverage.to_json(),
        })  # fmt: skip
        return
    print(f"task {record.task}: {len(record.notes)} frames of {record.seen} in {record.folder}")
    print(f"  of {coverage.candidates} candidates; {coverage.near_duplicates} near-duplicates were left out before")
    if len(record.notes) < wanted:
        print(f"  {wanted} were wanted: all are taken that differ")
    print(
        f"  coverage radius {coverage.radius:.2f}, of an evenly spread choice {coverage.radius_even:.2f}; "
        f"brightness {low:g} to {high:g}, median {middle:g}"
    )
    print_table(
        ("  CAMERA", "CANDIDATES", "ALIKE", "FRAMES", "BRIGHTNESS", "OBJECTS", "RADIUS", "EVENLY"),
        [
            (
                f"  {name}", one.candidates, one.near_duplicates, one.frames, "{} to {}".format(*one.brightness),
                _share(one.with_objects), f"{one.radius:.2f}", f"{one.radius_even:.2f}",
            )
            for name, one in coverage.cameras.items()
        ],
    )  # fmt: skip
    print_table(
        ("  PART", "FRAMES", "OBJECTS", "RADIUS"),
        [(f"  {name}", one.frames, _share(one.with_objects), f"{one.radius:.2f}")
         for name, one in coverage.parts.items()],
    )  # fmt: skip
    print(f"next: {then}")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def print_manifest(manifest: Mapping[str, Any]) -> None:
    """Print all that a manifest says."""
    key, about = manifest["key"], manifest["about"]
    print(f"{manifest['file']}: {key['model']}, {key['precision']} for {key['backend']}")
    for name, value in key["facts"].items():
        print(f"  {name}: {value}")
    print(f"  sha256: {manifest['sha256']}")
    for name, value in about.items():
        if name == "tried":
            print_table(("  TRIED", "MS", "FP32_MS", "LOSS"), [_tried_row(row) for row in value])
        elif isinstance(value, Mapping):
            print(f"  {name}: {', '.join(f'{one} {two}' for one, two in value.items())}")
        else:
            print(f"  {name}: {', '.join(value) if isinstance(value, list | tuple) else value}")
    print_figures(manifest["verified"])


def speedup(figures: Mapping[str, Any]) -> float | None:
    """Return how many times as fast as FP32 an engine is, where that is known."""
    fp32_ms, ms = figures.get("fp32_ms"), _ms(figures)
    return round(fp32_ms / ms, 2) if fp32_ms and ms else None


def _ms(figures: Mapping[str, Any]) -> float | None:
    found: float | None = figures.get("ms", figures.get("int8_ms"))
    return found


def _tried_row(row: Mapping[str, Any]) -> tuple[Any, ...]:
    loss = ", ".join(f"{task} {'-' if drop is None else format(drop, '.4f')}" for task, drop in row["drop"].items())
    return (f"  {row['recipe']}", f"{row['int8_ms']:.2f}", f"{row['fp32_ms']:.2f}", loss)


def _two(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.2f}{unit}"


def print_figures(verified: Mapping[str, Mapping[str, Any]]) -> None:
    """Print how an engine compares with FP32, one row for each task."""
    names = ("ap50", "f1", "lane_f1", "mask_f1", "mask_equal")

    def cell(value: float | None) -> str:
        return "-" if value is None else f"{value:.4f}"

    print_table(
        ("TASK", "FRAMES", "TRUTHS", *(name.upper() for name in names), "LOSS", "LIMIT", "FP32_MS", "MS", "SPEED"),
        [
            (
                task, row["frames"], row["truths"], *(cell(row[name]) for name in names), cell(row["drop"]),
                f"{row['limit']:g}", _two(row["fp32_ms"]), _two(_ms(row)), _two(speedup(row), "x"),
            )
            for task, row in verified.items()
        ],
    )  # fmt: skip
