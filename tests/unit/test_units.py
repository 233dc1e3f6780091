"""The units agree with one another, and use nothing that systemd 249 does not know."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "systemd"
SERVICE = UNITS / "edged.service"
DEVICES = UNITS / "edged.service.d/20-devices.conf.example"
NEWER = {
    "LoadCredentialEncrypted",
    "SetCredentialEncrypted",
    "ImportCredential",
    "RestartSteps",
    "RestartMaxDelaySec",
    "RestartMode",
    "ReloadSignal",
    "OpenFile",
    "MemoryZSwapMax",
    "RootEphemeral",
    "MemoryPressureWatch",
    "DelegateSubgroup",
    "FileDescriptorStorePreserve",
    "PrivatePIDs",
    "RestrictFileSystems",
    "LogFilterPatterns",
    "CoredumpReceive",
    "SurviveFinalKillSignal",
    "ConditionMemoryPressure",
}  # fmt: skip - options that came with systemd 250 and later


def options(path):
    """Return a unit's (section, option, value) lines."""
    section, found = "", []
    for row in path.read_text().splitlines():
        if row.startswith("["):
            section = row.strip("[]")
        elif row and not row.startswith("#"):
            name, equals, value = row.partition("=")
            assert equals, f"{path.name}: {row}"
            found.append((section, name, value))
    return found


def confinement(path):
    rows = options(path)
    first = rows.index(("Service", "NoNewPrivileges", "yes"))
    return [row for row in rows[first:] if row[0] == "Service"]


def test_the_doctor_is_confined_as_the_daemon_is():
    assert confinement(UNITS / "edged-doctor.service") == confinement(SERVICE)
    same = ("User", "Group", "StateDirectory", "StateDirectoryMode", "CacheDirectory", "CacheDirectoryMode",
            "ConfigurationDirectory", "LimitNOFILE", "LimitCORE")  # fmt: skip
    values = [{name: value for _, name, value in options(UNITS / unit) if name in same}
              for unit in ("edged.service", "edged-doctor.service")]  # fmt: skip
    assert values[0] == values[1]
    assert len(values[0]) == len(same)


@pytest.mark.parametrize("group", ["17000000.gpu", "17000000.ga10b", "video4linux", "nvidia-uvm", "host1x-fence"])
def test_a_closed_list_of_devices_lets_a_board_s_own_in(group):
    """Names as /proc/devices has them; systemd takes wildcards in those, and none in paths."""
    rules = [value.split() for _, name, value in options(DEVICES) if name == "DeviceAllow"]
    assert {mode for _, mode in rules} == {"rw"}
    assert any(fnmatch(group, one.removeprefix("char-")) for one, _ in rules if one.startswith("char-"))
    assert not [one for one, _ in rules if one.startswith("/dev/") and set(one) & set("*?[")]


def test_what_is_asked_for_while_argus_rests_counts_as_asked_for_once_more():
    """Its path unit would start it again for a file that is there at its end."""
    commands = [value for _, name, value in options(UNITS / "edged-argus.service") if name == "ExecStart"]
    (asked,) = [value for _, name, value in options(UNITS / "edged-argus.path") if name == "PathExists"]
    assert commands[0] == commands[-1] == f"/bin/rm -rf {asked}"
    assert commands[-2].startswith("/bin/sleep ")


@pytest.mark.parametrize("path", sorted(UNITS.glob("*.*")), ids=lambda path: path.name)
def test_no_option_is_newer_than_systemd_249(path):
    if path.is_file():
        names = {name for _, name, _ in options(path)}
        assert not names & NEWER
        assert ("Service", "Type", "notify-reload") not in options(path)


def test_every_option_of_the_confinement_has_a_reason_above_it():
    rows = SERVICE.read_text().splitlines()
    begin = rows.index("NoNewPrivileges=yes")
    reason = ""
    for row in rows[begin - 1 :]:
        if row.startswith("["):
            break
        if row.startswith("#"):
            reason = row
        elif not row:
            reason = ""
        else:
            assert reason, f"{row} has no reason above it"


def test_what_the_contract_says_of_the_service():
    wanted = {
        "Type": "notify", "RestartPreventExitStatus": "78", "RuntimeDirectory": "edged", "StateDirectory": "edged",
        "CacheDirectory": "edged", "ConfigurationDirectory": "edged", "TimeoutStopSec": "5", "OOMPolicy": "continue",
        "LimitCORE": "0", "MemoryMax": "75%", "User": "edged",
    }  # fmt: skip
    found = {name: value for _, name, value in options(SERVICE)}
    assert {name: found[name] for name in wanted} == wanted
