"""A camera source in a process of its own: `wire` between the two, `process` on our side, `child` on the other."""
