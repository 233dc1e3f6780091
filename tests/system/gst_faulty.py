"""A file through GStreamer whose decoder fails or is slow, as elements in its pipeline can be told to."""

from __future__ import annotations

import time

from edged.camera.gst import decoder, source


class FaultyDecoder(decoder.Decoder):
    """Has an element behind the parser that does nothing."""

    fault = ""

    def _launch(self, caps):
        return super()._launch(caps).replace("h264parse ! ", f"h264parse ! identity name=fault {self.fault} ! ")


class FailsAfterTen(source.GstSource):
    """Its decoder reports an error at the tenth packet."""

    def __init__(self, opening):
        FaultyDecoder.fault = "error-after=10"
        source.Decoder = FaultyDecoder
        super().__init__(opening)


class SlowOnce(source.GstSource):
    """Its decoder takes 3 ms for a packet and 200 ms for the tenth; packets come every 10 ms."""

    def __init__(self, opening):
        source.Decoder = FaultyDecoder
        self._count = 0
        super().__init__(opening)

    def decode(self, grab):
        self._count += 1
        if self._decoder is not None:
            fault = self._decoder._pipeline.get_by_name("fault")
            fault.set_property("sleep-time", 200_000 if self._count == 10 else 3_000)
        time.sleep(0.01)
        return super().decode(grab)
