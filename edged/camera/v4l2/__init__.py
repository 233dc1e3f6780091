"""V4L2 cameras natively: `uapi` is the kernel's header, `node` the door to it, `source` the camera."""
