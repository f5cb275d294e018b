"""A pool as its observatory sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from voicepool._calls.switchboard import Switchboard
from voicepool._process.link import Link
from voicepool._watching.status_view import Playing
from voicepool.connection import BaseVoiceConnection
from voicepool.errors import PoolClosedError, PoolNotStartedError
from voicepool.ipc.ids import CallId
from voicepool.stats import WorkerInfo

__all__ = ["PoolSubject", "subject_of"]


class PoolSubject:
    """See `voicepool._watching.observatory.Subject`.

    Parameters
    ----------
    switchboard
        Of a pool that runs.
    """

    def __init__(self, switchboard: Switchboard) -> None:
        self._switchboard = switchboard

    @property
    def links(self) -> Sequence[Link]:
        """The conversations with the workers that are up, spare ones too."""
        return self._switchboard.fleet.links

    @property
    def infos(self) -> tuple[WorkerInfo, ...]:
        """What is known of each worker."""
        return self._switchboard.fleet.describe()

    @property
    def wanted(self) -> int:
        """How many workers there ought to be."""
        return self._switchboard.fleet.crew.wanted

    @property
    def guilds(self) -> Mapping[CallId, int]:
        """The guild of each call."""
        return self._switchboard.guilds

    def playing(self) -> Sequence[Playing]:
        """Say what each call plays, and where."""
        return [_playing(connection) for connection in self._switchboard.connections]


def subject_of(switchboard: Switchboard) -> PoolSubject | None:
    """Return what is looked at; None while the pool does not run."""
    try:
        _ = switchboard.fleet
    except (PoolNotStartedError, PoolClosedError):
        return None
    return PoolSubject(switchboard)


def _playing(connection: BaseVoiceConnection) -> Playing:
    track = connection.track
    state = "interrupted" if connection.interrupted else "silent"
    if not connection.stopped and not connection.interrupted:
        state = "paused" if connection.paused else "playing"
    return Playing(
        guild=connection.guild_id,
        channel=connection.channel_id,
        state=state,
        # A path tells more of the machine than is needed.
        label="" if track is None else track.info.title or PurePath(track.source.label).name,
        position_s=0.0 if track is None else track.position_s,
    )
