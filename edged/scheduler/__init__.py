"""Tasks own cameras: the plan, and the dispatch of frames to engines."""
