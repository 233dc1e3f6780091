"""Views of one lossless camera in groups: while its reader waits with one view, the others are not silent."""

from __future__ import annotations

import threading
import time

from dispatch_parts import Leases, assert_accounted, losses, route

from edged.cameras import FanOut
from edged.lens import Equirectangular, View
from edged.scheduler import groups
from edged.scheduler.dispatch import Dispatcher, EngineLimits
from edged.scheduler.groups import Sync
from edged.scheduler.readers import Readers

NAMES = ("a", "b", "c")
FRAMES, SILENT_S, SLOW_S = 9, 0.05, 0.08


def test_a_view_whose_reader_waits_with_another_one_is_not_left_out(monkeypatch):
    """`slow` takes b's frames more slowly than any camera may be silent; yet no frame of any view misses its group."""
    monkeypatch.setattr(groups, "LOSSLESS_SILENT_NS", int(SILENT_S * 1e9))
    dispatcher, leases = Dispatcher({"e": EngineLimits(1, 1), "f": EngineLimits(1, 1)}), Leases()
    fan_out = FanOut(dispatcher.offer, {"roof": tuple((name, View(Equirectangular(), 4, 4, 90.0)) for name in NAMES)})
    synced = route("s", "e", sync=Sync(1.0, 10.0, NAMES))
    dispatcher.set_routes({"a": (synced,), "b": (synced, route("slow", "f")), "c": (synced,)})

    def read():
        for number in range(FRAMES):
            fan_out(leases.frame("roof", number, media_ms=number * 40), True)

    reader = threading.Thread(target=read)
    reader.start()
    taken, members = 0, set()
    try:
        while taken < 4 * FRAMES and (batch := dispatcher.take(1.0)) is not None:
            if batch.engine == "f":
                time.sleep(SLOW_S)
            for job in batch.jobs:
                members.add(job.group and job.group.cameras)
                dispatcher.done(job)
                job.frame.release()
                taken += 1
            dispatcher.finished(batch, 0.001)
    finally:
        dispatcher.close()
        reader.join(5)
    assert members == {None, NAMES}
    assert taken == 4 * FRAMES
    for task, camera in (("s", "a"), ("s", "b"), ("s", "c"), ("slow", "b")):
        assert losses(dispatcher, task, camera) == {"offered": FRAMES, "served": FRAMES}
    assert_accounted(dispatcher)
    leases.assert_all_back_once()


def test_who_is_excused():
    readers = Readers()
    assert readers.excused_ns("a", 100) == 0
    readers.reads("a")
    readers.reads("b")
    assert readers.excused_ns("a", 100) == 0
    readers.waits()
    assert (readers.excused_ns("a", 100), readers.excused_ns("b", 200), readers.excused_ns("c", 200)) == (100, 200, 0)
    readers.goes_on(250)
    assert (readers.excused_ns("a", 300), readers.excused_ns("b", 300)) == (250, 250)
    other = threading.Thread(target=lambda: (readers.reads("c"), readers.waits()))
    other.start()
    other.join()
    assert (readers.excused_ns("c", 400), readers.excused_ns("a", 400)) == (400, 250)
