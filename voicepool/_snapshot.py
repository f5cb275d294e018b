"""All that a worker must be told to go on with what a call played elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from voicepool._line import Line, described
from voicepool._options import PlaySettings
from voicepool._playback import Playback
from voicepool.ipc.commands import Encoding, Play, TrackRole
from voicepool.ipc.sources import Source, StationSource, StreamSource, UrlSource
from voicepool.source import AudioSource, Pushed

__all__ = ["BeginAgain", "PlayAgain", "Snapshot", "snapshot_of"]

_ORDER = (TrackRole.MAIN, TrackRole.NEXT, TrackRole.OVERLAY)


class PlayAgain(NamedTuple):
    """A command to be sent with a request number of its own, and what goes beside it."""

    command: Play
    attachments: tuple[bytes, ...]


class BeginAgain(NamedTuple):
    """What `voicepool.player.Player.begin` takes, for what was never sent to a worker."""

    source: AudioSource | Pushed
    settings: PlaySettings
    role: TrackRole
    duck_db: float
    queued: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """What a call plays, at one moment. What is upcoming in a queue stays in the queue.

    Attributes
    ----------
    plays
        A command for each playback under its old name: the main one, the one that waits, overlays. What was
        resolved in the bot is what it was resolved to.
    begins
        What is still being resolved, the oldest first. Beside a main one of `plays`, another here is to take
        its place.
    encoding
        How packets are to be made; None for the worker's own way.
    """

    plays: tuple[PlayAgain, ...]
    begins: tuple[BeginAgain, ...]
    encoding: Encoding | None

    def without_streams(self) -> Snapshot:
        """Return the same, without what the bot writes: a stream can be played once."""
        plays = [each for each in self.plays if not isinstance(each.command.source, StreamSource)]
        begins = [each for each in self.begins if isinstance(each.source, AudioSource)]
        return dataclasses.replace(self, plays=tuple(plays), begins=tuple(begins))


def _is_live(playback: Playback, source: Source) -> bool:
    if isinstance(source, StationSource | StreamSource) or (isinstance(source, UrlSource) and source.live):
        return True
    return playback.info is not None and playback.info.live


def snapshot_of(
    playbacks: Iterable[Playback],
    line: Line,
    *,
    volume: float,
    paused: bool,
    encoding: Encoding | None,
    now: float,
) -> Snapshot:
    """Return a snapshot of playbacks, each from where it is now."""
    playbacks = tuple(playbacks)
    sent = [playback for playback in playbacks if playback.request is not None]
    mains = [playback for playback in sent if playback.role is TrackRole.MAIN]
    # Of two main ones the older is about to be replaced.
    wanted = [each for each in sent if each not in mains[:-1]]
    plays: list[PlayAgain] = []
    for playback in sorted(wanted, key=lambda each: _ORDER.index(each.role)):
        source, attachments = described(playback.source, line.config)
        command = line.play_command(playback, source, volume=volume, paused=paused)
        if playback.started:
            command = msgspec.structs.replace(
                command,
                crossfade_s=0.0,
                options=msgspec.structs.replace(
                    playback.options,
                    # Of what is sent now there is no other place, and a worker refuses one.
                    position_s=None if _is_live(playback, source) else playback.position.at(now),
                    repeats=playback.position.repeats_left,
                    fade_in_s=0.0,
                ),
            )
        plays.append(PlayAgain(command, attachments))
    begins = [
        BeginAgain(each.source, each.settings, each.role, each.duck_db, each.queued)
        for each in playbacks
        if each.request is None
    ]
    return Snapshot(tuple(plays), tuple(begins), encoding)
