"""The shared-memory ring through which other processes hand frames in: layout, feeder, reader, camera source."""
