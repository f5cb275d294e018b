"""What another worker must be told to go on with what a call plays, and in which order.

A main track takes the place of another when it is ready, and one that waits begins at once where there is no
main one. So what is heard goes first, and what is to follow it is held back until the first is there, or
over: the same happens as if the worker had never changed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import msgspec

from voicepool._playing.line import Line, described
from voicepool._playing.playback import Playback
from voicepool.ipc.commands import Encoding, Play, TrackOptions, TrackRole
from voicepool.ipc.sources import Source, StationSource, StreamSource, UrlSource

__all__ = ["Lineup", "PlayAgain", "Snapshot", "is_live", "lineup_of", "options_again", "snapshot_of"]


@dataclasses.dataclass(frozen=True, slots=True)
class Lineup:
    """The playbacks of a call, sorted by when a worker that goes on with them is told.

    Attributes
    ----------
    front
        The main one that is heard, or the only one; None without any.
    beside
        Overlays.
    behind
        What waits until the front one is there or over: a main one that is to replace it, one that follows.
    overtaken
        Main ones whose place another has taken or was to take.
    """

    front: Playback | None
    beside: tuple[Playback, ...]
    behind: tuple[Playback, ...]
    overtaken: tuple[Playback, ...]


def lineup_of(playbacks: Iterable[Playback]) -> Lineup:
    """Sort playbacks; those whose source is not known yet are left out."""
    known = [each for each in playbacks if each.resolving is None and not each.over.is_set()]
    mains = [each for each in known if each.role is TrackRole.MAIN]
    heard = [each for each in mains if each.started]
    opening = [each for each in mains if not each.started]
    follows = [each for each in known if each.role is TrackRole.NEXT]
    wanted = heard[-1:] + opening[-1:]
    front, behind = (wanted[0], [*wanted[1:], *follows]) if wanted else (None, follows)
    return Lineup(
        front,
        tuple(each for each in known if each.role is TrackRole.OVERLAY),
        tuple(behind),
        tuple(each for each in mains if each not in wanted),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class PlayAgain:
    """A command to be sent with a request number of its own, and what goes beside it.

    Attributes
    ----------
    playback
        Whose command it is.
    command, attachments
        As they go to a worker.
    is_pushed
        Whether it is made while it plays, so that it cannot be opened ahead.
    """

    playback: Playback
    command: Play
    attachments: tuple[bytes, ...]
    is_pushed: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Snapshot:
    """What a call plays, at one moment. What is upcoming in a queue stays in the queue.

    Attributes
    ----------
    plays
        A command for each playback under its old name: the front one, overlays, what waits behind. What was
        resolved in the bot is what it was resolved to.
    encoding
        How packets are to be made; None for the worker's own way.
    volume
        Linear gain of the call.
    paused
        Whether what plays is held.
    """

    plays: tuple[PlayAgain, ...]
    encoding: Encoding | None
    volume: float
    paused: bool


def is_live(playback: Playback, source: Source) -> bool:
    """Tell whether there is no other place in a source than the present one."""
    if isinstance(source, StationSource | StreamSource) or (isinstance(source, UrlSource) and source.live):
        return True
    return playback.info is not None and playback.info.live


def options_again(playback: Playback, source: Source, now: float) -> TrackOptions | None:
    """Return how a playback goes on that was heard before; None for one that was not."""
    options = playback.options
    if not playback.started:
        if playback.position.at(now) == playback.settings.first_s or is_live(playback, source):
            return None
        return msgspec.structs.replace(options, position_s=playback.position.at(now))
    return msgspec.structs.replace(
        options,
        # Of what is sent now there is no other place, and a worker refuses one.
        position_s=None if is_live(playback, source) else playback.position.at(now),
        repeats=playback.position.repeats_left,
        fade_in_s=0.0,
    )


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
    lineup = lineup_of(playbacks)
    front = () if lineup.front is None else (lineup.front,)
    plays: list[PlayAgain] = []
    for playback in (*front, *lineup.beside, *lineup.behind):
        source, attachments = described(playback.source, line.config)
        command = line.play_command(playback, source, volume=volume, paused=playback.paused)
        options = options_again(playback, source, now)
        if options is not None:
            command = msgspec.structs.replace(command, options=options)
        plays.append(PlayAgain(playback, command, attachments, isinstance(source, StreamSource)))
    return Snapshot(tuple(plays), encoding, volume, paused)
