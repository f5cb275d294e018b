"""The next frames of a program, made the cheapest way: passed on, encoded alone, or mixed and encoded.

Three ways, in this order. Opus packets of the only track, at unity, are *passed* on as they are, many at a
time. PCM of such a track is encoded *alone*, without a mixer. All else is *mixed*. Whatever was made is
written down with how things stood before it, so that a program can go back over it and make it again.

All of it belongs to the encoder threads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voicepool.workers.audio.director import Director
from voicepool.workers.audio.making import Before, Made, MakingLog, Run, feed_of
from voicepool.workers.audio.mixer import Mixer
from voicepool.workers.audio.mixer_input import MixerInput
from voicepool.workers.audio.opus import PcmFrame
from voicepool.workers.audio.readahead import NOT_YET, NotYet
from voicepool.workers.audio.ring import FrameRing
from voicepool.workers.audio.track_feed import TrackFeed
from voicepool.workers.audio.warming import WARM_UP_FRAMES, Settling, WarmedEncoder

__all__ = ["FrameMaker"]


class FrameMaker:
    """Makes a program's next frames.

    Parameters
    ----------
    encoder
        Of all that is not passed on.
    mixer
        Its inputs' sources are feeds.
    ring
        Where frames go.
    log
        Where what was made is written down.
    safe_frames
        With more in the ring than that, a frame may wait for a track that has nothing ready.

    Attributes
    ----------
    director
        Plans ahead; by None, nothing is planned.
    unfinished
        A frame that is not made yet, or at the end never, although tracks have ended or begun for it.
    passes
        Whether the last frame was a packet as it came.
    """

    def __init__(
        self, *, encoder: WarmedEncoder, mixer: Mixer, ring: FrameRing, log: MakingLog, safe_frames: int
    ) -> None:
        self.director: Director | None = None
        self.unfinished: Made | None = None
        self.passes = False
        self._encoder = encoder
        self._mixer = mixer
        self._ring = ring
        self._log = log
        self._safe_frames = safe_frames
        self._settling = Settling()
        self._encodes_alone = False
        """Whether the last frame was PCM of the only track, as it came."""

    def went_back(self) -> None:
        """Note that frames were taken back that the encoder knows, and a listener's decoder never will."""
        self._encoder.is_cold = True
        self._settling.begin()

    def begin_anew(self) -> None:
        """Note that what comes next does not join on to what was made: the listener has heard silence."""
        self._log.clear()
        self._encoder.is_cold = True

    def pass_packets(self, most: int) -> int:
        """Pass on the packets that come next, if they can be sent as they are; return how many."""
        if self._encodes_alone:
            # Most calls encode one track for minutes; it need not be looked for packets each time.
            self._take_turn()
            return 0
        to_turn = self._take_turn()
        mixer, sole = self._mixer, self._mixer.sole_unity_input
        if sole is None or not self._has_settled(sole):
            self.passes = False
            return 0
        most = min(most, mixer.unity_frames)
        if to_turn is not None:
            most = min(most, to_turn)
        if most <= 0:
            return 0
        feed = feed_of(sole)
        run = Run(sole, feed.position_frames, sole.gain.position_samples, mixer.position)
        packets = feed.take_packets(most)
        if not packets:
            # What comes next has to be encoded, or is not there yet: no reason to be so far ahead.
            self.passes = False
            return 0
        frames = len(packets)
        made = self.unfinished or Made(run.before(0))
        made.run, made.frames = run, frames
        mixer.pass_frames(frames)
        self._append(made, packets)
        self.passes = self._encoder.is_cold = True
        return frames

    def make(self) -> NotYet | bool:
        """Make a frame that has to be encoded.

        Returns
        -------
        NotYet or bool
            `NOT_YET` if a track has nothing ready; False if there is nothing more to make. True also without
            a frame, when a packet follows that can be passed on after all.
        """
        mixer = self._mixer
        self._encodes_alone = False
        while (sole := mixer.sole_unity_input) is not None:
            feed = feed_of(sole)
            raw = feed.peek()
            if raw is NOT_YET:
                return NOT_YET
            if isinstance(raw, bytes):
                if not self._has_settled(sole):
                    break
                # What was to be found out is over, and the packet follows as it is.
                return True
            if raw is None:
                self.unfinished = self.unfinished or Made(Before.of(mixer))
                mixer.end_sole()
                self.unfinished.notes += self._ring.put_notes()
                self._take_turn()
                if mixer.sole_unity_input is None:
                    break
                continue
            if not feed.is_early:
                self._encode_alone(raw, sole, feed)
                return True
            break
        return self._mix()

    def _take_turn(self) -> int | None:
        """Let the director act if it is time; return how many frames may be made before it is again."""
        if self.director is None:
            return None
        to_turn = self.director.frames_to_turn()
        if to_turn != 0:
            return to_turn
        # How things stood before that: whoever goes back over this frame takes its turn again.
        self.unfinished = self.unfinished or Made(Before.of(self._mixer))
        self.director.turn()
        return self.director.frames_to_turn()

    def _has_settled(self, sole: MixerInput) -> bool:
        """Return whether packets of this input may follow what the listener has heard last."""
        return self._settling.is_over or not self._log.has_mixed(sole)

    def _encode_alone(self, raw: PcmFrame, sole: MixerInput, feed: TrackFeed) -> None:
        """Encode what the only track gave, as it is."""
        mixer = self._mixer
        # As `Before.of` would say, and in half the time.
        places = ((feed.position_frames, sole.gain.position_samples),)
        made = self.unfinished or Made(Before((sole,), places, mixer.position))
        made.raw = raw
        feed.go_on()
        mixer.pass_frames()
        heard_last = self._log.last_heard(WARM_UP_FRAMES) if self._encoder.is_cold else ()
        self._append(made, (self._encoder.encode(raw, heard_last),))
        self.passes = False
        self._encodes_alone = True

    def _mix(self) -> NotYet | bool:
        mixer, encoder = self._mixer, self._encoder
        made = self.unfinished or Made(Before.of(mixer))
        sole = mixer.sole_unity_input
        might_pass = sole is not None and isinstance(feed_of(sole).peek(), bytes)
        # Asked for before the mix, so that a decoder that is needed from here on goes straight through.
        heard_last = self._log.last_heard(WARM_UP_FRAMES) if encoder.is_cold and mixer.inputs else ()
        mixed = mixer.mix(encoder.buffer, wait=self._may_wait)
        made.notes += self._ring.put_notes()
        if mixed is NOT_YET:
            # Whoever goes back over this frame finds those again that have ended for it.
            self.unfinished = made if made.notes else None
            return NOT_YET
        if mixed is None:
            self.unfinished = made
            return False
        self._settling.note_mixed(might_pass=might_pass)
        made.raw = made.mixed = self._log.buffer()
        np.copyto(made.mixed, encoder.buffer)
        pcm = made.mixed if encoder.is_cold else encoder.buffer
        self._append(made, (encoder.encode(pcm, heard_last),))
        self.passes = False
        return True

    @property
    def _may_wait(self) -> bool:
        """Whether a frame may wait for a track that has nothing ready: not if others are about to stop."""
        plenty = len(self._ring) > self._safe_frames
        return plenty or all(entry.held is None for entry in self._mixer.inputs)

    def _append(self, made: Made, frames: Sequence[bytes]) -> None:
        made.notes += self._ring.put_notes()
        self.unfinished = None
        self._log.append(made)
        self._ring.put(frames)
