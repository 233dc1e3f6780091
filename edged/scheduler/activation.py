"""Which tasks are wanted, and by whom: configuration, command, subscription."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from edged.config import TaskConfig
from edged.errors import UsageError


class Activation:
    """The active set. A command outweighs the configuration until the daemon ends. One thread's use."""

    def __init__(self, tasks: Mapping[str, TaskConfig]) -> None:
        self._tasks = tasks
        self._commanded: dict[str, bool] = {}
        self._listened: frozenset[str] = frozenset()

    def of(self, task: str) -> tuple[bool, str]:
        """Return whether a task is wanted now, and why, in words."""
        if task in self._commanded:
            active = self._commanded[task]
            return active, f"{'activated' if active else 'deactivated'} by command"
        config = self._tasks[task]
        if config.when is not None or config.after is not None:
            rule = "when" if config.when is not None else "after"
            return False, f"{rule} is not evaluated by this version; run: edged task activate {task}"
        if config.active == "on_subscribe":
            listened = task in self._listened
            return listened, "somebody subscribes" if listened else "nobody subscribes"
        return bool(config.active), "configured" if config.active else "active: false"

    def command(self, tasks: Any, active: bool) -> None:
        """Activate or deactivate tasks, all of them or, where one is unknown, none.

        Raises:
            UsageError: not a list of known names; the text has the nearest one and all that there are.
        """
        if not isinstance(tasks, (list, tuple)) or not tasks or not all(isinstance(name, str) for name in tasks):
            raise UsageError(f"tasks must be a list of task names; there are {', '.join(self._tasks)}")
        for name in tasks:
            if name not in self._tasks:
                near = difflib.get_close_matches(name, self._tasks, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                raise UsageError(f"no task {name[:64]!r}; {hint}there are {', '.join(self._tasks)}")
        self._commanded.update(dict.fromkeys(tasks, active))

    def listened_to(self, tasks: frozenset[str]) -> None:
        """Take note of the tasks whose results somebody subscribes to."""
        self._listened = tasks
