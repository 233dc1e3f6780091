"""The page as bytes, made once for each status however often it is asked for."""

from __future__ import annotations

import gzip
import time
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric

from edged.metrics.exposition import Scrapes, Snapshot, families

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LEVEL = 1  # of compression: a tenth of the size, in a tenth of the time that the best takes


class Page:
    """What is served. `show` is for any thread, all else for the one that serves."""

    def __init__(self) -> None:
        self.answers: Counter[int] = Counter()
        self._snapshot: Snapshot | None = None
        self._made: Snapshot | None = None
        self._page_s = 0.0
        self._plain = self._packed = b""
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def show(self, snapshot: Snapshot) -> None:
        """Serve this from now on."""
        self._snapshot = snapshot

    def body(self, packed: bool) -> bytes | None:
        """Return the newest page, as gzip where it may be `packed`; None before there is one."""
        if self._snapshot is None:
            return None
        if self._snapshot is not self._made:
            self._make(self._snapshot)
        if packed and not self._packed:
            self._packed = gzip.compress(self._plain, LEVEL)
        return self._packed if packed else self._plain

    def describe(self) -> Iterator[Metric]:
        """Yield nothing: the registry needs no names beforehand."""
        yield from ()

    def collect(self) -> Iterator[Metric]:
        """Yield what the page has, for the registry."""
        if self._made is not None:
            yield from families(self._made, Scrapes(dict(self.answers), self._page_s))

    def _make(self, snapshot: Snapshot) -> None:
        begin_s = time.perf_counter()
        self._made = snapshot
        self._plain, self._packed = generate_latest(self._registry), b""
        self._page_s = time.perf_counter() - begin_s
