"""Names from configuration files -> classes, imported only when asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from edged.errors import BackendUnavailable, ConfigError, did_you_mean, foreign

T = TypeVar("T")


@dataclass(frozen=True)
class Spec:
    """One row of a table: `target` is `package.module:Class`, `needs` what a person must install for it.

    A row without a target is known, so that configurations may name it, and is not in this version.
    """

    target: str | None
    needs: str


class Registry(Generic[T]):
    """Turns a name from a configuration file into a class. The only place that does.

    Args:
        kind: what the names stand for, in error texts ("parser").
        specs: the built-in rows.
        entry_points: group in which installed packages add their own names; a built-in name cannot be replaced.
        guard: what a package's class comes behind: its name, its package in words, the class.
    """

    def __init__(
        self,
        kind: str,
        specs: Mapping[str, Spec],
        entry_points: str | None = None,
        guard: Callable[[str, str, Any], Any] = lambda name, package, found: found,
    ) -> None:
        self.kind = kind
        self._specs = dict(specs)
        self._group, self._guard = entry_points, guard

    def names(self) -> list[str]:
        """Return the built-in names in table order, then those of plug-ins."""
        return [*self._specs, *(name for name in self._plugins() if name not in self._specs)]

    def load(self, name: str) -> type[T]:
        """Import and return the class of `name`.

        Raises:
            ConfigError: no such name; the text has the nearest one or all of them. Or a package's code does not work.
            BackendUnavailable: a library it needs is missing.
        """
        if name in self._specs:
            spec = self._specs[name]
            if spec.target is None:
                raise BackendUnavailable(f"{self.kind} {name!r} needs {spec.needs}")
            return self._import(name, spec.target, spec.needs)
        self.check(name)
        plugin = self._plugins()[name]
        package = f"the plug-in {plugin.dist.name if plugin.dist else name!r}"
        try:
            found = self._import(name, plugin.value, package)
        except (BackendUnavailable, KeyboardInterrupt):
            raise
        except BaseException as exc:
            raise ConfigError(f"{self.kind} {name!r} of {package} cannot be imported: {foreign(exc)}") from exc
        guarded: type[T] = self._guard(name, package, found)
        return guarded

    def check(self, name: str) -> None:
        """Raise `ConfigError` for an unknown name, without importing anything."""
        if name not in self.names():
            hint = did_you_mean(name, self.names()) or f"choose from {', '.join(self.names())}"
            raise ConfigError(f"unknown {self.kind} {name!r}; {hint}")

    def _plugins(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self._group)} if self._group else {}

    def _import(self, name: str, target: str, needs: str) -> type[T]:
        module, _, attribute = target.partition(":")
        try:
            found: type[T] = getattr(importlib.import_module(module), attribute)
        except ImportError as exc:
            if (exc.name or "").partition(".")[0] == "edged":
                raise  # our own bug: never dress it up as a missing option
            raise BackendUnavailable(f"{self.kind} {name!r} needs {needs} ({exc})") from exc
        return found
