"""The daemon's state for Prometheus: what each metric is, how a page is made of the status, and how it is served."""
