"""The tracks of one call: the main one, the one that follows it, and those that are laid over them.

A deck decides in the program's time, which is ahead of what is heard. The track that waits begins in the very
frame after the main one's last, or `crossfade_samples` before its end; if the program then goes back to a
place before that, the track waits again. What is asked for by the bot (`start`, `overlay`, `end` ...) is a
change to the program: it is carried out after going back, so it holds from the frame that is made next.

All methods are called on an encoder thread; the reports of tracks on the pacing thread, in their moment.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Final

from voicepool.workers.audio.deck_track import DeckTrack
from voicepool.workers.audio.feed import TrackFeed
from voicepool.workers.audio.frame import FRAME_SAMPLES
from voicepool.workers.audio.gain import Curve, GainEnvelope
from voicepool.workers.audio.making import feed_of
from voicepool.workers.audio.mixer import MAX_INPUTS
from voicepool.workers.audio.mixer_input import MixerFullError, MixerInput
from voicepool.workers.audio.program import Program
from voicepool.workers.audio.readahead import NOT_YET

__all__ = ["CUT_SAMPLES", "Deck", "DeckTrack"]

MAX_OVERLAID: Final = MAX_INPUTS - 8
"""So many at once are taken; the rest is for the main track, and for those that are on their way out."""
CUT_SAMPLES: Final = FRAME_SAMPLES
"""How long what is cut off takes to fall silent: at once would click."""


class Deck:
    """Plans a program's tracks; its director.

    Parameters
    ----------
    program
        Whose director this becomes.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        program.director = self
        self.main: DeckTrack | None = None
        self.following: DeckTrack | None = None
        self.overlays: list[DeckTrack] = []
        self._gone: dict[MixerInput, int] = {}
        """Inputs that have ended, and after how many frames sent nobody goes back to them."""

    # What is asked for.

    def start(self, track: DeckTrack) -> None:
        """Let a track be the main one, in place of the one that is."""
        before, self.main = self.main, track
        fade = max(track.crossfade_samples, CUT_SAMPLES)
        if before is not None:
            self._cut(before, fade, crossed=track.crossfade_samples > 0)
        self._enter(track, crossed=before is not None and track.crossfade_samples > 0)

    def follow(self, track: DeckTrack | None) -> None:
        """Let a track wait for the main one's end, or none, in place of the one that waits."""
        before, self.following = self.following, track
        if before is not None and before is not track:
            before.feed.close()
        if self.main is None and track is not None:
            # It came too late: there is nothing left to follow.
            self.following = None
            self.start(track)

    def skip(self) -> bool:
        """Have the track that waits take over; return whether there was one."""
        track, self.following = self.following, None
        if track is None:
            return False
        self.start(track)
        return True

    def overlay(self, track: DeckTrack) -> None:
        """Let a track be heard beside the others.

        Raises
        ------
        MixerFullError
            There are too many.
        """
        if len(self._program.mixer.inputs) >= MAX_OVERLAID:
            raise MixerFullError(MAX_OVERLAID)
        track.is_overlay = True
        self.overlays.append(track)
        self._enter(track, crossed=False)

    def end(self, track: DeckTrack, fade_out_samples: int = 0) -> None:
        """End a track, wherever it is; it closes its feed when it has fallen silent.

        If it is the main one, the track that waits begins at once, beside what sinks: nothing else would ever
        let it begin.
        """
        if track is self.following:
            self.following = None
            track.feed.close()
            return
        if track is self.main:
            self.main = None
        elif track in self.overlays:
            self.overlays.remove(track)
        else:
            return
        self._cut(track, max(fade_out_samples, CUT_SAMPLES), crossed=False)
        if self.main is None and self.following is not None:
            self.follow(self.following)

    def replace_feed(
        self, track: DeckTrack, feed: TrackFeed, *, length_frames: float | None, joins: bool = False
    ) -> None:
        """Go on with another feed, for example from another place of the same source.

        Parameters
        ----------
        length_frames
            Of the new feed, as for `DeckTrack`.
        joins
            Whether the new feed begins where the sound was left elsewhere: then it is not faded in.
        """
        old, before = track.entry, track.feed
        if track is self.following:
            track.feed, track.length_frames = feed, length_frames
            before.close()
            return
        if track.is_cut or old is None or old.ended:
            # It has ended in the moment; whoever asked is told so.
            feed.close()
            return
        track.frames_before += track.position_frames
        track.feed, track.length_frames = feed, length_frames
        old.owner = None
        old.gain.fade_out(CUT_SAMPLES)
        if old.gain.position_samples == 0:
            self._drop(old)
        gain = GainEnvelope(track.volume)
        if not joins:
            gain.fade_in(CUT_SAMPLES)
        elif track.fade_in_samples:
            gain.fade_in(track.fade_in_samples)
        self._add(track, gain)

    def stretch(self, track: DeckTrack, factor: float) -> None:
        """Take note that what is left of a track takes so many times as long."""
        number = track.position_frames
        if track.length_frames is not None:
            track.length_frames = number + (track.length_frames - number) * factor
        stays = track is self.main or track in self.overlays
        if stays and track.entry is not None and track.fade_out_samples:
            # It was to be silent where it would have ended.
            track.entry.gain.cancel_fade_out()
            track.plan_fade_out()

    def set_volume(self, track: DeckTrack, volume: float) -> None:
        """Let a track be as loud as this from the next frame on, without a click."""
        track.volume = volume
        if track.entry is not None:
            track.entry.gain.set_volume(volume)

    def cut(self) -> None:
        """End everything at once; while nobody listens."""
        for entry in self._program.cut():
            # Those that fade out are known to nobody else.
            self._gone[entry] = 0
        self.close()

    def starving(self) -> DeckTrack | None:
        """Return a track that has nothing ready, the main one first."""
        for track in (self.main, *self.overlays):
            if track is not None and track.feed.peek() is NOT_YET:
                return track
        return None

    def give_up_starving(self) -> None:
        """Take out what fades out and has nothing ready to do it with."""
        for entry in self._program.mixer.inputs:
            if _is_leaving(entry) and entry.held is None and feed_of(entry).peek() is NOT_YET:
                self._drop(entry)

    def collect(self) -> None:
        """Close what has ended and will not be gone back to. To be called now and then."""
        for entry, at in list(self._gone.items()):
            if not entry.ended:
                del self._gone[entry]
            elif self._program.frames.frames_sent >= at:
                del self._gone[entry]
                feed_of(entry).close()
                self._part(entry)

    def close(self) -> None:
        """Close all feeds."""
        tracks = (self.main, self.following, *self.overlays)
        feeds = [track.feed for track in tracks if track is not None]
        entries = (*self._program.mixer.inputs, *self._gone)
        feeds += [feed_of(entry) for entry in entries]
        for entry in entries:
            # Both know it: circles, see `voicepool.workers.garbage`.
            entry.on_end = entry.owner = None
        self.main = self.following = None
        self.overlays.clear()
        self._gone.clear()
        for feed in feeds:
            feed.close()

    # What the program asks of its director.

    def frames_to_turn(self) -> int | None:
        """Return how many frames may be made before the track that waits has to begin beside the main one."""
        main, track = self.main, self.following
        if track is None or main is None or main.entry is None:
            return None
        if not track.crossfade_samples:
            return 0 if self._begins_within_next_frame(main) else None
        if main.length_frames is None:
            return None
        begins = main.length_frames - track.crossfade_samples / FRAME_SAMPLES
        return max(0, round(begins) - main.position_frames)

    def turn(self) -> None:
        """Let the track that waits begin beside the main one, which ends by itself."""
        main, track = self.main, self.following
        assert main is not None
        assert track is not None
        assert main.entry is not None
        self.following = None
        if track.crossfade_samples:
            main.entry.gain.fade_out(track.crossfade_samples, curve=Curve.EQUAL_POWER)
        self._succeed(main, track, crossed=track.crossfade_samples > 0)

    def rewound(self, restored: Sequence[MixerInput], later: Sequence[MixerInput]) -> list[MixerInput]:
        """Have a track wait again that began by itself, later than the place that was gone back to."""
        for entry in [entry for entry in self._gone if entry not in restored]:
            track = entry.owner
            if not isinstance(track, DeckTrack) or track.began_as is not entry or track.before is None:
                continue
            if track.before.entry in restored:
                # So short that it has ended as well.
                del self._gone[entry]
                track.feed.rewind(track.feed.position_frames)
                self._wait_again(track, track.before)
        staying = []
        for entry in later:
            track = entry.owner
            if isinstance(track, DeckTrack) and track.before is not None and track.began_as is entry:
                self._wait_again(track, track.before)
            else:
                staying.append(entry)
        self.main, self.overlays = None, []
        owners = [entry.owner for entry in (*restored, *staying)]
        tracks = [track for track in owners if isinstance(track, DeckTrack) and not track.is_cut]
        # Those that another has followed are fading out beside it.
        followed = {track.before for track in tracks}
        for track in tracks:
            if track.is_overlay:
                self.overlays.append(track)
            elif track not in followed:
                self.main = track
        return staying

    # How it is done.

    def _begins_within_next_frame(self, main: DeckTrack) -> bool:
        """Have the track that waits begin where the main one ends, if that is within the next frame."""
        assert self.following is not None
        assert main.entry is not None
        sounding = None if main.entry.held is not None else main.feed.last_sounding_samples()
        if sounding is None or sounding == FRAME_SAMPLES or self.following.fade_in_samples:
            return False
        return self.following.feed.begin_late(sounding)

    def _succeed(self, before: DeckTrack, track: DeckTrack, *, crossed: bool = True) -> None:
        track.before = before
        self.main = track
        self._enter(track, crossed=crossed)
        track.began_as = track.entry

    def _wait_again(self, track: DeckTrack, before: DeckTrack) -> None:
        track.before = track.began_as = track.entry = None
        if track.is_cut or self.following is not None:
            track.feed.close()
            return
        self.following = track
        if before.entry is not None and not before.is_cut:
            # It may have been made to sink for this one's sake.
            before.entry.gain.cancel_fade_out()
            before.plan_fade_out()

    def _enter(self, track: DeckTrack, *, crossed: bool) -> None:
        gain = GainEnvelope(track.volume)
        if crossed:
            gain.fade_in(track.crossfade_samples, curve=Curve.EQUAL_POWER)
        elif track.fade_in_samples:
            gain.fade_in(track.fade_in_samples)
        self._program.note(track.tell_started, stays=track.before is None)
        self._add(track, gain)

    def _add(self, track: DeckTrack, gain: GainEnvelope) -> None:
        mixer = self._program.mixer
        if mixer.is_full:
            # `MAX_OVERLAID` sees to it that some of them are on their way out. That clicks, among 31 others.
            leaving = next((entry for entry in mixer.inputs if _is_leaving(entry)), None)
            if leaving is not None:
                self._drop(leaving)
        track.entry = mixer.add(
            track.feed, gain=gain, duck=track.duck, on_end=self._on_input_end, owner=track
        )
        track.plan_fade_out()

    def _part(self, entry: MixerInput) -> None:
        """Let an input that will not be gone back to know its track and this deck no more.

        They would be circles, and each track of a long queue would hold the one before it.
        """
        gone, main = entry.owner, self.main
        entry.on_end = entry.owner = None
        if not isinstance(gone, DeckTrack):
            return
        if gone.began_as is entry:
            gone.before = gone.began_as = None
        if main is not None and main.before is gone and gone.entry is entry:
            main.before = main.began_as = None

    def _drop(self, entry: MixerInput) -> None:
        """Take an input out at once."""
        self._program.mixer.remove(entry)
        self._gone[entry] = self._program.frames.frames_made
        if isinstance(entry.owner, DeckTrack):
            # It may not be in any frame that is gone back over, to say it again.
            self._program.note(functools.partial(entry.owner.tell_ended, None), stays=True)

    def _cut(self, track: DeckTrack, fade_samples: int, *, crossed: bool) -> None:
        track.is_cut = True
        if track.entry is None:
            track.feed.close()
            return
        if track.entry.gain.position_samples == 0:
            # Nobody has heard any of it.
            self._drop(track.entry)
            return
        track.entry.gain.fade_out(fade_samples, curve=Curve.EQUAL_POWER if crossed else Curve.LINEAR)

    def _on_input_end(self, entry: MixerInput) -> None:
        self._gone[entry] = self._program.frames.frames_made
        track = entry.owner
        if not isinstance(track, DeckTrack):
            return
        self._program.note(functools.partial(track.tell_ended, entry.error))
        if track in self.overlays:
            self.overlays.remove(track)
        elif track is self.main:
            self.main = None
            if self.following is not None:
                following, self.following = self.following, None
                self._succeed(track, following, crossed=False)


def _is_leaving(entry: MixerInput) -> bool:
    """Return whether an input is on its way out since somebody asked for that."""
    track = entry.owner
    return not isinstance(track, DeckTrack) or track.is_cut
