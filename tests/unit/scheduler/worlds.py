"""Random vehicles for the planner's tests, and its arithmetic done again by hand."""

from __future__ import annotations

from hypothesis import strategies as st

from edged.plan import CameraState, Mode
from edged.scheduler.demand import Demand, EngineLoad, Machine, Supply
from edged.work import Cost

CAMERAS = ("front", "left", "rear", "right")
ENGINES = ("e0", "e1", "e2", "e3")
COSTS = st.builds(Cost, st.sampled_from([0.0, 0.002, 0.02]), st.sampled_from([0.001, 0.0073, 0.013, 0.04]))


def supply(camera, state=CameraState.RUNNING, reason="", unneeded=Mode.PARKED, **more):
    return Supply(camera, state, reason, unneeded, **more)


def demand(task, *cameras, rate_hz=10.0, active=True, why="configured", blocked=None, **more):
    return Demand(task, cameras, rate_hz, active, why, blocked, **more)


def demands(*tasks, cameras=CAMERAS, engines=ENGINES):
    return st.lists(
        st.builds(
            Demand,
            task=st.sampled_from(tasks),
            cameras=st.lists(st.sampled_from(cameras), min_size=1, unique=True).map(tuple),
            rate_hz=st.sampled_from([0.05, 1.0, 3.7, 5.0, 12.5, 30.0]),
            active=st.sampled_from([True, True, True, False]),
            why=st.just("configured"),
            blocked=st.sampled_from([None, None, None, "no engine"]),
            rate_min_hz=st.sampled_from([0.0, 0.5, 4.0]),
            priority=st.integers(0, 3),
            deadline_ms=st.sampled_from([None, 20.0, 100.0]),
            engine=st.sampled_from([*engines, "unmeasured"]),
        ),
        unique_by=lambda one: one.task,
        max_size=len(tasks),
    )


def supplies(cameras=CAMERAS):
    return st.tuples(
        *[
            st.builds(
                Supply,
                camera=st.just(camera),
                state=st.sampled_from([CameraState.RUNNING, *CameraState]),
                reason=st.sampled_from(["", "why"]),
                unneeded=st.sampled_from([Mode.WARM, Mode.PARKED, Mode.COLD]),
                linger_s=st.sampled_from([None, 0.0, 5.0]),
                lossless=st.sampled_from([False, False, True]),
                rate_hz=st.sampled_from([None, 8.0, 25.0]),
            )
            for camera in cameras
        ]
    ).map(list)


def machines(cameras=CAMERAS, engines=ENGINES, devices=("cpu", "gpu0")):
    return st.builds(
        Machine,
        engines=st.fixed_dictionaries(
            {engine: st.builds(EngineLoad, st.sampled_from(devices), COSTS, st.integers(1, 4)) for engine in engines}
        ),
        decode_s=st.dictionaries(st.sampled_from(cameras), st.sampled_from([0.001, 0.0037, 0.01])),
        capacity=st.dictionaries(
            st.sampled_from(devices), st.integers(40, 2000).map(lambda thousandths: thousandths / 1000)
        ),
        workers=st.dictionaries(st.sampled_from(devices), st.integers(1, 2)),
    )


def work_by_hand(plan, tasks, cameras, machine):
    """Add up what a plan costs: each camera decoded once for itself and its views, each picture inferred once."""
    inferred, decoded = {}, {}
    for one in tasks:
        rate_hz = plan.tasks[one.task].rate_hz
        for camera in cameras:
            counts = not camera.lossless and camera.state is not CameraState.ENDED
            if rate_hz > 0 and camera.camera in one.cameras and counts:
                key, stream_hz = (one.engine, camera.camera), camera.rate_hz or 1e9
                inferred[key] = max(inferred.get(key, 0.0), min(rate_hz, stream_hz))
                decoder = camera.of or camera.camera
                decoded[decoder] = camera.rate_hz or max(one.rate_hz, decoded.get(decoder, 0.0))
    work = {"cpu": sum(rate * machine.decode_s.get(camera, 0.0) for camera, rate in decoded.items())}
    for (engine, _), rate_hz in inferred.items():
        if engine in machine.engines:
            load = machine.engines[engine]
            batch = min(load.batch, sum(1 for other, _ in inferred if other == engine))
            work[load.device] = work.get(load.device, 0.0) + rate_hz * load.cost.of(batch) / batch
    return work
