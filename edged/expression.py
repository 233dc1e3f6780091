"""The language of activation rules: typed, without loops, calls or state, and checked before it ever runs.

    or    :=  and ("or" and)*
    and   :=  not ("and" not)*
    not   :=  "not" not | chain
    chain :=  sum (("<" | "<=" | ">" | ">=" | "==" | "!=") sum)*
    sum   :=  product (("+" | "-") product)*
    product := sign (("*" | "/" | "%") sign)*
    sign  :=  "-" sign | NUMBER | TEXT | "true" | "false" | NAME | "(" or ")"

Precedence and meaning are Python's: `0 < x < 20` is a chain, and `%` takes the sign of its divisor. Every number is a
float. The parser writes Python source out of nothing but its own tokens; that is compiled once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from edged.errors import EdgedError, did_you_mean

CHARS_MAX = 1000
DEPTH_MAX = 32
WORDS = frozenset({"and", "or", "not", "true", "false"})

Value = float | bool | str

_TOKEN = re.compile(
    r"""(?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<text>'[^']*'|"[^"]*")
      | (?P<sign><=|>=|==|!=|<>|\*\*|//|&&|\|\||:=|<<|>>|[-+*/%<>()=!&|^~.,\[\]{}:?@])""",
    re.VERBOSE,
)
_ORDERS = ("<", "<=", ">", ">=")
_INSTEAD = {
    "=": "write == to compare",
    "<>": "write !=",
    "&&": "write and",
    "||": "write or",
    "!": "write not",
    "**": "write a product",
    "//": "write /",
    ".": "a name has no parts",
}
_OPERATORS = "and, or, <, <=, >, >=, ==, !=, +, -, *, /, %"


@dataclass(frozen=True)
class Kind:
    """What a value is: "number", "flag" (true or false) or "text". A text may be one of `allowed` only."""

    base: str
    allowed: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"one of {', '.join(self.allowed)}" if self.allowed else f"a {self.base}"


NUMBER, FLAG, TEXT = Kind("number"), Kind("flag"), Kind("text")


class Undefined(EdgedError):
    """An expression has no value: a division by zero, or a number too large for a float."""


@dataclass(frozen=True)
class Expression:
    """A checked expression whose value is true or false. Frozen, and equal to another one of the same text."""

    text: str
    names: frozenset[str]
    _run: Callable[[Mapping[str, Value]], bool] = field(repr=False, compare=False)

    def value(self, values: Mapping[str, Value]) -> bool:
        """Return what it is now.

        Args:
            values: at least one for each of `names`, of the kind it was parsed with; numbers are finite floats.

        Raises:
            Undefined: it has no value; the text says why.
            KeyError: a name has no value.
        """
        try:
            return self._run(values)
        except ZeroDivisionError as exc:
            raise Undefined("division by zero") from exc


def parse(text: str, names: Mapping[str, Kind]) -> Expression:
    """Return the expression that a text says.

    Args:
        text: at most 1,000 characters, nested at most 32 deep.
        names: what it may read, and of what kind each is.

    Raises:
        ValueError: the column of the first fault, what is wrong, and what is allowed.
    """
    if len(text) > CHARS_MAX:
        raise ValueError(f"at most {CHARS_MAX} characters, got {len(text)}")
    parser = _Parser(_tokens(text), names)
    code = parser.whole()
    run = eval(compile(f"lambda v: {code}", "<rule>", "eval"), {"__builtins__": {}, "f": _finite})
    return Expression(text, frozenset(parser.read), run)


