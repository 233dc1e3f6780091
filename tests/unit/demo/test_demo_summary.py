from __future__ import annotations

from collections import Counter

from demo_messages import result

from edged.demo.summary import Tally, percentile_ms


def tally(*messages: tuple[str, dict[str, object]]) -> Tally:
    made = Tally()
    for _, message in messages:
        made.add(message)
    return made


def test_results_by_task_with_their_latencies_and_cameras() -> None:
    made = tally(
        result("lane", "front", 1, 0, latency_ms={"total": 10.04}),
        result("lane", "left", 1, 0, latency_ms={"total": 30.0}),
        result("vehicle", "rear", 1, 0, latency_ms={"total": 7.26}),
    )
    assert made.lines() == [
        "3 results, none lost",
        "  lane         2 results, latency p50 10.0 ms, p99 30.0 ms; front, left",
        "  vehicle      1 results, latency p50 7.3 ms, p99 7.3 ms; rear",
    ]


def test_a_gap_is_a_loss_and_the_first_number_is_not() -> None:
    made = tally(*(result("lane", "front", 1, seq) for seq in (5, 6, 9)), result("lane", "left", 1, 2))
    assert (made.received, made.lost) == (4, 2)
    assert made.lines()[0] == "4 results, 2 lost on the way"


def test_nothing_came() -> None:
    assert tally().lines() == ["0 results, none lost"]


def test_percentiles() -> None:
    hundred = Counter(range(10, 1010, 10))  # 1 to 100 ms
    assert percentile_ms(hundred, 0.5) == 50.0
    assert percentile_ms(hundred, 0.99) == 99.0
    assert percentile_ms(Counter(), 0.5) == 0.0
