"""Between the ring and the transport encryption: each frame of ours gets its key, or stays [pure].

`FrameSealer.seal` runs on the pacing thread for every frame of the call. The control loop says what becomes
of frames by replacing one reference (`encrypt_with`, `pass_through`, `withhold`), and the pacing thread reads
it once a frame, so there is no lock and no frame under half of a change. In an encrypted call a frame leaves
encrypted or not at all: while there is no key, `seal` returns None, and `around` sends silence in that
frame's place, so that sequence number and timestamp go on.

Silence is the exception. The whitepaper has *receivers* take the frame F8 FF FE unencrypted at any time (DAVE
protocol, Silence Packets), because the server itself sends it for whoever is muted; of senders it says that
Opus frames are encrypted whole (DAVE protocol, Codec Handling, OPUS). We send it as it is, in every state. It
tells nobody anything: it is a constant, and the packet's size would give it away under encryption. Discord's
other clients on this library do so too (it never encrypts this frame), and so the silence after a track ends
it for everybody, also for those who have no key for us yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from voicepool.workers.audio.frame import SILENCE
from voicepool.workers.dave.contract import Encrypt

__all__ = ["FrameSealer", "is_library_error", "is_protocol_frame"]

_MARKER: Final = b"\xfa\xfa"
_TAG_BYTES: Final = 8
_FOOTER_BYTES: Final = 3
"""The size of the supplemental data, and the marker."""
_SUPPLEMENTAL_MIN_BYTES: Final = _TAG_BYTES + 1 + _FOOTER_BYTES
_NONCE_MAX: Final = 0xFFFF_FFFF
_ULEB_MORE: Final = 0x80


class FrameSealer:
    """What becomes of our frames: as they are, encrypted, or withheld.

    A new sealer withholds, until `DaveProtocol` knows what the call asks for. The counters are written by the
    thread that seals.
    """

    __slots__ = ("_encrypt", "encrypted", "failures", "withheld")

    def __init__(self) -> None:
        self._encrypt: Encrypt | None = None
        self.encrypted = 0
        """Frames that left encrypted."""
        self.withheld = 0
        """Frames that did not leave: there was no key, or encrypting failed."""
        self.failures = 0
        """Those of them that had a key, but could not be encrypted."""

    def __repr__(self) -> str:
        return f"<FrameSealer {self.mode} encrypted={self.encrypted} withheld={self.withheld}>"

    @property
    def mode(self) -> str:
        """``plain``, ``withholding`` or ``encrypting``."""
        if self._encrypt is None:
            return "withholding"
        return "plain" if self._encrypt is _as_it_is else "encrypting"

    def encrypt_with(self, encrypt: Encrypt) -> None:
        """Encrypt from the next frame on. Control loop."""
        self._encrypt = encrypt

    def pass_through(self) -> None:
        """Let frames through as they are: the call is not end-to-end encrypted. Control loop."""
        self._encrypt = _as_it_is

    def withhold(self) -> None:
        """Let no frame through until there is a key. Control loop."""
        self._encrypt = None

    def around(self, transport: Callable[[bytes, bytes], bytes]) -> Callable[[bytes, bytes], bytes]:
        """Return what makes a packet of an RTP header and an Opus frame, by way of `seal` and `transport`.

        A withheld frame leaves as silence, so that sequence number and timestamp go on. Pacing thread.
        """

        def seal(header: bytes, opus: bytes) -> bytes:
            if self._encrypt is _as_it_is:
                return transport(header, opus)
            frame = self.seal(opus)
            return transport(header, SILENCE if frame is None else frame)

        return seal

    def seal(self, opus: bytes) -> bytes | None:
        """Return what goes into the packet, or None if nothing of this frame may. Pacing thread."""
        if opus == SILENCE:
            return opus
        encrypt = self._encrypt
        if encrypt is None:
            self.withheld += 1
            return None
        try:
            sealed = encrypt(opus)
        except BaseException as error:
            if not is_library_error(error):
                raise
            self.failures += 1
            self.withheld += 1
            return None
        if sealed is not opus:
            self.encrypted += 1
        return sealed


def is_library_error(error: BaseException) -> bool:
    """Whether this is a failure of the call into the library, and not one that is to end the thread.

    A panic inside a Rust library comes out as an exception that is not an `Exception`, of a class that cannot
    be imported. One frame is lost by it; were it raised, the worker's only pacing thread would be.
    """
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


def is_protocol_frame(frame: bytes) -> bool:
    """Whether a frame has the shape of an encrypted one (DAVE protocol, Protocol Frame Check).

    A frame in the clear passes by rare chance; it then fails to decrypt, and is lost.
    """
    if not frame.endswith(_MARKER) or len(frame) <= _SUPPLEMENTAL_MIN_BYTES:
        return False
    supplemental_bytes = frame[-_FOOTER_BYTES]
    if not _SUPPLEMENTAL_MIN_BYTES <= supplemental_bytes < len(frame):
        return False
    media_bytes = len(frame) - supplemental_bytes
    numbers = _read_ulebs(frame[media_bytes + _TAG_BYTES : -_FOOTER_BYTES])
    if not numbers or len(numbers) % 2 == 0 or numbers[0] > _NONCE_MAX:
        return False
    free_from = 0
    for offset, size in zip(numbers[1::2], numbers[2::2], strict=True):
        if offset < free_from or offset + size > media_bytes:
            return False
        free_from = offset + size
    return True


def _read_ulebs(data: bytes) -> list[int]:
    """Return the numbers in the bytes; none at all if the last is not complete."""
    numbers = []
    value = shift = 0
    for byte in data:
        value |= (byte & ~_ULEB_MORE) << shift
        shift += 7
        if not byte & _ULEB_MORE:
            numbers.append(value)
            value = shift = 0
    return [] if shift else numbers


def _as_it_is(opus: bytes) -> bytes:
    return opus
