"""Results and states on their way out: the wire format, and the socket that sends it."""
