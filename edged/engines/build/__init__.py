"""Builds engines: calibration frames, quantisation, and the comparison with FP32. Nothing here runs in the daemon."""
