"""Who claims which camera's frames now: routes turned into gates, groups and counts that outlast them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from edged.frame import Frame
from edged.scheduler.claims import Claim, Feed, Lane, Route, TaskCounts, lanes_of
from edged.scheduler.gate import Gate
from edged.scheduler.groups import Grouper


class Routing:
    """The claims in force. Not thread-safe: the dispatcher's lock guards it.

    Args:
        excused_ns: until when the silence of a camera means nothing.
    """

    def __init__(self, excused_ns: Callable[[str, int], int]) -> None:
        self.feeds: dict[str, Feed] = {}  # camera -> its frames and who claims them
        self.claims: dict[tuple[str, str], Claim] = {}  # by task and camera
        self.groupers: dict[str, Grouper] = {}  # task -> its groups
        self.counts: dict[tuple[str, str], TaskCounts] = {}  # by task and camera, since the start
        self._excused_ns = excused_ns

    def engines(self) -> set[str]:
        """Return every engine that a route leads to."""
        return {claim.route.engine for claim in self.claims.values()}

    def lanes(self) -> list[Lane]:
        """Return the lanes of all cameras; a claim whose task groups its frames counts as a lane of its own."""
        alone = [
            Lane(feed, claim.route.engine, (claim.route.engine, feed.camera, claim.route.task), (claim,))
            for feed in self.feeds.values()
            for claim in feed.synced
        ]
        return [lane for feed in self.feeds.values() for lane in feed.lanes] + alone

    def counts_of(self, task: str, camera: str) -> TaskCounts:
        """Return the counts of one task and camera, to be added to."""
        counts = self.counts.get((task, camera))
        if counts is None:
            counts = self.counts[task, camera] = TaskCounts()
        return counts

    def follow(self, routes: Mapping[str, tuple[Route, ...]], now_ns: int) -> list[tuple[str, Frame]]:
        """Bring the claims to new routes; cameras whose routes are equal are left alone.

        Returns:
            The frames of groups that go with their claims, by task. Their leases go along.
        """
        changed = [camera for camera in {*routes, *self.feeds} if self._changes(camera, routes)]
        if not changed:
            return []
        dropped = self._regroup(routes, now_ns)
        for camera in changed:
            self._rebuild(camera, routes.get(camera, ()))
        return dropped

    def _changes(self, camera: str, routes: Mapping[str, tuple[Route, ...]]) -> bool:
        feed = self.feeds.get(camera)
        return routes.get(camera, ()) != (feed.routes if feed else ())

    def _regroup(self, routes: Mapping[str, tuple[Route, ...]], now_ns: int) -> list[tuple[str, Frame]]:
        members: dict[str, list[str]] = {}
        for camera, claimed in routes.items():
            for route in claimed:
                if route.sync is not None:
                    members.setdefault(route.task, []).append(camera)
                    grouper = self.groupers.get(route.task)
                    if grouper is None:
                        grouper = self.groupers[route.task] = Grouper(route.sync, route.rate_hz, self._excused_ns)
                    grouper.sync, grouper.rate_hz = route.sync, route.rate_hz
        return [  # a task that left keeps its count of groups
            (task, frame)
            for task, grouper in self.groupers.items()
            for frame in grouper.keep(members.get(task, ()), now_ns)
        ]

    def _rebuild(self, camera: str, routes: Iterable[Route]) -> None:
        claims = [self._claim(route, camera) for route in routes]
        named = {claim.route.task for claim in claims}
        feed = self.feeds.get(camera) or Feed(camera)
        for route in feed.routes:
            if route.task not in named:
                self.claims.pop((route.task, camera)).live = False
        if not claims:
            self.feeds.pop(camera, None)
            return
        feed.routes = tuple(claim.route for claim in claims)
        feed.lanes = tuple(lanes_of(feed, claims))
        feed.synced = tuple(claim for claim in claims if claim.group is not None)
        self.feeds[camera] = feed

    def _claim(self, route: Route, camera: str) -> Claim:
        claim = self.claims.get((route.task, camera))
        if claim is None:
            claim = self.claims[route.task, camera] = Claim(route, self.counts_of(route.task, camera), Gate())
        group = self.groupers[route.task] if route.sync is not None else None
        if group is not claim.group:
            claim.group, claim.gate = group, Gate() if group is None else group.gate
        claim.route = route
        return claim
