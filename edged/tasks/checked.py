"""A plug-in's parser behind a check: its bugs cost its own results, and what it returns goes to other programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from edged.errors import BackendUnavailable, ConfigError, foreign
from edged.geometry import Fit
from edged.results import Box, Found, Lane, Mask
from edged.tasks.base import ParserSettings, Parsing
from edged.tasks.boxes import MOST_SCORE
from edged.tensor import InputFormat, ModelSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

T = TypeVar("T")

DEPTH_MAX = 16  # of lists and maps in each other, in `attrs`
INT_MIN, INT_MAX = -(2**63), 2**64 - 1  # that a message can carry


class CheckedClass:
    """Stands for a plug-in's class, and makes parsers that are checked.

    Args:
        name: the parser's, for error texts.
        package: where it comes from, in words.
        found: what the package gives for that name.

    Raises:
        ConfigError: it is no class of parsers.
    """

    def __init__(self, name: str, package: str, found: Any) -> None:
        self._name, self._whose, self._class = name, f"parser {name!r} of {package}", found
        self.input = getattr(found, "input", None)
        if not isinstance(self.input, InputFormat):
            raise ConfigError(f"{self._whose} has {self.input!r} as `input` in place of an edged.tensor.InputFormat")
        if not callable(getattr(found, "parse", None)):
            raise ConfigError(f"{self._whose} has no method `parse`")

    def __call__(self, model: ModelSpec, settings: ParserSettings) -> Checked:
        """Return a parser.

        Raises:
            ConfigError: model or settings do not fit, or its code does not work.
            BackendUnavailable: it lacks something.
        """
        try:
            return Checked(self._name, self._class(model, settings))
        except (ConfigError, BackendUnavailable, KeyboardInterrupt):
            raise
        except BaseException as exc:
            raise ConfigError(f"{self._whose} fails when it is made: {foreign(exc)}") from exc


class Checked:
    """Calls a parser and makes what it returns plain: numpy's numbers become Python's, lists become tuples.

    Args:
        name: the parser's, for error texts.
        parser: one that is not edged's own.
    """

    def __init__(self, name: str, parser: Parsing) -> None:
        self._name, self._parser = name, parser

    def parse(self, outputs: Mapping[str, NDArray[np.generic]], index: int, fit: Fit) -> Found:
        """Return what the parser found.

        Raises:
            TypeError: something that no message can carry; the text names parser, field and type.
            RuntimeError: the parser would have ended this thread.
            Exception: whatever else the parser raises.
        """
        try:
            found = self._parser.parse(ReadOnly(outputs), index, fit)
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as exc:
            raise RuntimeError(f"parser {self._name!r} wants to end this thread: {foreign(exc)}") from exc
        try:
            return _found(found)
        except TypeError as exc:
            raise TypeError(f"parser {self._name!r} returned {exc}") from exc


class ReadOnly(Mapping[str, Any]):
    """An engine's outputs for one parser among several: what it writes to them would be another's result."""

    def __init__(self, outputs: Mapping[str, NDArray[np.generic]]) -> None:
        self._outputs = outputs
        self.picked = getattr(outputs, "picked", None)

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        view: NDArray[np.generic] = self._outputs[name].view()
        view.flags.writeable = False
        return view

    def __iter__(self) -> Iterator[str]:
        return iter(self._outputs)

    def __len__(self) -> int:
        return len(self._outputs)


def _found(found: Any) -> Found:
    _be(found, Found, "a result")
    lanes = None if found.lanes is None else _each(found.lanes, _lane, "lanes")
    return Found(_each(found.boxes, _box, "boxes"), lanes, _each(found.masks, _mask, "masks"))


def _box(box: Any) -> Box:
    _be(box, Box)
    return Box(
        _text(box.label, ".label"),
        _whole(box.class_id, ".class_id"),
        _score(box.score),
        _number(box.x1, ".x1"),
        _number(box.y1, ".y1"),
        _number(box.x2, ".x2"),
        _number(box.y2, ".y2"),
        None if box.track_id is None else _whole(box.track_id, ".track_id"),
        None if box.attrs is None else _plain(_be(box.attrs, Mapping, ".attrs"), ".attrs", DEPTH_MAX),
    )


def _lane(lane: Any) -> Lane:
    _be(lane, Lane)
    return Lane(_text(lane.kind, ".kind"), _score(lane.score), _each(lane.points, _point, ".points"))


def _point(point: Any) -> tuple[float, float]:
    x, y = _numbers(point, 2)
    return x, y


def _mask(mask: Any) -> Mask:
    _be(mask, Mask)
    x1, y1, x2, y2 = _numbers(mask.box, 4, ".box")
    width, height, bits = _whole(mask.width, ".width"), _whole(mask.height, ".height"), _be(mask.bits, bytes, ".bits")
    return Mask(_text(mask.kind, ".kind"), width, height, (x1, y1, x2, y2), bits)


def _each(values: Any, convert: Callable[[Any], T], at: str) -> tuple[T, ...]:
    """Return what each item becomes. An array is a sequence too: of points, say."""
    items = []
    for index, value in enumerate(_be(values, (list, tuple, np.ndarray), at)):
        try:
            items.append(convert(value))
        except TypeError as exc:
            raise TypeError(f"{at}[{index}]{exc}") from exc
    return tuple(items)


def _numbers(values: Any, count: int, at: str = "") -> tuple[float, ...]:
    found = _each(values, _number, at)
    if len(found) != count:
        raise TypeError(f"{at} with {len(found)} numbers in place of {count}")
    return found


def _number(value: Any, at: str = "") -> float:
    number = value if type(value) is float else float(_be(value, (float, int, np.floating, np.integer), at))
    if not isfinite(number):
        raise TypeError(f"{at} as {number}, which is no number that a message may have")
    return number


def _score(value: Any) -> float:
    score = _number(value, ".score")
    if not 0.0 <= score <= MOST_SCORE:
        raise TypeError(f".score as {score:g}; allowed is 0 to 1")
    return min(score, 1.0)


def _whole(value: Any, at: str) -> int:
    number = int(_be(value, (int, np.integer), at))
    if not INT_MIN <= number <= INT_MAX:
        raise TypeError(f"{at} as a number of {number.bit_length()} bits, a message has 64 for it")
    return number


def _text(value: Any, at: str) -> str:
    try:
        _be(value, str, at).encode()
    except UnicodeEncodeError as exc:
        raise TypeError(f"{at} as {value!r}, which is no text: {exc.reason}") from exc
    return str(value)


def _plain(value: Any, at: str, depth: int) -> Any:
    """Return a value of `attrs` with maps, lists and numbers that are Python's own."""
    if value is None or type(value) is bool:
        return value
    if isinstance(value, str):
        return _text(value, at)
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return _whole(value, at)
    if isinstance(value, (float, np.floating)):
        return _number(value, at)
    if depth == 0:
        raise TypeError(f"{at[:80]}…, which is nested more than {DEPTH_MAX} deep")
    if isinstance(value, Mapping):
        return {
            _text(key, f"{at} with the key {key!r}"): _plain(one, f"{at}.{key}", depth - 1)
            for key, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(one, f"{at}[{index}]", depth - 1) for index, one in enumerate(value)]
    raise TypeError(
        f"{at} as {_type(value)}; allowed are texts, numbers, true, false, null, and lists and maps of them"
    )


def _be(value: Any, kind: type | tuple[type, ...], at: str = "") -> Any:
    if isinstance(value, kind):
        return value
    wanted = kind[0] if isinstance(kind, tuple) else kind
    raise TypeError(f"{at} as {_type(value)} in place of {wanted.__name__}")


def _type(value: Any) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
