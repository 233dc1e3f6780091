from __future__ import annotations

from demo_messages import box, camera_row, result, status

from edged.demo.view import KEEP_S, View, all_answered, choose_moment


def fed(view: View, *messages: tuple[float, tuple[str, dict[str, object]]]) -> View:
    for now_s, (topic, message) in messages:
        view = view.updated(topic, message, now_s)
    return view


def test_a_status_fills_the_rows(view: View) -> None:
    assert (view.cpu_cores, view.rss_mb) == (0.42, 154.3)
    assert list(view.tasks) == ["lane", "pedestrian", "vehicle"]
    assert [row.on for row in view.tasks.values()] == [True, True, False]
    assert view.cameras["front"].tasks == ("lane", "pedestrian")


def test_a_status_that_is_not_newer_changes_nothing(view: View) -> None:
    old, new = status([], [], uptime_s=10.0), status([], [], uptime_s=10.1)
    assert fed(view, (11.0, old)) == view
    assert not fed(view, (11.0, new)).cameras


def test_a_task_message_changes_the_state_and_keeps_the_rate(view: View) -> None:
    message = {"v": 1, "task": "lane", "state": "inactive", "cameras": {}, "reason": "deactivated by command"}
    row = view.updated("edged/1/task/lane/", message, 11.0).tasks["lane"]
    assert (row.state, row.rate_hz, row.reason, row.on) == ("inactive", 5.0, "deactivated by command", False)


def test_a_task_message_before_the_first_status_is_enough_for_a_row() -> None:
    message = {"v": 1, "task": "lane", "state": "active", "cameras": {}, "reason": "configured"}
    assert View().updated("edged/1/task/lane/", message, 1.0).tasks["lane"].rate_hz == 0.0


def test_an_unknown_topic_changes_nothing(view: View) -> None:
    assert view.updated("edged/1/something/new/", {"v": 1}, 11.0) is view


def test_updating_leaves_the_older_view_as_it_was(view: View) -> None:
    fed(view, (10.5, result("pedestrian", "front", 9)))
    assert [one.frame_id for one in view.seen["front"]] == [7, 7]


def test_results_older_than_two_seconds_are_let_go(view: View) -> None:
    later = fed(view, (10.0 + KEEP_S + 0.1, result("pedestrian", "front", 40)))
    assert [one.frame_id for one in later.seen["front"]] == [40]


def test_latency_is_the_median_of_the_last_second(view: View) -> None:
    assert view.latency_ms("front", 10.5) == 25.5
    assert view.latency_ms("front", 11.5) is None
    assert view.latency_ms("rear", 10.0) is None
    assert (view.results_per_s(10.9), view.results_per_s(11.1)) == (2, 0)


def test_newest_is_the_last_result_of_each_task(view: View) -> None:
    later = fed(view, (10.3, result("lane", "front", 9)))
    assert {task: one.frame_id for task, one in later.newest("front", 10.4).items()} == {"lane": 9, "pedestrian": 7}
    assert later.newest("front", 13.0) == later.newest("nobody", 10.0) == {}


def test_results_of_a_task_that_is_off_for_the_camera_are_let_go(view: View) -> None:
    without = view.with_cameras([camera_row("front", tasks=("lane",))])
    late = fed(without, (10.2, result("pedestrian", "front", 8)))
    assert [one.task for one in late.seen["front"]] == ["lane"]
    again = late.with_cameras([camera_row("front", tasks=("lane", "pedestrian"))])
    assert list(again.newest("front", 10.3)) == ["lane"]
    assert not all_answered(again)


def test_the_picture_takes_the_newest_frame_that_all_tasks_answered(view: View) -> None:
    later = fed(view, (10.1, result("pedestrian", "front", 8)), (10.2, result("pedestrian", "front", 10)))
    moment = choose_moment(later, "front")
    assert moment.frame_id == 7
    assert {one.task for one in moment.results} == {"lane", "pedestrian"}
    assert all(one.frame_id == 7 for one in moment.results)


def test_without_a_shared_frame_it_takes_the_newest_of_each() -> None:
    view = View().with_cameras([camera_row("front", tasks=("lane", "pedestrian", "vehicle"))])
    found = [box("pedestrian", 0.9)]
    view = fed(
        view,
        (1.0, result("lane", "front", 3)),
        (1.1, result("pedestrian", "front", 5)),
        (1.2, result("pedestrian", "front", 8, detections=found)),
        (1.3, result("lane", "front", 6)),
    )
    moment = choose_moment(view, "front")
    assert moment.frame_id == 8
    assert {one.task: one.frame_id for one in moment.results} == {"lane": 6, "pedestrian": 8}


def test_a_parked_camera_keeps_its_last_frame_and_shows_no_results(view: View) -> None:
    later = fed(view, (10.2, result("pedestrian", "front", 9)))
    moment = choose_moment(later.with_cameras([camera_row("front", "parked", reason="all inactive")]), "front")
    assert (moment.mode, moment.frame_id, moment.results) == ("parked", 9, ())


def test_a_camera_that_never_gave_a_result_has_no_frame(view: View) -> None:
    assert choose_moment(view, "rear").frame_id is None
    assert choose_moment(View(), "rear").mode == "closed"


def test_all_answered_once_each_task_gave_a_result_on_each_of_its_cameras(view: View) -> None:
    assert all_answered(view)
    more = view.with_cameras([camera_row("front", tasks=("lane", "pedestrian")), camera_row("side", tasks=("lane",))])
    assert not all_answered(more)
    assert all_answered(fed(more, (10.1, result("lane", "side", 3))))
