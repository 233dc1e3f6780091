"""The control protocol, version 1: what a request is, and what is answered.

A request is one frame, a msgpack map `{v: 1, id, cmd, args}`; `args` may be absent. The answer is
`{v: 1, id, ok: true, result}` or `{v: 1, id, ok: false, error: {code, message}}`: `code` is for programs, `message` for
people; where a configuration is refused, `error` has its `faults` too, for programs. `id` is a whole number or a text
of at most 120 characters and comes back as it is; anything else comes back as null. Answers may come in another order
than their requests. Maps and lists are at most 16 deep.

| code | means |
| --- | --- |
| `malformed` | no msgpack, no map, `args` is none, or nested too deep |
| `version` | `v` is another one |
| `unknown_command` | there is no such command; the text lists those there are |
| `busy` | too many requests wait; try again |
| `refused` | a well-formed request that cannot be done; the text says why |
| `failed` | `reload` only: what the new configuration needs could not be had, or reading it hangs |

Commands go to the daemon's main thread. *Immediate* ones (`signal.set`) are served at once by the thread that owns the
socket, for streams of 100 a second: without an `id` (absent or null) one of those is answered only when it is refused.
The first of a stream is served at once, those that follow within 50 ms of each other are taken together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edged.config.text import show
from edged.errors import UsageError, did_you_mean
from edged.publish.wire import VERSION, unpack

Serve = Callable[[Mapping[str, Any]], Any]
"""Takes a request's `args`, and returns its result."""

Faults = Sequence[Mapping[str, Any]]
"""What is wrong with a configuration, as `ConfigError.faults` has it."""

TEXT_MAX = 120
DEPTH_MAX = 16  # Python's own repr() gives up at a thousand, with an error that nobody expects


@dataclass(frozen=True)
class Address:
    """Where an answer goes: the socket, by its number, and the client's routing frames."""

    door: int
    frames: tuple[bytes, ...]


@dataclass(frozen=True)
class Request:
    """One well-formed request. `silent`: it came without an id; who serves it at once answers only a refusal."""

    reply_to: Address
    id: Any
    command: str
    args: Mapping[str, Any] = field(default_factory=dict)
    silent: bool = False


@dataclass(frozen=True)
class Fault:
    """What a message that is no request is answered with."""

    reply_to: Address
    id: Any
    code: str
    message: str


def read(reply_to: Address, body: bytes, commands: Collection[str]) -> Request | Fault:
    """Turn one message into a request for one of `commands`, or into what is wrong with it."""
    try:
        message = unpack(body)
    except ValueError as exc:
        return Fault(reply_to, None, "malformed", str(exc))
    if not isinstance(message, dict):
        text = f"a request is a map with v, id, cmd and args, got {type(message).__name__}"
        return Fault(reply_to, None, "malformed", text)
    if _deeper(message, DEPTH_MAX):
        return Fault(reply_to, None, "malformed", f"maps and lists are nested more than {DEPTH_MAX} deep")
    given_id, command, args = message.get("id"), message.get("cmd"), message.get("args")
    request_id = _plain(given_id)
    if message.get("v") != VERSION:
        return Fault(reply_to, request_id, "version", f"v must be {VERSION}, got {_short(message.get('v'))}")
    if not isinstance(command, str) or command not in commands:
        text = f"no command {_short(command)}; there are {', '.join(sorted(commands))}"
        return Fault(reply_to, request_id, "unknown_command", text)
    if not isinstance(args or {}, dict):
        return Fault(reply_to, request_id, "malformed", f"args must be a map, got {_short(args)}")
    return Request(reply_to, request_id, command, args or {}, given_id is None)


def taking(names: Collection[str], serve: Serve) -> Serve:
    """Return what serves a command that has arguments of these names and no others."""

    def checked(args: Mapping[str, Any]) -> Any:
        check_arguments(args, names)
        return serve(args)

    return checked


def check_arguments(args: Mapping[str, Any], names: Collection[str] = ()) -> None:
    """Raise `UsageError` for an argument of another name than these."""
    for name in args:
        if name not in names:
            hint = did_you_mean(str(name), names, then=f"there are {', '.join(names) or 'none'}")
            raise UsageError(f"no argument {show(name)}; {hint}")


def answer(request_id: Any, result: Any) -> dict[str, Any]:
    """Return the message that answers a request."""
    return {"v": VERSION, "id": request_id, "ok": True, "result": result}


def refusal(request_id: Any, code: str, message: str, faults: Faults = ()) -> dict[str, Any]:
    """Return the message that refuses a request; `faults` are those of a configuration."""
    more = {"faults": list(faults)} if faults else {}
    return {"v": VERSION, "id": request_id, "ok": False, "error": {"code": code, "message": message, **more}}


def _deeper(value: Any, limit: int) -> bool:
    """Tell whether lists and maps stand more than `limit` deep in each other, without recursion."""
    level = [value]
    for _ in range(limit + 1):
        level = [one for one in level if isinstance(one, (dict, list))]
        if not level:
            return False
        level = [inner for one in level for inner in (one.values() if isinstance(one, dict) else one)]
    return True


def _plain(request_id: Any) -> Any:
    """An id is given back only if it is a number or a short text: nothing else can be relied on to be packed."""
    usable = isinstance(request_id, int) or (isinstance(request_id, str) and len(request_id) <= TEXT_MAX)
    return request_id if usable else None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= TEXT_MAX else text[:TEXT_MAX] + "…"
