from __future__ import annotations

from demo_messages import box, camera_row, result

from edged.demo.render import Span, found_text, painted, plain, render
from edged.demo.view import View


def texts(view: View, now_s: float = 10.5) -> list[str]:
    return [plain(line) for line in render(view, now_s, 12.3, 30.0)]


def test_the_whole_view(view: View) -> None:
    assert texts(view) == [
        "edged demo  12 s of 30 s   2 results/s   0.42 cores   154 MB",
        "",
        "TASK             STATE       HZ  WHY",
        "lane        on   active     5.0  configured",
        "pedestrian  on   active    10.0  configured",
        "vehicle     off  inactive     -  by command",
        "",
        "CAMERA  MODE    STATE      HZ  P50 MS  LAST RESULTS",
        "front   hot     running  15.0      26  2 lanes; pedestrian 0.93, 0.71",
        "rear    parked  running     -       -  only vehicle",
    ]


def test_before_the_first_message_there_are_only_headings() -> None:
    assert texts(View()) == [
        "edged demo  12 s of 30 s   0 results/s",
        "",
        "TASK    STATE  HZ  WHY",
        "",
        "CAMERA  MODE  STATE  HZ  P50 MS  LAST RESULTS",
    ]


def test_old_results_vanish(view: View) -> None:
    assert texts(view, 13.0)[-2] == "front   hot     running  15.0       -  -"


def test_a_hot_camera_that_gives_nothing_says_why() -> None:
    view = View().with_cameras([camera_row("front", tasks=("lane",), state="backoff", rate_hz=0.0, reason="no file")])
    assert texts(view)[-1] == "front   hot   backoff  0.0       -  no file"


def test_what_was_found_in_words() -> None:
    def said(task: str, *boxes: dict[str, object]) -> str:
        view = View().updated(*result(task, "front", 1, detections=list(boxes)), 1.0)
        return found_text(view.seen["front"][0])

    assert said("vehicle") == "no vehicle"
    crowd = [box("pedestrian", score / 10) for score in range(1, 7)]
    assert said("pedestrian", *crowd) == "pedestrian 0.60, 0.50, 0.40, 0.30 and 2 more"
    assert said("road", box("car", 0.9), box("bus", 0.5), box("car", 0.8)) == "car 0.90, 0.80; bus 0.50"


def test_a_painted_line_is_cut_by_what_is_seen_not_by_its_codes() -> None:
    line = (Span("abc", "bad"), Span("def"), Span("ghi", "dim"))
    assert painted(line, 80, color=True) == "\x1b[31mabc\x1b[0mdef\x1b[2mghi\x1b[0m"
    assert painted(line, 5, color=True) == "\x1b[31mabc\x1b[0mde"
    assert painted(line, 5, color=False) == "abcde"
