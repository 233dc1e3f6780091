"""Chosen vehicles in simulated time: rates, ages, overload, orders, groups."""

from __future__ import annotations

import pytest
from vehicles import CAMERAS, camera, net, rates_at, sums, task, vehicle

from edged.plan import Mode
from edged.scheduler.groups import Sync
from edged.simulation.report import report
from edged.simulation.simulation import Simulation
from edged.simulation.vehicle import Device, Order, Vehicle


def told(one, seconds=10.0, orders=()):
    """Return the report's tasks by name, and its cameras and devices."""
    found = report(one, Simulation(one, orders).run(seconds))
    return (
        {row["task"]: row for row in found["tasks"]},
        {row["id"]: row for row in found["cameras"]},
        {row["device"]: row for row in found["devices"]},
    )


def test_a_result_is_as_old_as_decoding_and_inference_take():
    tasks, _, devices = told(vehicle(task("one", "front", rate_hz=5.0), cameras=(camera("front", decode_ms=2.0),)))
    assert tasks["one"]["age_p50_ms"] == pytest.approx(2.0 + 5.0, abs=0.01)
    assert devices["cpu"]["busy"] == pytest.approx(30 * 0.002 + 5 * 0.005, rel=0.05)


def test_the_daemons_own_work_takes_time_and_is_in_no_budget():
    cameras = (camera("front", decode_ms=2.0),)
    one = vehicle(task("one", "front", rate_hz=5.0), cameras=cameras, own_s=0.001, publish_s=0.002)
    tasks, _, devices = told(one)
    assert tasks["one"]["age_p50_ms"] == pytest.approx(2.0 + 1.0 + 5.0, abs=0.01)
    assert devices["cpu"]["busy"] - devices["cpu"]["planned"] == pytest.approx(30 * 0.001 + 5 * 0.002, rel=0.1)


def test_a_camera_that_nothing_needs_falls_to_its_mode_and_is_closed_after_its_linger():
    cameras = (camera("front"), camera("rear", unneeded=Mode.WARM, linger_s=2.0))
    one = vehicle(task("one", "front"), task("two", "rear"), cameras=cameras)
    outcome = Simulation(one, [Order(1.0, "two", active=False)]).run(5.0)
    modes = [(round(at_s, 1), plan.cameras["rear"].mode) for at_s, plan in outcome.plans]
    assert [mode for at_s, mode in modes if at_s < 1.0][-1] is Mode.HOT
    assert [mode for at_s, mode in modes if at_s < 2.9][-1] is Mode.WARM
    assert modes[-1][1] is Mode.COLD


def test_overload_takes_from_the_lowest_priority_and_gives_it_back():
    tasks = (
        task("high", rate_hz=10.0, engine="a", priority=1, deadline_ms=100.0),
        task("low", rate_hz=10.0, engine="b"),
    )
    one = vehicle(*tasks, engines={"a": net(15.0), "b": net(15.0)})
    outcome = Simulation(one, [Order(3.0, device="cpu", share=0.5), Order(10.0, device="cpu")]).run(13.0)
    assert rates_at(outcome, 2.9) == {"high": 10.0, "low": 10.0}
    assert rates_at(outcome, 9.9)["low"] < 8.0
    assert rates_at(outcome, 12.5) == {"high": 10.0, "low": 10.0}
    high, low = sums(outcome, "high"), sums(outcome, "low")
    assert high["served"] / (high["served"] + high["superseded"] + high["late"]) > 0.97
    assert low["superseded"] > high["superseded"] + high["late"]


def test_a_camera_whose_frames_cannot_all_be_decoded_loses_some_and_does_not_fall_behind_for_ever():
    one = vehicle(task("one", "front", rate_hz=30.0), cameras=(camera("front", decode_ms=50.0),))
    tasks, cameras, _ = told(one, 20.0)
    assert tasks["one"]["rate_hz"] == pytest.approx(20.0, rel=0.05)
    assert cameras["front"]["overrun"] == pytest.approx(10 * (20 - 3), rel=0.1)  # the first second is held back
    assert tasks["one"]["age_p99_ms"] < 1100


def test_a_camera_decodes_one_frame_after_the_other():
    one = vehicle(task("one", "front", rate_hz=30.0), cameras=(camera("front", decode_ms=50.0),), cores=8.0)
    assert told(one)[0]["one"]["rate_hz"] < 21


def test_cameras_of_one_network_are_inferred_in_batches():
    single = vehicle(task("one"), engines={"net": net(2.0, fixed_ms=40.0)}, cores=1.0)
    batched = vehicle(task("one"), engines={"net": net(2.0, fixed_ms=40.0, batch=4)}, cores=1.0)
    assert told(batched)[0]["one"]["rate_hz"] > 1.5 * told(single)[0]["one"]["rate_hz"]


