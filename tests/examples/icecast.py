"""A radio station as Icecast sends one: MP3 without end, as fast as it is heard, with titles in between."""

from __future__ import annotations

import http.server
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import av
import numpy as np

from tests.examples.hall import RATE_HZ, TONE_DB
from tests.workers.audio.media_files import Pipe

BITRATE_BPS: Final = 128_000
INTERVAL_BYTES: Final = 1_600
"""Of audio between two titles: 0.1 s."""
AHEAD: Final = 10
"""How many such pieces are sent at once at the beginning, as Icecast's burst."""


@dataclass
class Icecast:
    """What it sends, and who has come for it."""

    tone_hz: float
    title: str
    port: int = 0
    listeners: int = 0
    """How many have come so far."""
    cut: threading.Event = field(default_factory=threading.Event)
    """Set to hang up on who is there."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/stream"

    def change(self, tone_hz: float, title: str) -> None:
        """Hang up, and send something else to who comes next."""
        self.tone_hz, self.title = tone_hz, title
        cut, self.cut = self.cut, threading.Event()
        cut.set()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Listeners go away when they like."""


def _handler(station: Icecast) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Keep quiet."""

        def do_GET(self) -> None:
            cut, audio, title = station.cut, _mp3(station.tone_hz), station.title
            station.listeners += 1
            self.send_response(200)
            self.send_header("Content-Type", "audio/mpeg")
            self.send_header("icy-metaint", str(INTERVAL_BYTES))
            self.end_headers()
            text = f"StreamTitle='{title}';".encode()
            units = -(-len(text) // 16)
            titles = itertools.chain(
                [bytes([units]) + text.ljust(units * 16, b"\0")], itertools.repeat(b"\0")
            )
            for number, (at, block) in enumerate(
                zip(itertools.count(0, INTERVAL_BYTES), titles, strict=False)
            ):
                place = at % (len(audio) - INTERVAL_BYTES)
                self.wfile.write(audio[place : place + INTERVAL_BYTES] + block)
                # The clock of the broadcast: it is not sent faster than it is heard.
                if cut.wait(0.0 if number < AHEAD else INTERVAL_BYTES * 8 / BITRATE_BPS):
                    return

    return Handler


@cache
def _mp3(hz: float, seconds: float = 10.0) -> bytes:
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    samples = (10 ** (TONE_DB / 20) * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)
    pipe = Pipe()
    with av.open(pipe, "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as muxer:
        stream: Any = muxer.add_stream("libmp3lame", rate=RATE_HZ, layout="stereo")
        stream.bit_rate = BITRATE_BPS
        stream.codec_context.open()
        step: int = stream.codec_context.frame_size
        for at in range(0, len(samples) - step, step):
            planes = np.ascontiguousarray(np.tile(samples[at : at + step], (2, 1)))
            frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout="stereo")
            frame.sample_rate, frame.pts = RATE_HZ, at
            muxer.mux(stream.encode(frame))
        muxer.mux(stream.encode(None))
    return bytes(pipe.data)


@contextmanager
def on_the_air(tone_hz: float, title: str) -> Iterator[Icecast]:
    """Send until the block ends."""
    station = Icecast(tone_hz, title)
    server = _Server(("127.0.0.1", 0), _handler(station))
    station.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield station
    finally:
        station.cut.set()
        server.shutdown()
        thread.join()
        server.server_close()
