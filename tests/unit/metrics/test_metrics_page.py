"""What a page has: every metric of the table, the status's own numbers, and nothing that is not configured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from metrics_parts import FRAMES, STAGE_MS, snapshot
from prometheus_client.parser import text_string_to_metric_families

from edged.metrics.exposition import NO_LOSSES
from edged.metrics.kinds import KINDS, PROCESS
from edged.metrics.page import Page
from edged.publish.latencies import BOUNDS_MS, STAGES, Histogram, Latencies
from edged.status import mean_ms

DOCS = (Path(__file__).parents[3] / "docs/metrics.md").read_text()


def samples(body: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return a page's values by name and labels; no two lines may be of the same."""
    found = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


@pytest.fixture
def page():
    page = Page()
    page.answers[200] = 7
    page.show(snapshot())
    return samples(page.body(packed=False))


def value(page, name, **labels):
    return page[name, frozenset(labels.items())]


def names(body: bytes) -> dict[str, str]:
    """Return the type of each metric that a page names."""
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", body.decode(), re.MULTILINE))


def test_the_page_and_its_documentation_have_the_same_metrics():
    rows = re.findall(r"^\| `([a-z_]+)` \| ([a-z, ]+) \| ([^|]+) \| ([^|]+) \|$", DOCS, re.MULTILINE)
    documented = {name: (kind, re.findall(r"`(\w+)`", labels), about) for name, kind, labels, about in rows}
    assert documented == {
        name: (kind.type + ", sensor" * kind.sensor, list(kind.labels), kind.about)
        for name, kind in {**KINDS, **PROCESS}.items()
    }


def test_a_page_has_every_metric_of_the_table_and_no_other():
    page = Page()
    page.answers[200] = 1
    page.show(snapshot())
    found = names(page.body(packed=False))
    without = {"edged_gpu_memory_used_bytes", "edged_gpu_memory_bytes"}  # an Orin's GPU has none of its own
    kinds = {**KINDS, **PROCESS}
    assert found == {name: kind.type for name, kind in kinds.items() if name not in without}
    for (name, labels), _ in samples(page.body(packed=False)).items():
        kind = kinds[re.sub(r"_(bucket|count|sum)$", "", name) if name not in kinds else name]
        assert {label for label, _ in labels} - {"le"} == set(kind.labels)


def test_names_and_units_follow_prometheus_conventions():
    for name, kind in KINDS.items():
        assert re.fullmatch(r"edged_[a-z0-9]+(_[a-z0-9]+)*", name)
        assert (kind.type == "counter") == name.endswith("_total")
        assert not re.search(r"_(ms|milliseconds|percent|khz|mhz|mb|mw|hz)(_|$)", name)
        assert not {"reason", "note", "why", "message"} & set(kind.labels)


def test_a_tasks_numbers_are_those_of_the_status(page):
    labels = {"task": "lane", "camera": "front"}
    assert value(page, "edged_frames_offered_total", **labels) == 90
    assert value(page, "edged_results_published_total", **labels) == 50
    for cause, lost in {**FRAMES, "dropped": 1}.items():
        if cause not in NO_LOSSES:
            assert value(page, "edged_frames_dropped_total", **labels, cause=cause) == lost
    states = {
        state: value(page, "edged_task_state", task="lane", state=state) for state in ("active", "degraded", "inactive")
    }
    assert states == {"active": 0, "degraded": 1, "inactive": 0}
    assert value(page, "edged_task_granted_hertz", task="lane") == 5


def test_milliseconds_become_seconds_and_what_is_not_known_is_left_out(page):
    assert value(page, "edged_camera_frame_age_seconds", camera="front") == pytest.approx(0.04)
    assert value(page, "edged_signal_age_seconds", signal="speed_mps") == pytest.approx(0.02)
    assert ("edged_signal_age_seconds", frozenset({("signal", "gear")})) not in page
    assert ("edged_device_capacity", frozenset({("device", "gpu0")})) not in page
    assert value(page, "edged_status_timestamp_seconds") == 1_700_000_000.25


def test_latencies_are_histograms_in_seconds(page):
    name, labels = "edged_result_latency_seconds", {"task": "lane", "stage": "total"}
    assert value(page, f"{name}_count", **labels) == 1
    assert value(page, f"{name}_sum", **labels) == pytest.approx(0.103)
    assert [value(page, f"{name}_bucket", **labels, le=le) for le in ("0.05", "0.1", "0.2", "+Inf")] == [0, 0, 1, 1]
    assert value(page, f"{name}_bucket", task="lane", stage="parse", le="0.0005") == 1, "a bound is in its bucket"
    assert {stage for (one, rest) in page if one == f"{name}_count" for key, stage in rest if key == "stage"} == set(
        STAGES
    )


def test_batches_are_a_histogram_of_pictures(page):
    name, labels = "edged_engine_batch_size", {"engine": "lanes/onnxruntime/cpu/fp32/0"}
    assert [value(page, f"{name}_bucket", **labels, le=le) for le in ("1", "2", "4", "+Inf")] == [5, 5, 20, 20]
    assert value(page, f"{name}_sum", **labels) == 50


def test_the_sensors_are_in_base_units(page):
    assert value(page, "edged_temperature_celsius", zone="tj-thermal") == 52.968
    assert value(page, "edged_clock_limit_hertz", clock="cpu4") == 1_497_600_000
    assert value(page, "edged_power_watts", rail="VDD_CPU_CV") == pytest.approx(3.306, abs=0.001)
    assert value(page, "edged_unit_load_ratio", unit="gpu0", measure="busy") == 0.366
    assert value(page, "edged_telemetry_missing") == 1


def test_what_is_removed_from_the_configuration_is_gone():
    page = Page()
    page.show(snapshot(tasks=("lane", "other"), cameras=("front", "rear")))
    assert {"other", "rear"} <= {label for _, labels in samples(page.body(packed=False)) for _, label in labels}
    page.show(snapshot())
    assert not {"other", "rear", "removed"} & {
        label for _, labels in samples(page.body(packed=False)) for _, label in labels
    }


def test_a_page_is_made_once_for_each_status():
    page = Page()
    assert page.body(packed=False) is None
    page.show(snapshot())
    first = page.body(packed=False)
    assert page.body(packed=False) is first
    page.show(snapshot())
    assert page.body(packed=False) is not first
    assert value(samples(page.body(packed=False)), "edged_scrape_duration_seconds") > 0


def test_means_are_of_the_results_between_two_snapshots():
    latencies = Latencies()
    latencies.add("lane", STAGE_MS, 1.0)
    before = latencies.snapshot()["lane"]
    assert mean_ms(before, before) == {}
    latencies.add("lane", STAGE_MS, 3.0)
    latencies.add("lane", STAGE_MS, 6.0)
    means = mean_ms(before, latencies.snapshot()["lane"])
    assert (means["publish"], means["infer"]) == (4.5, 70.0)
    assert list(means) == list(STAGES)
    assert mean_ms({}, {"total": Histogram((0,) * len(BOUNDS_MS) + (1,), 9000.0)}) == {"total": 9000.0}
