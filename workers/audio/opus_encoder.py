"""Opus encoding through libopus, for one owner thread at a time.

The encoder is the dearest thing a worker does (about 0.2 ms a frame), so what surrounds the C call is kept
small: one output buffer for the encoder's life, the input's address looked up once (`Encoder.bind`), and
a call that lets the other threads run.

All encoders of a worker share a `Ceiling`. When there is more to encode than there is time for it is lowered,
and each encoder follows with its next frame, on its own thread.
"""

from __future__ import annotations

import ctypes
import weakref
from typing import Final, Literal, TypeAlias

import numpy as np

from voicepool.workers.audio.frame import CHANNELS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from voicepool.workers.audio.libopus import load_libopus
from voicepool.workers.audio.opus import OK, Ctl, PcmFrame, address, check_range, failure
from voicepool.workers.sampling import ENCODING

__all__ = ["MAX_COMPLEXITY", "Application", "Ceiling", "Encoder", "Signal"]

Application: TypeAlias = Literal["audio", "voip", "lowdelay"]
Signal: TypeAlias = Literal["auto", "voice", "music"]

MIN_BITRATE_BPS: Final = 6_000
MAX_BITRATE_BPS: Final = 510_000
"""The range that RFC 6716 §2.1.1 names."""
MAX_COMPLEXITY: Final = 10

_MAX_PACKET_BYTES: Final = 1_276
"""One frame is at most 1275 bytes (RFC 6716 §3.2.1, requirement R2), and the TOC byte goes before it."""
_APPLICATIONS: Final[dict[str, int]] = {"voip": 2048, "audio": 2049, "lowdelay": 2051}
_AUTO: Final = -1000
_SIGNALS: Final[dict[str, int]] = {"auto": _AUTO, "voice": 3001, "music": 3002}


class Ceiling:
    """The highest complexity that the encoders which share it may use now, whatever each is set to.

    Attributes
    ----------
    complexity
        0 to 10; may be set by any one thread at any time.
    wanted
        The highest that any of them was ever set to.
    """

    __slots__ = ("complexity", "wanted")

    def __init__(self) -> None:
        self.complexity = MAX_COMPLEXITY
        self.wanted = 0


