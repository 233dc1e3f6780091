"""Requests have a share of the main thread's time, and no more of it."""

from __future__ import annotations

from edged.control.protocol import Address, Request
from edged.control.ration import Ration


def test_requests_are_served_in_their_order_for_so_long_a_turn():
    now_s, served = 0.0, []

    def serve(request):
        nonlocal now_s
        now_s += 0.02
        served.append(request.id)

    ration = Ration(serve, 0.03, lambda: now_s)
    for number in range(6):
        ration.add(Request(Address(0, ()), number, "status"))
    assert (served, len(ration)) == ([0, 1], 4)
    now_s += 10
    ration.add(Request(Address(0, ()), 6, "status"))
    assert served == [0, 1], "only a new turn gives more"
    for wanted in ([0, 1, 2, 3], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6]):
        ration.renew()
        assert served == wanted
    ration.add(Request(Address(0, ()), 7, "status"))
    assert (served[-1], len(ration)) == (7, 0), "what is left of the turn is theirs"
