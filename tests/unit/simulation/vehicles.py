"""Small random vehicles, and what can be asked of a simulation's outcome."""

from __future__ import annotations

from hypothesis import strategies as st

from edged.scheduler.demand import Demand, EngineLoad
from edged.scheduler.groups import Sync
from edged.simulation.vehicle import Device, SimCamera, Vehicle
from edged.work import Cost

RATES_HZ = (1.0, 2.5, 5.0, 10.0)
BOTH = st.booleans()
CAMERAS = ("front", "left", "rear", "right")


def camera(name="front", rate_hz=30.0, decode_ms=1.0, **more):
    return SimCamera(name, rate_hz, decode_ms / 1000, **more)


def task(name, *cameras, rate_hz=10.0, active=True, engine="net", **more):
    return Demand(name, cameras or CAMERAS, rate_hz, active, "configured", engine=engine, **more)


def net(picture_ms=5.0, fixed_ms=0.0, device="cpu", batch=1):
    return EngineLoad(device, Cost(fixed_ms / 1000, picture_ms / 1000), batch)


def vehicle(*tasks, engines=None, cores=2.0, cameras=None, **more):
    """Return a vehicle with four cameras and one network, unless told otherwise."""
    found = cameras or tuple(camera(name) for name in CAMERAS)
    return Vehicle(found, tasks, engines or {"net": net()}, {"cpu": Device(cores, int(cores))}, **more)


@st.composite
def vehicles(draw, least_work=0.2, most_work=3.0, active=BOTH, grouped=False):
    """Draw a vehicle whose inferences take between these parts of its cores when all tasks run.

    With `grouped` some of its tasks group their cameras' frames.
    """
    names = CAMERAS[: draw(st.integers(1, 4))]
    cores = draw(st.integers(1, 3))
    engines = {f"net{n}": draw(st.integers(1, 4)) for n in range(draw(st.integers(1, 3)))}
    tasks = [
        task(
            f"task{number}",
            *draw(st.lists(st.sampled_from(names), min_size=1, unique=True)),
            rate_hz=draw(st.sampled_from(RATES_HZ)),
            active=draw(active),
            engine=draw(st.sampled_from(sorted(engines))),
            rate_min_hz=draw(st.sampled_from((0.0, 0.5))),
            priority=draw(st.integers(0, 3)),
            deadline_ms=draw(st.sampled_from((None, 100.0, 250.0))),
        )
        for number in range(draw(st.integers(1, 4)))
    ]
    pictures_hz = sum(one.rate_hz * len(one.cameras) for one in tasks)
    mean_ms = 1000 * draw(st.floats(least_work, most_work)) * cores / pictures_hz
    loads = {
        name: net(mean_ms * draw(st.sampled_from((0.5, 1.0))), mean_ms * draw(st.sampled_from((0.0, 0.5))), batch=batch)
        for name, batch in engines.items()
    }
    found = tuple(camera(name, draw(st.sampled_from((10.0, 25.0, 30.0))), draw(st.floats(0, 3))) for name in names)
    syncs = {
        one.task: Sync(draw(st.sampled_from((5.0, 40.0))), draw(st.sampled_from((0.0, 60.0))), one.cameras)
        for one in tasks
        if grouped and draw(BOTH)
    }
    return vehicle(*tasks, engines=loads, cores=float(cores), cameras=found, syncs=syncs)


def sums(outcome, name):
    """Return a task's frame counts over its cameras."""
    counts = [vars(count) for (one, _), count in outcome.counts.items() if one == name]
    return {key: sum(count[key] for count in counts) for key in counts[0]} if counts else {}


def rates_at(outcome, at_s):
    """Return the rates that the plan granted at a moment."""
    plan = [plan for made_s, plan in outcome.plans if made_s <= at_s][-1]
    return {name: one.rate_hz for name, one in plan.tasks.items()}
