"""The real planner, budget and dispatcher in simulated time: what a vehicle would get, before there is one."""
