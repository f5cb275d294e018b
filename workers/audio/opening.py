"""Opens sources away from the event loop: probing a file takes milliseconds, a dead server takes seconds.

Each opening gets a daemon thread, so that one that hangs can hold up neither another nor the end of the
process. Files and URLs have separate bounds: a hundred dead servers leave local files untouched.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import Final, TypeAlias

from voicepool.ipc.commands import BytesSource, FileSource, Source, UrlSource
from voicepool.ipc.events import MediaInfo
from voicepool.workers.audio.media import MediaReader, open_media
from voicepool.workers.audio.readahead import ReadAhead

__all__ = ["OpenedSource", "Opener", "wire_info"]

_FILES_AT_ONCE: Final = 8
_URLS_AT_ONCE: Final = 64

OpenedSource: TypeAlias = MediaReader | ReadAhead


class Opener:
    """Opens what `Play` names.

    Parameters
    ----------
    open_timeout_s, read_timeout_s
        How long a server may take to answer, and to send the next bytes.
    read_ahead_s
        How much of a URL to hold decoded ahead.
    """

    def __init__(self, *, open_timeout_s: float, read_timeout_s: float, read_ahead_s: float) -> None:
        self._open_timeout_s = open_timeout_s
        self._read_timeout_s = read_timeout_s
        self._read_ahead_s = read_ahead_s
        self._files = asyncio.Semaphore(_FILES_AT_ONCE)
        self._urls = asyncio.Semaphore(_URLS_AT_ONCE)

    async def open(self, source: Source, attachments: list[bytes]) -> OpenedSource:
        """Open a source; cancelled, it is closed as soon as it has opened.

        Raises
        ------
        SourceError
            It cannot be played.
        """
        slots = self._urls if isinstance(source, UrlSource) else self._files
        await slots.acquire()
        result: asyncio.Future[OpenedSource] = asyncio.get_running_loop().create_future()
        try:
            self._start_thread(source, attachments, result, slots)
        except BaseException:
            slots.release()
            raise
        try:
            return await result
        except asyncio.CancelledError:
            if result.done() and not result.cancelled() and result.exception() is None:
                # It opened in the moment of the cancellation.
                result.result().close()
            raise

    def _start_thread(
        self,
        source: Source,
        attachments: list[bytes],
        result: asyncio.Future[OpenedSource],
        slots: asyncio.Semaphore,
    ) -> None:
        loop = result.get_loop()

        def deliver(opened: OpenedSource | None, error: BaseException | None) -> None:
            # Not before: what hangs after its cancellation is a thread and a connection still.
            slots.release()
            if result.cancelled():
                if opened is not None:
                    opened.close()
            elif error is not None:
                result.set_exception(error)
            elif opened is not None:
                result.set_result(opened)

        def work() -> None:
            opened, failure = None, None
            try:
                opened = self._open(source, attachments)
            except Exception as error:  # noqa: BLE001  # handed to the waiting coroutine, whatever it is
                failure = error
            try:
                loop.call_soon_threadsafe(deliver, opened, failure)
            except RuntimeError:  # the loop has closed: the worker is on its way out
                if opened is not None:
                    opened.close()

        threading.Thread(target=work, name="voicepool-opener", daemon=True).start()

    def _open(self, source: Source, attachments: list[bytes]) -> OpenedSource:
        location: str | bytes
        match source:
            case FileSource(path):
                # Absolute, so that no name of a file can be taken for a URL.
                location = os.path.abspath(path)  # noqa: PTH100  # a name may hold what Path would fold
            case UrlSource(url):
                location = url
            case BytesSource():
                location = attachments[0]
        reader = open_media(
            location, open_timeout_s=self._open_timeout_s, read_timeout_s=self._read_timeout_s
        )
        if isinstance(source, UrlSource):
            return ReadAhead(reader, capacity_s=self._read_ahead_s)
        return reader


def wire_info(opened: OpenedSource) -> MediaInfo:
    """Return what the source says of itself, as it goes over the wire."""
    info = opened.info
    return MediaInfo(
        codec=info.codec,
        container=info.container,
        sample_rate_hz=info.sample_rate_hz,
        channels=info.channels,
        duration_s=info.duration_s,
        title=info.title,
        artist=info.artist,
        passthrough=opened.kind == "opus",
    )
