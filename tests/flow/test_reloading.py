"""Reload in the real daemon: only what changed is touched, and a faulty configuration changes nothing."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from parts import edged, until, write_model

from edged.client import CommandRefused, Control

RATE, FRAMES = 20, 100


class Site:
    """A configuration directory that is rewritten while a daemon runs on it."""

    def __init__(self, folder: Path, cameras, tasks):
        self.folder, self.cameras, self.tasks, self.edged = folder, dict(cameras), dict(tasks), {}

    def write(self):
        """Write what is now said; a file that is not said any more goes."""
        (self.folder / "cameras.yaml").write_text(json.dumps({"cameras": self.cameras}))
        (self.folder / "edged.yaml").write_text(json.dumps(self.edged))
        for file in (self.folder / "tasks").iterdir():
            file.unlink()
        for name, values in self.tasks.items():
            (self.folder / "tasks" / f"{name}.yaml").write_text(json.dumps(values))


@pytest.fixture(scope="module")
def first(clip, task):
    """The cameras and tasks that each test begins with."""
    looped = {"source": f"file:{clip(frames=FRAMES, rate=RATE)}", "loop": True}
    cameras = dict.fromkeys(("kept", "other", "third"), looped)
    return cameras, {"keep": task("kept"), "change": task("other")}


@pytest.fixture(scope="module")
def running(shared_daemon, site, first):
    running = shared_daemon(site(*first))
    until(lambda: running.task("keep")["rate_hz"] > 15 and running.task("change")["rate_hz"] > 15, what="results")
    return running


@pytest.fixture
def there(running, first):
    """The directory of the running daemon, as it was at first; and so again at the end."""
    there = Site(running.config, *first)
    yield there
    back = Site(running.config, *first)
    back.write()
    running.request("reload")


class Watch:
    """What `keep` published on `kept`, from the start to the end of a test.

    Its results have no gap. Frames may have been superseded while the machine was busy, and for no other cause.
    """

    def __init__(self, running):
        self._running = running

    def __enter__(self):
        self._before = self._counts()
        self._subscriber = self._running.subscriber("edged/1/det/keep/kept/")
        self.messages = [self._subscriber.receive(5).message]
        return self

    def __exit__(self, kind, *_):
        with self._subscriber:
            if kind is not None:
                return
            for _ in range(4):
                self.messages.append(self._subscriber.receive(5).message)
            while (result := self._subscriber.receive(0)) is not None:
                self.messages.append(result.message)
        before, after = self._before, self._counts()
        numbers = [one["seq"] for one in self.messages]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        ids = {one["frame"]["id"] for one in self.messages}
        assert len(ids) == len(self.messages), "a frame was published twice"
        superseded = after.pop("superseded") - before.pop("superseded")
        assert max(ids) - min(ids) + 1 - len(ids) <= superseded
        assert after == before
        assert len({one["boot"] for one in self.messages}) == 1

    def _counts(self):
        counts, camera = self._running.task("keep")["frames"]["kept"], self._running.camera("kept")
        causes = ("superseded", "rate", "late", "stopped", "failed", "unsynced", "dropped")
        found = {cause: counts[cause] for cause in causes}
        return {**found, "opens": camera["opens"], "undecoded": camera["frames"]["undecoded"]}


def names(running):
    return {one["task"] for one in running.request("task.list")["tasks"]}


def first_result(running, topic, timeout_s=5):
    with running.subscriber(f"edged/1/det/{topic}/") as subscriber:
        result = subscriber.receive(timeout_s)
    assert result is not None, f"no result of {topic}"
    return result


def test_a_reload_without_a_change_keeps_everything(running, there):
    engines = running.request("status")["engines"]
    with Watch(running):
        assert running.request("reload") == {"changed": [], "kept": 5, "restart": []}
    assert [one["model"] for one in running.request("status")["engines"]] == [one["model"] for one in engines]


def test_sighup_takes_a_new_task_over(running, there, task):
    there.tasks["more"] = task("third", "kept", rate_hz=5)
    there.write()
    with Watch(running):
        running.process.send_signal(signal.SIGHUP)
        until(lambda: "more" in names(running), 5, "the new task")
        assert first_result(running, "more/third").camera == "third"
        assert first_result(running, "more/kept").camera == "kept"
    assert running.camera("third")["tasks"] == ["more"]


def test_the_command_tells_what_changed_and_a_removed_task_is_gone(running, there, task):
    there.tasks["more"] = task("third")
    there.write()
    with Watch(running):
        done = edged("reload", "--json", rundir=running.rundir)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout) == {"changed": ["task more added"], "kept": 5, "restart": []}
        first_result(running, "more/third")
        del there.tasks["more"]
        there.write()
        done = edged("reload", rundir=running.rundir)
        assert done.stdout == "task more removed\n1 changed, 5 camera(s) and task(s) kept\n"
        until(lambda: running.camera("third")["mode"] == "cold", 5, "a camera that nobody names is closed")
    assert running.camera("third")["reason"] == "not needed"
    assert names(running) == {"keep", "change"}
    with pytest.raises(CommandRefused, match="no task 'more'"):
        running.request("task.activate", tasks=["more"])


def test_a_removed_task_says_so_once_and_then_nothing(running, there, task):
    there.tasks["more"] = task("third")
    there.write()
    running.request("reload")
    with running.subscriber("edged/1/task/more/") as subscriber:
        until(lambda: subscriber.receive_state(2).state == "active", 5)
        del there.tasks["more"]
        there.write()
        running.request("reload")
        until(lambda: subscriber.receive_state(2).state == "inactive", 3, "its last state")
        late = subscriber.receive_state(1.3)
        assert late is None, f"the state of a task that is gone is still published: {late}"


def test_a_camera_that_is_to_rest_readier_than_before_does(running, there, task):
    for unneeded, linger_s, mode in (("cold", 60, "cold"), ("parked", 0, "cold"), ("parked", 60, "parked")):
        there.tasks["more"] = task("third", active=False, unneeded=unneeded, linger_s=linger_s)
        there.write()
        with Watch(running):
            running.request("reload")
            until(lambda mode=mode: running.camera("third")["mode"] == mode, 5, f"{unneeded} for {linger_s} s")


def test_a_changed_deadline_counts_from_then_on(running, there, task):
    """A frame is never inferred within its first millisecond: with that deadline all results are late."""
    there.tasks["change"] = task("other", deadline_ms=1)
    there.write()
    with Watch(running):
        assert running.request("reload")["changed"] == ["task change changed"]
        late = running.task("change")["frames"]["other"]["late"]
        until(lambda: running.task("change")["frames"]["other"]["late"] > late + 5, 5, "late results")


def test_a_changed_rate_changes_the_rate_alone(running, there, task):
    opens = running.camera("other")["opens"]
    there.tasks["change"] = task("other", rate_hz=4)
    there.write()
    with Watch(running):
        assert running.request("reload")["changed"] == ["task change changed"]
        until(lambda: running.task("change")["wanted_hz"] == 4, 2)
        with running.subscriber("edged/1/det/change/") as subscriber:
            subscriber.receive(5)
            begin_s = time.monotonic()
            for _ in range(5):
                assert subscriber.receive(5) is not None
            assert 0.7 < time.monotonic() - begin_s < 2.5
    assert running.camera("other")["opens"] == opens
    assert running.camera("other")["reason"] == "needed by change 4 Hz"


def test_a_changed_camera_is_opened_anew_and_its_frame_ids_go_on(running, there, clip):
    with running.subscriber("edged/1/det/change/") as subscriber:
        before = subscriber.receive(5)
        there.cameras["other"] = {"source": f"file:{clip(frames=60, rate=RATE)}", "loop": True}
        there.write()
        with Watch(running):
            assert running.request("reload")["changed"] == ["camera other changed"]
            read = running.camera("other")["frames"]["read"]
            after = until(lambda: (one := subscriber.receive(5)) and one.frame_id > read and one, 5)
    assert after.frame_id > before.frame_id
    assert after.message["seq"] > before.message["seq"]
    assert after.message["boot"] == before.message["boot"]
    camera = running.camera("other")
    assert (camera["mode"], camera["state"]) == ("hot", "running")


def test_a_camera_that_comes_and_goes_is_opened_and_closed(running, there, task):
    there.cameras["fourth"] = there.cameras["kept"]
    there.tasks["more"] = task("fourth")
    there.write()
    with Watch(running):
        changed = running.request("reload")["changed"]
        assert changed == ["camera fourth added", "task more added"]
        last = first_result(running, "more/fourth").frame_id
        del there.cameras["fourth"], there.tasks["more"]
        there.write()
        assert running.request("reload")["changed"] == ["camera fourth removed", "task more removed"]
        assert {one["id"] for one in running.request("camera.list")["cameras"]} == set(there.cameras)
        there.cameras["fourth"] = there.cameras["kept"]
        there.tasks["more"] = task("fourth")
        there.write()
        running.request("reload")
        assert first_result(running, "more/fourth").frame_id > last, "ids of a camera are never used again"


def threads_and_files(running):
    proc = Path(f"/proc/{running.process.pid}")
    return len(list((proc / "task").iterdir())), len(list((proc / "fd").iterdir()))


def test_a_model_that_was_replaced_on_disk_is_loaded_and_the_old_one_goes(running, there, task, model, tmp_path):
    onnx = tmp_path / "net.onnx"
    shutil.copy(model(), onnx)
    there.tasks["change"] = task("other", onnx=onnx)
    there.write()
    running.request("reload")
    assert first_result(running, "change").message["engine"]["model"] == "net.onnx"
    levels = []
    with Watch(running):
        for batch in (2, None, 3, None):
            shutil.copy(model(batch=batch), tmp_path / "new.onnx")
            (tmp_path / "new.onnx").replace(onnx)
            answer = running.request("reload")
            assert (answer["changed"], answer["kept"]) == (["engine of task change changed"], 4)
            until(lambda: len(running.request("status")["engines"]) == 2, 2, "the old engine goes")
            engines = {one["model"]: one for one in running.request("status")["engines"]}
            assert (engines["net.onnx"]["fixed_batch"], engines["net.onnx"]["tasks"]) == (batch is not None, ["change"])
            assert engines["net.onnx"]["batch"] == (batch or 1)
            first_result(running, "change")
            time.sleep(0.15)  # a tick, in which the old one is closed
            levels.append(threads_and_files(running))
    assert max(levels[1:]) <= max(levels[:1]), f"threads and descriptors grow: {levels}"


FAULTY = [
    ("a rate", {"rate_hz": -1}, "rate_hz: must be a number from 0.01 to 1000, got -1"),
    ("an unknown key", {"rate_hzz": 1}, "rate_hzz: unknown key; did you mean 'rate_hz'?"),
    ("a camera", {"cameras": ["othr"]}, "cameras.0: camera 'othr' is not in cameras.yaml; did you mean 'other'?"),
    ("a rule", {"when": "sped_mps < 5"}, "when: column 1: there is no 'sped_mps'; did you mean 'speed_mps'?"),
    ("a parser", {"net": {"parser": "yolov88"}}, "model.parser"),
    ("a model", {"net": {"onnx": "gone.onnx"}}, "model.onnx"),
]


@pytest.mark.parametrize(("values", "text"), [row[1:] for row in FAULTY], ids=[row[0] for row in FAULTY])
def test_a_faulty_configuration_changes_nothing_and_says_why(running, there, task, values, text):
    before = (running.request("task.list")["tasks"], running.camera("other")["opens"])
    there.tasks["more"] = task("third")
    values = {**task("other"), **values}
    values["model"] = {**values["model"], **values.pop("net", {})}
    there.tasks["change"] = values
    there.cameras["kept"] = {**there.cameras["kept"], "stall_timeout_s": 3}
    there.write()
    with Watch(running):
        done = edged("reload", "--json", rundir=running.rundir)
    (fault,) = json.loads(done.stdout)["faults"]
    said = f"{fault['key']}: {fault['text']}"
    assert (done.returncode, fault["file"], fault["line"]) == (78, f"{there.folder}/tasks/change.yaml", 1)
    assert said.startswith(text)
    assert done.stderr.startswith(f"edged: {there.folder}/tasks/change.yaml:1: {said}\n")
    assert "1 fault(s)" in done.stderr
    after = (running.request("task.list")["tasks"], running.camera("other")["opens"])
    assert [one["task"] for one in after[0]] == [one["task"] for one in before[0]]
    assert after[1] == before[1]
    assert f"tasks/change.yaml:1: {text.partition(':')[0]}" in running.log


def test_sighup_on_a_faulty_configuration_changes_nothing(running, there):
    (there.folder / "cameras.yaml").write_text("cameras: [")
    lines = running.log.count("nothing has changed")
    with Watch(running):
        running.process.send_signal(signal.SIGHUP)
        until(lambda: running.log.count("nothing has changed") > lines, 5, "a word in the log")
    assert names(running) == {"keep", "change"}
    there.write()


def test_the_camera_of_an_active_task_cannot_be_taken_away(running, there):
    del there.cameras["other"]
    there.write()
    with Watch(running), pytest.raises(CommandRefused) as caught:
        running.request("reload")
    assert caught.value.code == "refused"
    assert "tasks/change.yaml:1: cameras.0: camera 'other' is not in cameras.yaml" in str(caught.value)
    assert running.camera("other")["state"] == "running"
    first_result(running, "change/other")


def test_a_refused_reload_does_not_say_that_nothing_was_started(running, there, task):
    there.tasks["change"] = task("other", rate_hz=0)
    there.write()
    with pytest.raises(CommandRefused) as caught:
        running.request("reload")
    assert "started" not in str(caught.value), "the daemon runs"


def test_a_changed_endpoint_asks_for_a_restart_and_the_rest_is_taken_over(running, there, task, tmp_path):
    endpoint = f"ipc://{tmp_path}/more.sock"
    there.edged = {"publish": {"endpoints": [endpoint]}, "scheduler": {"warm_max_s": 2, "signal_timeout_s": 2}}
    there.tasks["more"] = task("third")
    there.write()
    with Watch(running):
        answer = running.request("reload")
        first_result(running, "more")
    assert sorted(answer["restart"]) == ["publish.endpoints", "scheduler.warm_max_s"]
    words = {"task more added", *(f"edged.yaml {key}" for key in (*answer["restart"], "scheduler.signal_timeout_s"))}
    assert set(answer["changed"]) == words
    assert "these need a restart and are as before: publish.endpoints" in running.log
    assert not (tmp_path / "more.sock").exists()


def test_what_needs_a_restart_is_told_again_until_it_comes(running, there, tmp_path):
    there.edged = {"publish": {"endpoints": [f"ipc://{tmp_path}/more.sock"]}}
    there.write()
    assert running.request("reload")["restart"] == ["publish.endpoints"]
    assert running.request("reload")["restart"] == ["publish.endpoints"], "the socket is still the old one"


def test_commands_hold_over_a_reload(running, there, task):
    there.tasks["more"] = task("third", active=False)
    there.write()
    running.request("reload")
    running.request("task.activate", tasks=["more"])
    running.request("task.deactivate", tasks=["change"])
    there.tasks["more"] = task("third", active=False, rate_hz=7)
    there.write()
    with Watch(running):
        running.request("reload")
        more, change = running.task("more"), running.task("change")
    assert (more["state"], more["reason"], more["wanted_hz"]) == ("active", "activated by command", 7)
    assert (change["state"], change["reason"]) == ("inactive", "deactivated by command")
    running.request("task.activate", tasks=["change"])


def test_signals_and_rules_of_a_new_configuration(running, there, task):
    there.edged = {"signals": {"load_kg": "number"}}
    there.tasks["more"] = task("third", when="load_kg > 5")
    there.write()
    with pytest.raises(CommandRefused, match="no signal 'load_kg'"):
        running.request("signal.set", signals={"load_kg": 6})
    with Watch(running):
        running.request("reload")
        assert running.task("more")["reason"] == "when is false: load_kg was never set"
        running.request("signal.set", signals={"load_kg": 6})
        until(lambda: running.task("more")["state"] == "active", 1, "the rule is true")


def test_a_new_log_level_holds_at_once(running, there):
    there.edged = {"log": {"level": "warning"}}
    there.write()
    running.request("reload")
    begin = len(running.log)
    running.request("task.deactivate", tasks=["change"])
    running.request("task.activate", tasks=["change"])
    assert "task change" not in running.log[begin:]
    there.edged = {}
    there.write()
    running.request("reload")
    running.request("task.deactivate", tasks=["change"])
    until(lambda: "task change: inactive" in running.log[begin:], 2, "a line of the level info")
    running.request("task.activate", tasks=["change"])


def test_reloads_at_once_are_all_answered(running, there, task):
    there.tasks["more"] = task("third")
    there.write()
    answers, begin = [], len(running.log)

    def ask():
        with Control(running.child.control, 20) as control:
            answers.append(control.request("reload"))

    threads = [threading.Thread(target=ask) for _ in range(6)]
    with Watch(running):
        for thread in threads:
            thread.start()
        for _ in range(5):
            running.process.send_signal(signal.SIGHUP)
        for thread in threads:
            thread.join(30)
        first_result(running, "more")
    assert len(answers) == 6
    assert running.log[begin:].count("taken over: task more added") == 1  # asked for by one of them, or by a signal
    assert "Traceback" not in running.log


def test_a_reload_asked_for_during_another_reads_what_was_written_since(running, there, task, tmp_path):
    """The first one is busy with a network of 2,000 layers; the file is changed before the second one is asked for."""
    slow = write_model(tmp_path / "slow.onnx", work=2000)
    there.tasks["more"] = task("third", onnx=slow, active=False)
    there.write()
    lines = running.log.count("reading the configuration again")
    with Control(running.child.control, 60) as control:
        first = threading.Thread(target=control.request, args=("reload",))
        first.start()
        until(lambda: running.log.count("reading the configuration again") > lines, 5, "the first reload")
        time.sleep(0.03)
        there.tasks["late"] = task("third", rate_hz=3)
        there.write()
        with Control(running.child.control, 60) as other:
            other.request("reload")
        first.join(60)
    assert "late" in names(running)


def test_a_changed_camera_that_hangs_in_its_source_holds_nothing_up(running, there, task):
    """Its server takes the connection and stays mute; the new source waits until the old one lets go."""
    there.tasks["more"] = task("third")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute_url = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        there.cameras["third"] = {"source": mute_url, "open_timeout_s": 2}
        there.write()
        running.request("reload")
        until(lambda: running.camera("third")["state"] == "connecting", 5, "a connection")
        until(lambda: running.task("more")["state"] == "degraded", 5)
        there.cameras["third"] = there.cameras["kept"]
        there.write()
        with Watch(running):
            assert running.request("reload")["changed"] == ["camera third changed"]
            first_result(running, "more/third", 10)
    until(lambda: running.task("more")["state"] == "active", 2)


def test_a_stop_does_not_wait_for_a_reload(daemon, site, first, task, tmp_path):
    """The fixture checks that it ends in time, with 0, and leaves nothing."""
    slow = write_model(tmp_path / "slow.onnx", work=6000)
    other = daemon(site(*first))
    (other.config / "tasks" / "more.yaml").write_text(json.dumps(task("third", onnx=slow)))
    other.process.send_signal(signal.SIGHUP)
    until(lambda: "reading the configuration again" in other.log, 5, "the reload")
    other.stop()
    assert "taken over" not in other.log


@pytest.fixture
def slow(plug_in, tmp_path):
    """The environment with a plug-in parser `slow`, made for as long as the file `hold` is there; who waits for that is
    soon taken to hang."""
    code = f"""
        import time
        from dataclasses import replace
        from pathlib import Path

        import edged.reload
        from edged.tasks.yolo import Yolov8

        edged.reload.ONCE = replace(edged.reload.ONCE, silence_s=2)

        class Slow(Yolov8):
            def __init__(self, model, settings):
                while Path({str(tmp_path / "hold")!r}).exists():
                    time.sleep(0.01)
                super().__init__(model, settings)
    """
    return plug_in("slow", code)


def test_a_reload_that_hangs_is_refused_and_the_daemon_goes_on(daemon, site, task, first, slow, tmp_path):
    there = Site(Path(), first[0], {"t": task("kept", net={"parser": "slow"})})
    there.folder = site(there.cameras, there.tasks)
    running = daemon(there.folder, **slow)
    there.tasks["more"] = task("other", net={"parser": "slow", "score_min": 0.3})
    there.write()
    (tmp_path / "hold").touch()
    with (
        pytest.raises(CommandRefused, match=r"^reload: silent for ") as caught,
        Control(running.child.control, 20) as own,
    ):
        own.request("reload")
    assert caught.value.code == "failed"
    with pytest.raises(CommandRefused, match="the reload before this one hangs"):
        running.request("reload")
    first_result(running, "t/kept")
    (tmp_path / "hold").unlink()
    until(lambda: "the reload that hung has ended" in running.log, what="its end")
    assert names(running) == {"t"}
    assert running.request("reload")["changed"] == ["task more added"]
    first_result(running, "more/other")
