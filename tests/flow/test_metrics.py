"""Metrics of a running daemon: scraped over TCP and a Unix socket, beside its status, by friend and foe."""

from __future__ import annotations

import http.client
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest
from parts import edged, until
from prometheus_client.parser import text_string_to_metric_families

from edged.metrics.kinds import KINDS, PROCESS

pytestmark = pytest.mark.side_by_side

DEMO = Path(__file__).parents[2] / "configs/demo"
STAGES = ("decode", "convert", "wait", "infer", "parse", "total", "publish")
NO_LOSSES = ("offered", "served", "published")


class Scraper:
    """Reads one daemon's page."""

    def __init__(self, listen):
        self.listen = listen

    def connect(self):
        if isinstance(self.listen, int):
            return socket.create_connection(("127.0.0.1", self.listen), 10)
        caller = socket.socket(socket.AF_UNIX)
        caller.settimeout(10)
        caller.connect(str(self.listen))
        return caller

    def families(self):
        """Return the families of a page, by name."""
        with self.connect() as caller:
            caller.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = http.client.HTTPResponse(caller)
            answer.begin()
            assert answer.status == 200
            body = answer.read().decode()
        return {family.name: family for family in text_string_to_metric_families(body)}

    def values(self):
        """Return a page's values, by name and then by the labels' values, in the order of the table."""
        found = {}
        for family in self.families().values():
            kind = KINDS.get(family.name) or KINDS.get(f"{family.name}_total") or PROCESS.get(family.name)
            labels = () if kind is None else kind.labels
            for one in family.samples:
                key = *(one.labels[label] for label in labels), *([one.labels["le"]] if "le" in one.labels else [])
                found.setdefault(one.name, {})[key] = one.value
        return found


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def start(shared_daemon, folder, listen, text):
    """Run the bundled six cameras and three tasks, with metrics."""
    shutil.copytree(DEMO, folder / "conf")
    with (folder / "conf/edged.yaml").open("a") as file:
        file.write(f'metrics: {{listen: "{text}"}}\n')
    running = shared_daemon(folder / "conf")
    until(lambda: any(task["rate_hz"] for task in running.request("task.list")["tasks"]), 20, "results")
    return running, Scraper(listen)


@pytest.fixture(scope="module")
def over_tcp(shared_daemon, tmp_path_factory):
    port = free_port()
    return start(shared_daemon, tmp_path_factory.mktemp("tcp"), port, f"127.0.0.1:{port}")


@pytest.fixture(scope="module")
def over_unix(shared_daemon, tmp_path_factory):
    folder = tmp_path_factory.mktemp("unix")
    return start(shared_daemon, folder, folder / "m.sock", f"unix:{folder}/m.sock")


@pytest.fixture(scope="module", params=["over_tcp", "over_unix"])
def demo(request):
    return request.getfixturevalue(request.param)


def test_a_running_daemon_exposes_what_the_table_has(demo):
    _, scraper = demo
    kinds = {**KINDS, **PROCESS}
    optional = {name for name, kind in kinds.items() if kind.sensor} | {"edged_signal_age_seconds"}  # nobody sets one

    def found():
        families = scraper.families().items()
        return {name + ("_total" if one.type == "counter" else ""): one.type for name, one in families}

    until(lambda: kinds.keys() - optional <= found().keys(), 10, lambda: kinds.keys() - optional - found().keys())
    assert found() == {name: kinds[name].type for name in found()}


def test_every_count_is_that_of_the_status(over_unix):
    """With the tasks off no frame is on its way, and both say the same of every frame."""
    running, scraper = over_unix
    tasks = [task["task"] for task in running.request("task.list")["tasks"]]
    running.request("task.deactivate", tasks=tasks)

    def alike():
        status, page = running.request("status"), scraper.values()
        offered = page["edged_frames_offered_total"]
        for task in status["tasks"]:
            sent = 0
            for camera, frames in task["frames"].items():
                key = task["task"], camera
                causes = {cause: lost for cause, lost in frames.items() if cause not in NO_LOSSES}
                dropped = {cause: page["edged_frames_dropped_total"].get((*key, cause)) for cause in causes}
                published = page["edged_results_published_total"][key]
                if (offered[key], published, dropped) != (frames["offered"], frames["published"], causes):
                    return False
                if offered[key] != published + sum(dropped.values()):
                    return False
                sent += published
            counted = page["edged_result_latency_seconds_count"]
            wanted = dict.fromkeys(STAGES, sent) if sent else {}  # on a busy machine one may not have had a result yet
            if {stage: n for (name, stage), n in counted.items() if name == task["task"]} != wanted:
                return False
        return offered

    assert sum(until(alike, 10, "page and status alike", every_s=0.2).values()) > 0


