"""edged: an edge perception daemon in which tasks own cameras."""

__version__ = "0.1.0"
