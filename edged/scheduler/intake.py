"""From a camera's frame to jobs that wait: gates, groups, places, and what becomes of frames that find none."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from edged.frame import Frame
from edged.scheduler.claims import Claim, Feed, Lane, Place, place_of
from edged.scheduler.device import Device
from edged.scheduler.groups import Closed, Grouper
from edged.scheduler.readers import Readers
from edged.scheduler.routing import Routing
from edged.scheduler.urgency import WallCost, deadline_of, make_job, without
from edged.work import Job

LOSSLESS_PLACES = 4  # frames of a lossless camera that may wait; it goes on when half of them are taken


class Intake:
    """Where frames become jobs. Every method is called with the dispatcher's lock held, which a reader's wait leaves.

    Methods put the frames whose leases are to be given back into `freed`: that is done without the lock.

    Args:
        condition: makes a new condition of the dispatcher's lock.
        clock: CLOCK_MONOTONIC in nanoseconds.
        costs: engine -> what it costs on the clock; kept by the dispatcher.
    """

    def __init__(
        self, condition: Callable[[], threading.Condition], clock: Callable[[], int], costs: Mapping[str, WallCost]
    ) -> None:
        self.devices: Mapping[str, Device] = {}  # by engine
        self.rooms: dict[Place, threading.Condition] = {}  # one each: a place concerns one camera
        self._readers = Readers()
        self.routing = Routing(self._readers.excused_ns)
        self.closed = False
        self._condition, self._clock, self._costs = condition, clock, costs

    def offer(self, feed: Feed, frame: Frame, at_ns: int, now_ns: int, wait: bool, freed: list[Frame]) -> None:
        """Pass one frame through the gates of all that claim it."""
        self._follow(feed, at_ns, now_ns, wait)
        if wait:
            self._readers.reads(frame.camera)
        synced = feed.synced
        due = [(lane, passed) for lane in feed.lanes if (passed := lane.pass_gates(at_ns))]
        for claim in synced:
            claim.counts.offered += 1
        for lane, claims in due:
            self._post(lane, frame, claims, now_ns, wait, freed)
        for claim in synced:
            self._join(claim, frame, at_ns, now_ns, wait)
        if synced:
            self.close_groups(self._clock(), freed)

    def close_groups(self, now_ns: int, freed: list[Frame]) -> None:
        """Post the frames of every group that is complete or has waited long enough."""
        for task, grouper in self.routing.groupers.items():
            for closed in grouper.close(now_ns):
                self._post_group(task, closed, now_ns, freed)

    @property
    def grouping(self) -> bool:
        """Whether a group is open."""
        return any(grouper.open_groups for grouper in self.routing.groupers.values())

    def next_close_ns(self, now_ns: int) -> int | None:
        """Return when the next group will have waited long enough."""
        ends = [grouper.next_ns(now_ns) for grouper in self.routing.groupers.values()]
        return min((end for end in ends if end is not None), default=None)

    def look_ahead(self) -> None:
        """Tell the devices where frames are still to come from."""
        lanes: dict[Device, list[Lane]] = {device: [] for device in self.devices.values()}
        for lane in self.routing.lanes():
            lanes[self.devices[lane.engine]].append(lane)
        for device, mine in lanes.items():
            device.set_lanes(mine)

    def drop_late(self, device: Device, now_ns: int, freed: list[Frame]) -> None:
        """Drop the waiting jobs whose results nobody will want any more."""
        for job in device.too_late(now_ns):
            for task in job.tasks:
                self.routing.counts_of(task, job.frame.camera).late += 1
            self.count_lost(job, len(job.tasks), job.expires_ns)
            self.leave(device, job)
            freed.append(job.frame)

    def withdraw(self, device: Device, job: Job, freed: list[Frame]) -> None:
        """Take a waiting job from the tasks whose claim has ended, and drop it when none is left."""
        gone = [task for task in job.tasks if not self._claimed(task, job)]
        for task in gone:
            self.routing.counts_of(task, job.frame.camera).stopped += 1
        if len(gone) == len(job.tasks):
            self.leave(device, job)
            freed.append(job.frame)
        elif gone:
            jobs = device.waiting[place_of(job)]
            jobs[jobs.index(job)] = without(job, gone)

    def leave(self, device: Device, job: Job) -> None:
        """Take a job out of its place, and let its camera go on that may wait for it."""
        left = device.leave(job)
        if self.rooms and left <= LOSSLESS_PLACES // 2:
            self._notify(place_of(job))

    def count_lost(self, job: Job, tasks: int, deadline_ns: int | None = None) -> None:
        """Count claims that a job lost for want of a worker: when it came there was time for it."""
        device, cost = self.devices.get(job.engine), self._costs.get(job.engine)
        took_ns = 0 if cost is None else cost.ns(1)
        if device is not None and not job.lossless and (deadline_ns is None or job.posted_ns + took_ns <= deadline_ns):
            lost = device.counts.lost_by_priority
            lost[job.priority] = lost.get(job.priority, 0) + tasks

    def _follow(self, feed: Feed, at_ns: int, now_ns: int, lossless: bool) -> None:
        if lossless != feed.lossless:
            feed.lossless = lossless
            self.look_ahead()
        if not lossless:
            feed.saw(at_ns, now_ns)

    def _post(self, lane: Lane, frame: Frame, claims: list[Claim], now_ns: int, wait: bool, freed: list[Frame]) -> None:
        if wait:
            self._wait_for_room(lane.place, None)
            claims = self._still_claimed(claims, lane.engine)
            if not claims:
                return
        elif older := self._supersede(lane.place, freed):
            claims += self._carried(older, claims)
        frame.retain()
        self._put(lane.place, make_job(frame, lane.engine, claims, now_ns, wait))

    def _join(self, claim: Claim, frame: Frame, at_ns: int, now_ns: int, wait: bool) -> None:
        """Put a frame into a group of its task."""
        engine = claim.route.engine
        if wait:
            self._wait_for_room((engine, frame.camera, claim.route.task), claim.group)
            if not self._still_claimed([claim], engine):
                return
            now_ns = self._clock()
        grouper = claim.group
        if grouper is None:  # the task stopped grouping while the reader waited
            claim.counts.stopped += 1
            return
        groups = grouper.open_groups
        cause = grouper.add(frame, at_ns, now_ns, None if wait else self._group_until_ns(claim, frame, now_ns))
        if cause == "rate":
            claim.counts.rate += 1
        elif cause == "unsynced":
            claim.counts.unsynced += 1
        elif grouper.open_groups > groups:
            self.devices[claim.route.engine].wake()  # an idle worker watches over its end

    def _group_until_ns(self, claim: Claim, frame: Frame, now_ns: int) -> int:
        """Return the latest end of a group with this frame: after its wait, or when its deadline leaves no more."""
        sync, deadline_ns = claim.route.sync, deadline_of(frame, claim)
        until_ns = now_ns + int((sync.wait_ms if sync else 0) * 1e6)
        cost = self._costs.get(claim.route.engine)
        if sync is None or cost is None or deadline_ns is None:
            return until_ns
        return min(until_ns, deadline_ns - cost.ns(len(sync.cameras)))

    def _post_group(self, task: str, closed: Closed, now_ns: int, freed: list[Frame]) -> None:
        """Turn a group into jobs, all at once. Its leases become theirs."""
        for frame in closed.frames:
            claim = self.routing.claims[task, frame.camera]
            place = (claim.route.engine, frame.camera, task)
            if not closed.lossless:
                self._supersede(place, freed)
            self._put(place, make_job(frame, claim.route.engine, [claim], now_ns, closed.lossless, closed.group))
            self._notify(place)

    def _supersede(self, place: Place, freed: list[Frame]) -> Job | None:
        """Take out the job whose place a newer one takes, and count it."""
        places = self.devices[place[0]].waiting.get(place)
        if not places:
            return None
        older = places.popleft()
        for task in older.tasks:
            self.routing.counts_of(task, older.frame.camera).superseded += 1
        self.count_lost(older, len(older.tasks))
        freed.append(older.frame)
        return older

    def _carried(self, superseded: Job, due: Sequence[Claim]) -> list[Claim]:
        """Return claims of tasks that lose a frame to a newer one which their rate passes by: they take it instead."""
        served = {claim.route.task for claim in due}
        carried = [
            self.routing.claims[task, superseded.frame.camera] for task in superseded.tasks if task not in served
        ]
        for claim in carried:
            claim.counts.rate -= 1
        return carried

    def _put(self, place: Place, job: Job) -> None:
        device = self.devices[place[0]]
        places = device.waiting.get(place)
        if places is None:
            places = device.waiting[place] = deque()
        places.append(job)
        device.wake()

    def _claimed(self, task: str, job: Job) -> bool:
        claim = self.routing.claims.get((task, job.frame.camera))
        return claim is not None and claim.route.engine == job.engine and (claim.group is None) == (job.group is None)

    def _still_claimed(self, claims: Sequence[Claim], engine: str) -> list[Claim]:
        """Return the claims that outlasted the wait for a place; count the frame as stopped for the others."""
        still = [claim for claim in claims if claim.live and claim.route.engine == engine and not self.closed]
        for claim in claims:
            if claim not in still:
                claim.counts.stopped += 1
        return still

    def _wait_for_room(self, place: Place, grouper: Grouper | None) -> None:
        """Let a reader wait until its camera has a place. One that waits for a worker is not silent."""
        camera = place[1]
        while not self.closed:
            waiting = self.devices[place[0]].waiting.get(place, ()) if place[0] in self.devices else ()
            if len(waiting) >= LOSSLESS_PLACES:
                self._readers.waits()
            elif grouper is None or grouper.waiting(camera) < LOSSLESS_PLACES:
                break
            self.rooms.setdefault(place, self._condition()).wait()
            self._readers.goes_on(self._clock())

    def _notify(self, place: Place) -> None:
        if place in self.rooms:
            self.rooms[place].notify_all()
