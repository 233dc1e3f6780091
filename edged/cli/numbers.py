"""Numbers as arguments of commands: types for argparse that refuse what is out of range."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def real(least: float, most: float) -> Callable[[str], float]:
    """Return the type of a number within limits."""

    def parsed(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a number from {least:g} to {most:g}, got {text!r}")
        return value

    return parsed


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return the type of a whole number within limits."""

    def parsed(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, got {text!r}")
        return value

    return parsed
