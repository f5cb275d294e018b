"""Opus decoding through libopus, for one owner thread at a time."""

from __future__ import annotations

import ctypes
import weakref
from typing import Final

import numpy as np

from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicepool.workers.audio.libopus import load_libopus
from voicepool.workers.audio.opus import OK, Ctl, OpusError, PcmFrame, address, check_range, failure

__all__ = ["Decoder", "OpusPacketDecoder"]


class Decoder:
    """Decodes Opus packets to 48 kHz PCM. Mono packets come out on both channels of a stereo decoder.

    Not thread-safe: one thread at a time calls it, `close` included.

    Parameters
    ----------
    channels
        1 or 2.

    Raises
    ------
    ValueError
        `channels` is something else.
    WorkerSideError
        ``LIBOPUS_MISSING``.
    """

    def __init__(self, *, channels: int = CHANNELS) -> None:
        check_range("channels", channels, 1, 2)
        functions = load_libopus()
        code = ctypes.c_int(OK)
        state = functions.decoder_create(SAMPLE_RATE_HZ, channels, ctypes.byref(code))
        if not state:
            raise failure(functions, "creating a decoder", code.value)
        self._functions = functions
        self._state: int | None = state
        self._destroy = weakref.finalize(self, functions.decoder_destroy, state)
        self.channels: Final = channels

    def decode_float(self, packet: bytes | None, out: PcmFrame, *, fec: bool = False) -> int:
        """Decode one packet.

        Parameters
        ----------
        packet
            `None` conceals a lost one: `out` is filled as a whole.
        out
            Writable, C-contiguous float32 of shape ``(samples, channels)``, a multiple of 120 samples. 5760
            samples hold any packet, 960 hold what Discord sends.
        fec
            `packet` is the one after a lost one, and its error correction is to yield the lost one.

        Returns
        -------
        int
            Samples of each channel that were written.

        Raises
        ------
        OpusError
            The packet is corrupt, or longer than `out`.
        ValueError
            `out` is of another type, shape or memory layout, or the decoder is closed.
        """
        state = self._state
        if state is None:
            raise ValueError("this decoder is closed")
        flags = out.flags
        if out.dtype != np.float32 or not flags.c_contiguous or not flags.writeable:
            raise ValueError("a decoder's output must be writable, C-contiguous float32")
        if out.ndim != 2 or out.shape[1] != self.channels:  # noqa: PLR2004 - samples by channels
            raise ValueError(
                f"a decoder's output must have the shape (samples, {self.channels}), not {out.shape}"
            )
        size = 0 if packet is None else len(packet)
        samples = self._functions.decode_float(state, packet, size, address(out), out.shape[0], int(fec))
        if samples < 0:
            raise failure(self._functions, "decoding a packet", samples)
        return samples

    def reset(self) -> None:
        """Forget the past signal, as when the sender changes."""
        if self._state is None:
            raise ValueError("this decoder is closed")
        code = self._functions.decoder_ctl(self._state, Ctl.RESET_STATE)
        if code != OK:
            raise failure(self._functions, "resetting a decoder", code)

    def close(self) -> None:
        """Free libopus' state. Calling it again does nothing."""
        self._state = None
        self._destroy()


class OpusPacketDecoder:
    """Turns 20 ms packets into 20 ms frames, one for one: frame i is packet i.

    For a track whose packets would pass through untouched but for a volume or a mix. A packet that cannot
    be decoded becomes concealed audio, so that the track keeps its length.

    Attributes
    ----------
    concealed
        Packets that could not be decoded.
    """

    def __init__(self) -> None:
        self._decoder = Decoder(channels=CHANNELS)
        self.concealed = 0

    def decode_float(self, packet: bytes | None, out: PcmFrame) -> int:
        """Decode a packet to the frame in its place.

        Parameters
        ----------
        packet
            `None` conceals a lost one.
        out
            Writable, C-contiguous float32 of shape ``(960, 2)``; filled as a whole.

        Returns
        -------
        int
            960.
        """
        try:
            samples = self._decoder.decode_float(packet, out)
        except OpusError:
            self.concealed += 1
            samples = self._decoder.decode_float(None, out)
        if samples < FRAME_SAMPLES:
            out[samples:] = 0.0
        return FRAME_SAMPLES

    def close(self) -> None:
        """Free the decoder. Calling it again does nothing."""
        self._decoder.close()