def _nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown name: the nearest known one, else all of them."""
    names = sorted(known)
    return f"; {did_you_mean(name, names) or 'there are ' + ', '.join(names)}"


def _finite(number: float) -> float:
    if math.isfinite(number):
        return number
    raise Undefined("a number is too large")


@dataclass(frozen=True)
class _Token:
    form: str
    text: str
    column: int

    @property
    def shown(self) -> str:
        return repr(self.text[:40]) if self.text else "the end"


@dataclass(frozen=True)
class _Part:
    """A checked piece: the Python source for it, its kind, its column, and its text if it is a literal one."""

    code: str
    kind: Kind
    column: int
    literal: str | None = None


def _fault(column: int, text: str) -> ValueError:
    return ValueError(f"column {column}: {text}")


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(text):
        if text[at] in " \t":
            at += 1
            continue
        match = _TOKEN.match(text, at)
        if match is None and text[at] in "'\"":
            raise _fault(at + 1, f"the text that starts here has no closing {text[at]}")
        if match is None:
            raise _fault(at + 1, f"{text[at]!r} is not allowed")
        found.append(_Token(str(match.lastgroup), match[0], at + 1))
        at = match.end()
    return [*found, _Token("end", "", len(text) + 1)]


class _Parser:
    """Recursive descent over the tokens. Every method returns a part whose kinds are checked."""

    def __init__(self, tokens: list[_Token], names: Mapping[str, Kind]) -> None:
        self._tokens, self._at, self._depth = tokens, 0, 0
        self._names = names
        self.read: set[str] = set()

    def whole(self) -> str:
        part = self._or()
        if self._next.form != "end":
            raise self._unexpected(f"one of {_OPERATORS}, or the end")
        if part.kind.base != "flag":
            raise _fault(part.column, f"the whole must be true or false, and is a {part.kind.base}; compare it")
        return part.code

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, *texts: str) -> _Token | None:
        """Return the next token and go on, if it is one of these words or signs."""
        token = self._next
        if token.form not in ("name", "sign") or token.text not in texts:
            return None
        self._at += 1
        return token

    def _unexpected(self, wanted: str) -> ValueError:
        token = self._next
        if token.form == "sign" and token.text in _INSTEAD:
            return _fault(token.column, f"{token.shown} is not allowed; {_INSTEAD[token.text]}")
        if token.form == "name" and token.text not in WORDS and token.text.lower() in WORDS:
            return _fault(token.column, f"{token.shown} is not allowed; write {token.text.lower()}")
        return _fault(token.column, f"expected {wanted}, got {token.shown}")

    def _deeper(self, inner: Callable[[], _Part]) -> _Part:
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise _fault(self._next.column, f"nested deeper than {DEPTH_MAX} levels")
        part = inner()
        self._depth -= 1
        return part

    def _or(self) -> _Part:
        return self._joined("or", self._and)

    def _and(self) -> _Part:
        return self._joined("and", self._not)

    def _joined(self, word: str, inner: Callable[[], _Part]) -> _Part:
        parts = [inner()]
        while self._take(word):
            parts.append(inner())
        if len(parts) == 1:
            return parts[0]
        for part in parts:
            _need(part, "flag", word)
        return _Part(f"({f' {word} '.join(part.code for part in parts)})", FLAG, parts[0].column)

    def _not(self) -> _Part:
        token = self._take("not")
        if token is None:
            return self._chain()
        part = self._deeper(self._not)
        _need(part, "flag", "not")
        return _Part(f"(not {part.code})", FLAG, token.column)

    def _chain(self) -> _Part:
        first = left = self._sum()
        code = [left.code]
        while sign := self._take(*_ORDERS, "==", "!="):
            right = self._sum()
            _comparable(left, sign, right)
            code += [sign.text, right.code]
            left = right
        return first if len(code) == 1 else _Part(f"({' '.join(code)})", FLAG, first.column)

    def _sum(self) -> _Part:
        return self._arithmetic(("+", "-"), self._product)

    def _product(self) -> _Part:
        return self._arithmetic(("*", "/", "%"), self._sign)

    def _arithmetic(self, signs: tuple[str, ...], inner: Callable[[], _Part]) -> _Part:
        """A row of equal precedence. Its operands are finite, so one look at its end finds every overflow in it."""
        first = part = inner()
        code = [part.code]
        while sign := self._take(*signs):
            _need(part, "number", sign.text)
            part = inner()
            _need(part, "number", sign.text)
            code += [sign.text, part.code]
        return first if len(code) == 1 else _Part(f"f({' '.join(code)})", NUMBER, first.column)

    def _sign(self) -> _Part:
        token = self._take("-")
        if token is None:
            return self._atom()
        part = self._deeper(self._sign)
        _need(part, "number", "-")
        return _Part(f"(-{part.code})", NUMBER, token.column)

    def _atom(self) -> _Part:
        token = self._next
        if self._take("("):
            part = self._deeper(self._or)
            if not self._take(")"):
                raise self._unexpected("an operator or )")
            return part
        if word := self._take("true", "false"):
            return _Part(word.text.capitalize(), FLAG, word.column)
        if token.form == "name" and token.text not in WORDS:
            self._at += 1
            return self._name(token)
        if token.form == "text":
            self._at += 1
            return _Part(repr(token.text[1:-1]), TEXT, token.column, literal=token.text[1:-1])
        if token.form == "number":
            self._at += 1
            return _number(token)
        raise self._unexpected("a name, a number, a text in quotes, true, false, not, - or (")

    def _name(self, token: _Token) -> _Part:
        kind = self._names.get(token.text)
        if kind is None:
            lower = token.text.lower()
            hint = f"; write {lower}" if lower in WORDS else _nearest(token.text, self._names)
            raise _fault(token.column, f"there is no {token.text[:40]!r}{hint}")
        if self._next.text == "(":
            raise _fault(token.column, f"{token.text!r} is a {kind.base} and cannot be called")
        self.read.add(token.text)
        return _Part(f"v[{token.text!r}]", kind, token.column)


def _number(token: _Token) -> _Part:
    value = float(token.text)
    if not math.isfinite(value):
        raise _fault(token.column, f"number {token.shown} is too large")
    return _Part(repr(value), NUMBER, token.column)


def _need(part: _Part, base: str, operator: str) -> None:
    if part.kind.base != base:
        raise _fault(part.column, f"{operator!r} is for {base}s, and this is a {part.kind.base}")


def _comparable(left: _Part, sign: _Token, right: _Part) -> None:
    if sign.text in _ORDERS:
        _need(left, "number", sign.text)
        _need(right, "number", sign.text)
    elif left.kind.base != right.kind.base:
        raise _fault(sign.column, f"a {left.kind.base} is never equal to a {right.kind.base}")
    for named, other in ((left, right), (right, left)):
        if named.kind.allowed and other.literal is not None and other.literal not in named.kind.allowed:
            raise _fault(
                other.column, f"it is never {other.literal[:40]!r}{_nearest(other.literal, named.kind.allowed)}"
            )
