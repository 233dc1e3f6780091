"""`edged sub`: a subscriber that prints."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from edged.cli.ask import add_connection, keys_of
from edged.cli.output import print_json

TIME_MAX_S = 1e6  # as long as ZeroMQ can wait


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("sub", help="subscribe and print messages, one line each")
    add_connection(command, "where the daemon publishes")
    command.add_argument("--topic", metavar="PREFIX", default="edged/1/det/", help="default: %(default)s")
    command.add_argument("--count", type=_count, metavar="N", help="end after N messages")
    command.add_argument("--seconds", type=_seconds, metavar="S", help="end after S seconds")
    command.add_argument("--json", action="store_true", help="the message's own map with its topic, one a line")
    command.set_defaults(run=sub)


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return count


def _seconds(text: str) -> float:
    if not 0 < (seconds := float(text)) < TIME_MAX_S:
        raise argparse.ArgumentTypeError(f"must be above 0, got {text}")
    return seconds


def sub(args: argparse.Namespace) -> int:
    """Print messages until there were enough. With neither limit, until interrupted.

    Ends with 75 when `--seconds` is over before `--count` messages came, or before any did.
    """
    from edged.client import Subscriber
    from edged.errors import NoAnswer
    from edged.rundir import somebody_listens

    until_s = None if args.seconds is None else time.monotonic() + args.seconds
    printed = 0
    with Subscriber(args.connect, args.topic, curve=keys_of(args)) as subscriber:
        if not somebody_listens(subscriber.endpoint):  # ZeroMQ connects when a daemon comes
            text = f"edged: no edged answers at {subscriber.endpoint}; is it running (edged run)? Waiting for it"
            print(text, file=sys.stderr, flush=True)
        while args.count is None or printed < args.count:
            left_s = None if until_s is None else until_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                break
            received = subscriber.receive_message(left_s)
            if received is None:
                break
            topic, message = received
            if args.json:
                print_json({**message, "topic": topic})
            else:
                print(_line(topic, message), flush=True)
            printed += 1
    if printed == 0 or (args.count is not None and printed < args.count):
        raise NoAnswer(f"{printed} message(s) of {args.topic} from {subscriber.endpoint} in {args.seconds:g} s")
    return 0


def _line(topic: str, message: dict[str, Any]) -> str:
    if "detections" not in message:
        rest = {key: value for key, value in message.items() if key not in ("v", "boot")}
        return f"{topic} {rest}"
    found = [f"{one['class']} {one['score']:.2f}" for one in message["detections"]]
    found += [f"{lane['kind']} {lane['score']:.2f}" for lane in message.get("lanes", [])]
    found += [_mask(mask) for mask in message.get("masks", [])]
    total_ms = message["latency_ms"]["total"]
    return f"{topic} #{message['seq']} frame {message['frame']['id']} {total_ms:.1f} ms: {', '.join(found) or '-'}"


def _mask(mask: dict[str, Any]) -> str:
    """Return `road mask 80x45 37 %`: what it is of, its cells, and the share of them that says yes."""
    width, height = mask["width"], mask["height"]
    share = int.from_bytes(mask["bits"], "big").bit_count() / max(1, width * height)
    return f"{mask['kind']} mask {width}x{height} {100 * share:.0f} %"
