"""GStreamer, in a camera's own process: `recipes` of pipelines, `stream` reads, `decoder` decodes, `video` converts."""
