"""A parser's own options: each is read once, checked, and what nobody read is refused."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edged.errors import ConfigError, did_you_mean


class Options:
    """Reads the `options` of one parser. Call `close` after the last one: it refuses unknown names.

    Every method raises `ConfigError` that names parser, option, value and what is allowed.
    """

    def __init__(self, parser: str, values: Mapping[str, Any]) -> None:
        self._parser = parser
        self._values = dict(values)
        self._known: list[str] = []

    def value(self, name: str, default: Any) -> Any:
        """Return the option as it was written, unchecked."""
        self._known.append(name)
        return self._values.get(name, default)

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self.value(name, default)
        if not isinstance(value, bool):
            raise self.fault(name, value, "true or false")
        return value

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        """Return a whole number in low..high."""
        value = self.value(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fault(name, value, f"a whole number from {low} to {high}")
        return value

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """Return a number in low..high."""
        value = self.value(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.fault(name, value, f"a number from {low:g} to {high:g}")
        return float(value)

    def choice(self, name: str, default: str | None, allowed: Sequence[str]) -> str | None:
        """Return one of the allowed names, or the default where the option is absent."""
        value = self.value(name, default)
        if value is not default and value not in allowed:
            raise self.fault(name, value, f"one of {', '.join(allowed)}")
        return default if value is default else str(value)

    def numbers(self, name: str, default: Sequence[float]) -> tuple[float, ...]:
        """Return a list of finite numbers above 0."""
        value = self.value(name, default)
        if not is_numbers(value):
            raise self.fault(name, value, "a list of numbers above 0")
        return tuple(float(item) for item in value)

    def fault(self, name: str, value: object, allowed: str) -> ConfigError:
        """Return the error for an option whose value does not do."""
        return ConfigError(f"option {name!r} of parser {self._parser!r} is {allowed}, got {value!r}")

    def close(self) -> None:
        """Refuse options that were not read."""
        for name in self._values:
            if name not in self._known:
                hint = did_you_mean(str(name), self._known, then=f"allowed: {', '.join(sorted(self._known))}")
                raise ConfigError(f"parser {self._parser!r} has no option {name!r}; {hint}")


def is_numbers(value: object) -> bool:
    """Tell whether this is a non-empty list of finite numbers above 0."""
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(
            isinstance(item, int | float) and not isinstance(item, bool) and math.isfinite(item) and item > 0
            for item in value
        )
    )
