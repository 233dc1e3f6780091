"""The configuration, its credentials, and its engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from edged.doctor.line import Line, line
from edged.doctor.probing import Answers

GROUP = "configuration"
FAULTS_MAX = 10
CALIBRATE = "run: edged engine calibrate"
SUM = "fault(s);"  # the last line of a configuration's faults, which counts them


def lines(config: Path, answers: Answers, confined: bool) -> Iterator[Line]:
    """Yield every fault of the configuration, and the credentials that are not there."""
    answer = answers["configuration"]
    if not (config / "cameras.yaml").exists():
        remedy = "copy configs/jetson or configs/demo there and change it; another place: --config DIR"
        yield line(GROUP, "files", "", f"{config} has no cameras.yaml", remedy, needed=False)
        return
    if answer.error:
        for fault in [row for row in answer.error.splitlines() if SUM not in row][:FAULTS_MAX]:
            yield line(GROUP, "files", "", fault, f"edged --config {config} check")
        return
    tasks, cameras = answer.get("tasks", ()), answer.get("cameras", ())
    yield line(GROUP, "files", f"{config}: {len(tasks)} tasks, {len(cameras)} cameras, no fault")
    for text in answer.get("missing", ()):
        remedy = "LoadCredential= in the unit, as in 30-credentials.conf.example; only the service itself sees them"
        yield line(GROUP, "credentials", "", text, remedy, needed=confined)


def engines(answers: Answers) -> Iterator[Line]:
    """Yield every task's engine, and whether it fits this machine."""
    answer = answers["engines"]
    if answers["configuration"].error or not answers["configuration"].found:
        return
    if answer.error:
        yield line("engines", "store", "", answer.error, "edged engine list")
    for row in answer.get("engines", ()):
        fits = row["state"] in ("fits", "needs no build")
        found = f"{row['model']}, {row['precision']} on {', '.join(row['backend'])}: {row['state']}"
        wrong = "" if fits else f"{row['state']}: {row['reason']}"
        remedy = "see gpu above" if row["state"] == "unavailable" else f"edged engine build {row['task']}"
        if row["state"] == "missing" and CALIBRATE in row["reason"]:
            remedy = row["reason"].rpartition("run: ")[2]
        yield line("engines", f"task {row['task']}", found, wrong, remedy, needed=row["state"] != "missing")