class Encoder:
    """Encodes 20 ms frames of 48 kHz PCM to Opus packets.

    Not thread-safe: one thread at a time calls it, `close` included.

    Parameters
    ----------
    channels
        1 or 2.
    bitrate_bps
        6,000 to 510,000 bit/s; the encoder varies around it (VBR).
    complexity
        0 to 10; 0 costs a third of the CPU time of 10.
    application
        What libopus optimises for; fixed for the encoder's life.
    signal, fec, packet_loss_percent, dtx
        First values of the properties with these names.
    ceiling
        Shared with other encoders; of its own by None.

    Raises
    ------
    ValueError
        A parameter is out of its range.
    WorkerSideError
        ``LIBOPUS_MISSING``.
    """

    def __init__(
        self,
        *,
        channels: int = CHANNELS,
        bitrate_bps: int = 128_000,
        complexity: int = MAX_COMPLEXITY,
        application: Application = "audio",
        signal: Signal = "auto",
        fec: bool = False,
        packet_loss_percent: int = 0,
        dtx: bool = False,
        ceiling: Ceiling | None = None,
    ) -> None:
        if application not in _APPLICATIONS:
            raise ValueError(f"application must be one of {', '.join(_APPLICATIONS)}, not {application!r}")
        check_range("channels", channels, 1, 2)
        functions = load_libopus()
        code = ctypes.c_int(OK)
        state = functions.encoder_create(
            SAMPLE_RATE_HZ, channels, _APPLICATIONS[application], ctypes.byref(code)
        )
        if not state:
            raise failure(functions, "creating an encoder", code.value)
        self._functions = functions
        self._encode = functions.encode_float
        self._state: int | None = state
        self._destroy = weakref.finalize(self, functions.encoder_destroy, state)
        self._packet = (ctypes.c_char * _MAX_PACKET_BYTES)()
        self._packet_address = ctypes.addressof(self._packet)
        self._packet_bytes = memoryview(self._packet).cast("B")
        self._input = np.zeros((FRAME_SAMPLES, channels), dtype=np.float32)
        self._input_address = address(self._input)
        self.channels: Final = channels
        self.application: Final = application
        self._forced_channels: int | None = None
        self._ceiling = Ceiling() if ceiling is None else ceiling
        self._ceiling_seen = self._ceiling.complexity
        try:
            self.bitrate_bps = bitrate_bps
            self.complexity = complexity
            self.signal = signal
            self.fec = fec
            self.packet_loss_percent = packet_loss_percent
            self.dtx = dtx
        except BaseException:
            self.close()
            raise

    def bind(self, buffer: PcmFrame) -> None:
        """Let `encode_bound` read from `buffer` from now on.

        Parameters
        ----------
        buffer
            C-contiguous float32 of shape ``(960, channels)``. The encoder keeps it alive; whoever fills it
            does so before each `encode_bound`.

        Raises
        ------
        ValueError
            The buffer is of another type, shape or memory layout.
        """
        if buffer.dtype != np.float32 or not buffer.flags.c_contiguous:
            raise ValueError("the encoder's buffer must be C-contiguous float32")
        self._check_shape(buffer)
        self._input = buffer
        self._input_address = address(buffer)

    def encode_bound(self) -> bytes:
        """Encode what the bound buffer holds now.

        Returns
        -------
        bytes
            One packet of 20 ms. With `dtx`, one of at most 2 bytes need not be sent.

        Raises
        ------
        OpusError
            libopus refused, which for a bound buffer means a defect.
        ValueError
            The encoder is closed.
        """
        state = self._state
        if state is None:
            raise ValueError("this encoder is closed")
        if self._ceiling.complexity != self._ceiling_seen:
            self._apply_complexity()
        begun_ns = ENCODING.begin()
        size = self._encode(
            state, self._input_address, FRAME_SAMPLES, self._packet_address, _MAX_PACKET_BYTES
        )
        if begun_ns:
            ENCODING.end(begun_ns)
        if size < 0:
            raise failure(self._functions, "encoding a frame", size)
        return self._packet_bytes[:size].tobytes()

    def encode_float(self, frame: PcmFrame) -> bytes:
        """Copy `frame` to the bound buffer and encode it (`encode_bound`, same errors).

        Parameters
        ----------
        frame
            Shape ``(960, channels)``; any memory layout.
        """
        self._check_shape(frame)
        np.copyto(self._input, frame, casting="same_kind")
        return self.encode_bound()

    def _check_shape(self, frame: PcmFrame) -> None:
        if frame.shape != (FRAME_SAMPLES, self.channels):
            raise ValueError(
                f"a frame must have the shape {(FRAME_SAMPLES, self.channels)}, not {frame.shape}"
            )

    @property
    def bitrate_bps(self) -> int:
        """Target in bit/s, 6,000 to 510,000. May be set between any two frames, as all that follow."""
        return self._bitrate_bps

    @bitrate_bps.setter
    def bitrate_bps(self, value: int) -> None:
        self._set(Ctl.SET_BITRATE, check_range("bitrate_bps", value, MIN_BITRATE_BPS, MAX_BITRATE_BPS))
        self._bitrate_bps = value

    @property
    def complexity(self) -> int:
        """Effort, 0 to 10; in force is this or the ceiling, whichever is lower."""
        return self._complexity

    @complexity.setter
    def complexity(self, value: int) -> None:
        self._complexity = check_range("complexity", value, 0, MAX_COMPLEXITY)
        self._ceiling.wanted = max(self._ceiling.wanted, value)
        self._apply_complexity()

    @property
    def signal(self) -> Signal:
        """What the input is taken for; ``"auto"`` lets libopus find out."""
        return self._signal

    @signal.setter
    def signal(self, value: Signal) -> None:
        if value not in _SIGNALS:
            raise ValueError(f"signal must be one of {', '.join(_SIGNALS)}, not {value!r}")
        self._set(Ctl.SET_SIGNAL, _SIGNALS[value])
        self._signal = value

    @property
    def fec(self) -> bool:
        """In-band forward error correction. Has an effect on speech modes and with expected loss only."""
        return self._fec

    @fec.setter
    def fec(self, value: bool) -> None:
        self._set(Ctl.SET_INBAND_FEC, int(value))
        self._fec = value

    @property
    def packet_loss_percent(self) -> int:
        """Loss to expect, 0 to 100 %."""
        return self._packet_loss_percent

    @packet_loss_percent.setter
    def packet_loss_percent(self, value: int) -> None:
        self._set(Ctl.SET_PACKET_LOSS_PERC, check_range("packet_loss_percent", value, 0, 100))
        self._packet_loss_percent = value

    @property
    def dtx(self) -> bool:
        """Discontinuous transmission: near-empty packets while it is silent."""
        return self._dtx

    @dtx.setter
    def dtx(self, value: bool) -> None:
        self._set(Ctl.SET_DTX, int(value))
        self._dtx = value

    @property
    def forced_channels(self) -> int | None:
        """How many channels packets have whatever the input has, 1 or 2; None leaves it to libopus."""
        return self._forced_channels

    @forced_channels.setter
    def forced_channels(self, value: int | None) -> None:
        wanted = _AUTO if value is None else check_range("forced_channels", value, 1, self.channels)
        self._set(Ctl.SET_FORCE_CHANNELS, wanted)
        self._forced_channels = value

    @property
    def lookahead_samples(self) -> int:
        """Delay between input and decoded output, in samples of one channel at 48 kHz."""
        value = ctypes.c_int32()
        self._ctl(Ctl.GET_LOOKAHEAD, ctypes.byref(value))
        return value.value

    def set_independent(self, independent: bool) -> None:  # noqa: FBT001 - a setter
        """Make packets that take nothing from those before them (RFC 6716 §4.3.2.1: intra), or not."""
        self._set(Ctl.SET_PREDICTION_DISABLED, int(independent))

    def reset(self) -> None:
        """Forget the past signal, as between two tracks; the settings stay."""
        self._ctl(Ctl.RESET_STATE)

    def close(self) -> None:
        """Free libopus' state. Calling it again does nothing."""
        self._state = None
        self._destroy()

    def _apply_complexity(self) -> None:
        self._ceiling_seen = self._ceiling.complexity
        self._set(Ctl.SET_COMPLEXITY, min(self._complexity, self._ceiling_seen))

    def _set(self, request: Ctl, value: int) -> None:
        self._ctl(request, ctypes.c_int32(value))

    def _ctl(self, request: Ctl, *argument: object) -> None:
        if self._state is None:
            raise ValueError("this encoder is closed")
        code = self._functions.encoder_ctl(self._state, request, *argument)
        if code != OK:
            raise failure(self._functions, f"encoder setting {request.name}", code)
