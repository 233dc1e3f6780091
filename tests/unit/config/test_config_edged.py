"""Every way to get `edged.yaml` wrong, with the whole message."""

from __future__ import annotations

import pytest
from config_texts import EDGED, Row, expected

TABLE: list[Row] = [
    # edged.yaml
    (
        "publish: {endpoints: [tcp://127.0.0.1:5599, 'tcp://0.0.0.0:5599']}",
        [
            "1: publish.endpoints: 'tcp://0.0.0.0:5599' can be reached from other machines and needs curve keys; "
            "add curve: {server_secret, allowed_clients}, or use 127.0.0.1"
        ],
    ),
    (
        "control: {endpoints: ['tcp://*:5599']}",
        [
            "1: control.endpoints: 'tcp://*:5599' can be reached from other machines and needs curve keys; "
            "add curve: {server_secret, allowed_clients}, or use 127.0.0.1"
        ],
    ),
    (
        "publish:\n  endpoints:\n    - udp://h:1\n    - tcp://h\n    - ipc://here",
        [
            f"{line}: publish.endpoints.{line - 3}: must be tcp://HOST:PORT with a port from 1 to 65535, or "
            f"ipc:///ABSOLUTE/PATH, got '{text}'"
            for line, text in ((3, "udp://h:1"), (4, "tcp://h"), (5, "ipc://here"))
        ],
    ),
    (
        f"publish: {{endpoints: ['ipc:///{'x' * 107}']}}",
        [f"1: publish.endpoints.0: must be an ipc path of at most 107 bytes, got 'ipc:///{'x' * 71}…"],
    ),
    ("publish: {endpoints: tcp://h:1}", ["1: publish.endpoints: must be a list, got 'tcp://h:1'"]),
    (
        "publish: {endpoints: ['ipc:///a', 'ipc:///a']}",
        ["1: publish.endpoints: 'ipc:///a' is listed twice"],
    ),
    (
        "publish: {endpoints: ['ipc:///a']}\ncontrol: {endpoints: ['ipc:///a']}",
        ["2: control: 'ipc:///a' is an endpoint of publish as well; use another port or path"],
    ),
    (
        "publish: {curve: {server_secret: hunter2}}",
        [
            '1: publish.curve.server_secret: must be exactly "${cred:NAME}"; '
            "a secret key is never written in this file",
            "1: publish.curve.allowed_clients: required, but absent",
        ],
    ),
    (
        "scheduler: {unneeded: hot, linger_s: -1, warm_max: 3}",
        [
            "1: scheduler.unneeded: must be warm, parked or cold, got 'hot'",
            "1: scheduler.linger_s: must be a number from 0 to 86400, got -1",
            "1: scheduler.warm_max: unknown key; did you mean 'warm_max_s'?",
        ],
    ),
    ("signals: 3", ["1: signals: must be a map of keys to values, got 3"]),
    (
        'signals:\n  a: flg\n  b: [x, x]\n  c: []\n  d: [1]\n  e: ["it\'s"]\n  f: true',
        [
            "2: signals.a: must be flag, number, text, or a list of the texts that are allowed, got 'flg'",
            "3: signals.b: 'x' is listed twice",
            "4: signals.c: must be flag, number, text, or a list of the texts that are allowed, got []",
            "5: signals.d: must be flag, number, text, or a list of the texts that are allowed, got [1]",
            '6: signals.e: must be texts of 1 to 64 characters without a quote or a new line, got "it\'s"',
            "7: signals.f: must be flag, number, text, or a list of the texts that are allowed, got true",
        ],
    ),
    ("metrics: 9464", ["1: metrics: must be a map of keys to values, got 9464"]),
    (
        "metrics: {listen: 9464}",
        ['1: metrics.listen: must be "HOST:PORT" with a port from 1 to 65535, or unix:/ABSOLUTE/PATH, got 9464'],
    ),
    *(
        (
            f"metrics: {{listen: '{host}:9464'}}",
            [
                f"1: metrics.listen: '{host}:9464' is no loopback address, and whoever reaches the port may read it; "
                "use 127.0.0.1:9464 or unix:/ABSOLUTE/PATH"
            ],
        )
        for host in ("0.0.0.0", "192.0.2.7", "[::]", "*", "example.org", "lo")
    ),
    (
        "metrics: {listen: 'unix:metrics.sock'}",
        [
            '1: metrics.listen: must be "HOST:PORT" with a port from 1 to 65535, or unix:/ABSOLUTE/PATH, '
            "got 'unix:metrics.sock'"
        ],
    ),
    (
        f"metrics: {{listen: 'unix:/{'x' * 107}'}}",
        [f"1: metrics.listen: must be a socket path of at most 107 bytes, got 'unix:/{'x' * 72}…"],
    ),
    ("log: {level: loud}", ["1: log.level: must be debug, info, warning or error, got 'loud'"]),
    ("engines: {store: 3}", ["1: engines.store: must be a path, got 3"]),
    (
        "engines: {store: ~/store}",
        ["1: engines.store: must be a path in full; ~ and variables are not replaced, got '~/store'"],
    ),
    (
        "limits: {send_queue: 2.0}",
        ["1: limits.send_queue: must be a whole number from 1 to 100000, got 2.0"],
    ),
    (
        "limits: {send_queue: 12345678901234567890}",
        ["1: limits.send_queue: number '12345678901234567890' is too long"],
    ),
]


@pytest.mark.parametrize(("text", "lines"), TABLE, ids=[str(row) for row in range(len(TABLE))])
def test_a_wrong_value_is_named_by_line_path_value_and_what_is_allowed(text, lines, faults):
    assert faults({EDGED: text}) == expected(EDGED, lines)
