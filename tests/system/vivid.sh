#!/bin/sh
# Runs the V4L2 tests on the kernel's own virtual cameras: six with one plane of memory and one with several.
# For a machine (or a virtual one) that nobody else's cameras are on, as root, in an environment of the development set.
set -eu
cd "$(dirname "$0")/../.."
modprobe -r vivid 2>/dev/null || true
modprobe vivid n_devs=7 node_types=0x1,0x1,0x1,0x1,0x1,0x1,0x1 num_inputs=1,1,1,1,1,1,1 \
    input_types=0,0,0,0,0,0,0 multiplanar=1,1,1,1,1,1,2
udevadm settle
exec "${PYTHON:-.venv/bin/python}" -m pytest tests/system/test_v4l2.py tests/contract/test_camera_contract_v4l2.py \
    --timeout 900 -v "$@"