def test_states_engines_devices_and_threads(over_tcp):
    running, scraper = over_tcp
    page = scraper.values()
    status = running.request("status")
    for task in status["tasks"]:
        states = {state: on for (name, state), on in page["edged_task_state"].items() if name == task["task"]}
        assert sorted(states) == ["active", "degraded", "inactive"]
        assert sum(states.values()) == 1
    assert {"cpu"} == {labels[0] for labels in page["edged_device_busy_seconds_total"]}
    assert 0 < page["edged_device_busy_seconds_total"][("cpu",)] < 600
    engines = {engine["engine"] for engine in status["engines"]}
    assert engines == {labels[0] for labels in page["edged_engine_batch_size_count"]}
    assert sum(page["edged_engine_batch_size_count"].values()) > 0
    threads = {thread["name"] for thread in status["threads"]}
    assert {"metrics", "telemetry", "publisher", "camera:front_wide"} <= threads
    assert page["edged_thread_lost"] == {(thread,): 0 for thread in threads}
    assert page["process_cpu_seconds_total"][()] > 0
    assert abs(time.time() - page["edged_status_timestamp_seconds"][()]) < 10


def test_hostile_scrapers_do_not_slow_the_daemon(over_tcp):
    """A hundred that hang, half of them in the middle of a request, and floods of garbage: all work goes on."""
    running, scraper = over_tcp
    stop = threading.Event()

    def flood(request):
        while not stop.is_set():
            try:
                with scraper.connect() as caller:
                    caller.sendall(request)
                    caller.recv(100)
            except OSError:
                continue

    hanging = [scraper.connect() for _ in range(100)]
    for caller in hanging[::2]:
        caller.send(b"GET /metrics HTTP/1.1\r\nx-slow: ")
    garbage = [b"\x00" * 20_000, b"GET /metrics HTTP/1.1\r\n\r\n", b"\xff\r\n\r\n"]
    floods = [threading.Thread(target=flood, args=(request,)) for request in garbage]
    with running.subscriber() as subscriber:
        for thread in floods:
            thread.start()
        try:
            until(lambda: scraper.values()["edged_scrapes_total"].get(("400",), 0) > 20, 20, "a flood")
            for _ in range(50):
                assert subscriber.receive(5) is not None, "no results any more"
            frames = [one for task in running.request("status")["tasks"] for one in task["frames"].values()]
        finally:
            stop.set()
            for thread in floods:
                thread.join()
            for caller in hanging:
                caller.close()
    assert sum(one["failed"] for one in frames) == 0
    assert running.process.poll() is None


def test_a_reload_takes_what_is_removed_from_the_page_and_keeps_the_socket(over_unix):
    running, scraper = over_unix
    (running.config / "tasks/vehicle.yaml").unlink()
    cameras = running.config / "cameras.yaml"
    lines = cameras.read_text().splitlines(keepends=True)
    cameras.write_text("".join(line for line in lines if "rear_" not in line))
    edged_yaml = running.config / "edged.yaml"
    edged_yaml.write_text(edged_yaml.read_text().rpartition("metrics:")[0] + 'metrics: {listen: "127.0.0.1:9"}\n')
    answer = running.request("reload")
    assert answer["restart"] == ["metrics.listen"]
    assert "edged.yaml metrics.listen" in answer["changed"]

    def labels():
        return {label for samples in scraper.values().values() for one in samples for label in one}

    gone = {"vehicle", "rear_left", "rear_right", "camera:rear_left"}
    until(lambda: not gone & labels(), 5, "a page without them")
    assert {"lane", "front_wide", "camera:front_wide"} <= labels()


def test_a_port_that_is_taken_ends_with_69(site, task, clip, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"
        config = site({"a": {"source": f"file:{clip()}"}}, {"t": task("a")}, {"metrics": {"listen": listen}})
        checked = edged("--config", str(config), "check")
        ended = edged("--config", str(config), "run", rundir=tmp_path / "run")
    assert (checked.returncode, listen in checked.stdout) == (0, False), "it can be served, and nothing is opened"
    wanted = f"edged: cannot serve metrics on {listen}: Address already in use"
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (69, wanted)
    assert list((tmp_path / "run").iterdir()) == []
