"""The cameras in shares, each with its own engine workers: in the daemon's own process, or in several.

`shard.py` is one share, `assign.py` says which camera belongs to which, `process.py` and `child.py` are the two ends of
a shard in a process of its own, and `fleet.py` is all of them as one.
"""
