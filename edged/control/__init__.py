"""The control socket: requests in, replies out."""
