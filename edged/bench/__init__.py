"""Measures this machine: edged beside its own ceilings, in one run, as tables."""