def test_a_task_that_groups_its_cameras_gets_frames_of_one_time():
    cameras = tuple(camera(name, rate_hz=30.0) for name in CAMERAS)
    one = vehicle(task("one", rate_hz=10.0), cameras=cameras, syncs={"one": Sync(40.0, 60.0, CAMERAS)})
    tasks, _, _ = told(one)
    assert tasks["one"]["rate_hz"] == pytest.approx(10.0, rel=0.1)


def test_groups_that_are_due_while_no_worker_is_free_end_when_one_is():
    cameras = tuple(camera(name, rate_hz=10.0) for name in CAMERAS)
    one = vehicle(
        task("one"), cameras=cameras, engines={"net": net(400.0)}, cores=1.0, syncs={"one": Sync(1.0, 20.0, CAMERAS)}
    )
    outcome = Simulation(one).run(5.0)
    assert sums(outcome, "one")["served"] > 0


def test_a_gpu_works_beside_the_cpu():
    devices = {"cpu": Device(2, 0), "gpu": Device(1, 2)}
    one = Vehicle(tuple(map(camera, CAMERAS)), (task("one"),), {"net": net(device="gpu")}, devices)
    tasks, _, devices = told(one)
    assert tasks["one"]["rate_hz"] == pytest.approx(10.0, rel=0.05)
    assert devices["gpu"]["busy"] == pytest.approx(4 * 10 * 0.005, rel=0.05)
    assert devices["cpu"]["busy"] == pytest.approx(4 * 30 * 0.001, rel=0.05)


def test_a_run_that_goes_on_is_the_same_as_one_in_one_piece():
    one = vehicle(task("one"), engines={"net": net(40.0)})
    whole, pieces = Simulation(one), Simulation(one)
    for _ in range(4):
        last = pieces.run(0.5)
    assert last == whole.run(2.0)


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (Order(0, "gone"), "no task 'gone'; there are one"),
        (Order(0, device="gpu"), "no device 'gpu'; there are cpu"),
        (Order(0, device="cpu", share=0.0), "share must be above 0, got 0"),
    ],
)
def test_an_order_that_cannot_be_obeyed_is_refused(order, words):
    with pytest.raises(ValueError, match=words):
        Simulation(vehicle(task("one")), [order])


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"tasks": (task("one", "top"),)}, "task one: there is no camera top"),
        ({"tasks": (task("one", engine="other"),)}, "task one: there is no engine 'other'"),
        ({"engines": {"net": net(device="gpu")}}, "engine net: no worker serves its device 'gpu'"),
        ({"devices": {"gpu": Device(1, 1)}}, "there is no device 'cpu', which decodes; there are gpu"),
    ],
)
def test_a_vehicle_whose_parts_do_not_fit_is_refused(parts, words):
    whole = {"tasks": (task("one"),), "engines": {"net": net()}, "devices": {"cpu": Device(1, 1)}}
    with pytest.raises(ValueError, match=words):
        Vehicle(tuple(map(camera, CAMERAS)), **{**whole, **parts})


def test_a_view_is_inferred_for_itself_and_decoded_by_its_camera():
    cameras = (
        camera("roof", rate_hz=20.0, decode_ms=2.0),
        camera("left", view_of="roof"),
        camera("right", view_of="roof"),
    )
    one = vehicle(task("both", "left", "right", rate_hz=10.0), task("off", "roof", active=False), cameras=cameras)
    tasks, rows, devices = told(one)
    assert tasks["both"]["rate_hz"] == pytest.approx(10.0, rel=0.05)
    assert tasks["both"]["offered"] == pytest.approx(2 * 10 * 20, abs=4)
    assert tasks["both"]["waiting"] <= 2
    assert devices["cpu"]["planned"] == pytest.approx(20 * 0.002 + 2 * 10 * 0.005, rel=0.01)
    assert devices["cpu"]["busy"] == pytest.approx(20 * 0.002 + 2 * 10 * 0.005, rel=0.05)
    assert {row["mode"] for row in rows.values()} == {"hot"}
    groups = {"both": Sync(1.0, 50.0, ("left", "right"))}
    outcome = Simulation(vehicle(task("both", "left", "right"), cameras=cameras, syncs=groups)).run(5.0)
    assert outcome.leased <= 2
    assert sums(outcome, "both")["unsynced"] <= 2  # before the second view has given its first frame
    with pytest.raises(ValueError, match="view left: there is no camera 'front' that it could be of"):
        vehicle(task("both", "left"), cameras=(camera("roof"), camera("left", view_of="front")))
