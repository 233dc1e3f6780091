"""Stands for a shard's process whose main thread hangs: it says something all the time, and reports nothing."""

import sys
import time
from multiprocessing.connection import Connection

with Connection(int(sys.argv[1])) as channel:
    while True:
        channel.send([("result", "found", False)])
        time.sleep(0.01)
