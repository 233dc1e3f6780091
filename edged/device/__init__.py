"""The CUDA layer: contexts, streams, events, memory and graphs. All that edged asks of CUDA goes through here."""
