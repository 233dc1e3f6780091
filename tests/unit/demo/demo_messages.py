"""Messages as the daemon sends them, made by hand."""

from __future__ import annotations

from typing import Any


def result(task: str, camera: str, frame_id: int, seq: int = 0, **more: Any) -> tuple[str, dict[str, Any]]:
    message = {
        "v": 1,
        "task": task,
        "camera": camera,
        "seq": seq,
        "frame": {"id": frame_id, "width": 640, "height": 360},
        "latency_ms": {"total": 20.0},
        "detections": [],
        "a key of a later version": 1,
        **more,
    }
    return f"edged/1/det/{task}/{camera}/", message


def box(label: str, score: float, *edges: float) -> dict[str, Any]:
    return {"class": label, "class_id": 0, "score": score, "box": list(edges or (10.0, 20.0, 30.0, 60.0))}


def lane(*points: tuple[float, float]) -> dict[str, Any]:
    return {"kind": "line", "score": 0.8, "points": [list(point) for point in points or ((1.0, 2.0), (3.0, 4.0))]}


def camera_row(name: str, mode: str = "hot", tasks: tuple[str, ...] = (), **more: Any) -> dict[str, Any]:
    row = {"id": name, "mode": mode, "state": "running", "rate_hz": 15.0, "reason": "", "tasks": list(tasks)}
    return {**row, **more}


def task_row(name: str, state: str = "active", rate_hz: float = 10.0, reason: str = "configured") -> dict[str, Any]:
    return {"task": name, "state": state, "rate_hz": rate_hz, "reason": reason}


def status(
    tasks: list[dict[str, Any]], cameras: list[dict[str, Any]], uptime_s: float = 10.0
) -> tuple[str, dict[str, Any]]:
    own = {"v": 1, "uptime_s": uptime_s, "cpu_cores": 0.42, "rss_mb": 154.3}
    return "edged/1/status/", {**own, "tasks": tasks, "cameras": cameras}
