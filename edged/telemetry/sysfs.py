"""Small files of the kernel's /sys. Reading never fails: what cannot be read is None."""

from __future__ import annotations

from pathlib import Path

READ_MAX_BYTES = 4096


def folders(folder: Path, pattern: str) -> list[Path]:
    """Return what matches in a folder, in order; nothing where it cannot be listed."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []


def text(path: Path) -> str | None:
    """Return a small file's text, None where it cannot be read: gone, refused, or busy (EPERM, EAGAIN, EINVAL)."""
    try:
        with path.open("rb") as file:
            return file.read(READ_MAX_BYTES).decode("ascii").strip()
    except (OSError, ValueError):
        return None


def number(path: Path) -> float | None:
    """Return a file's whole number, None for anything else."""
    found = text(path)
    if found is None or not found.removeprefix("-").isdigit() or len(found) > 15:
        return None
    return float(found)
