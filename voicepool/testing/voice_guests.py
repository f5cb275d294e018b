"""The speakers that a server plays: who is in which channel, and what the others are told of them."""

from __future__ import annotations

__all__ = ("Guests",)

from collections.abc import Callable

from voicepool.testing.dave_calls import DaveCalls, Place
from voicepool.testing.dave_members import DaveSpeaker
from voicepool.testing.dave_rules import MAX_VERSION
from voicepool.testing.voice_directory import VoiceDirectory
from voicepool.testing.voice_messages import Opcode
from voicepool.testing.voice_session import VoiceSession
from voicepool.testing.voice_speaker import VoiceSpeaker


class Guests:
    """All speakers of one server.

    Parameters
    ----------
    directory : VoiceDirectory
        Knows the clients.
    calls : DaveCalls
        The encrypted calls that the speakers take part in.
    send : Callable[[bytes, tuple[str, int]], None]
        Sends a datagram.
    """

    def __init__(
        self,
        directory: VoiceDirectory,
        calls: DaveCalls,
        send: Callable[[bytes, tuple[str, int]], None],
    ) -> None:
        self._directory = directory
        self._calls = calls
        self._send = send
        self._speakers: dict[Place, dict[int, VoiceSpeaker]] = {}

    def add(self, place: Place, user_id: int, *, dave: bool) -> VoiceSpeaker:
        """Let a speaker in, with a client that supports DAVE or does not.

        Raises
        ------
        ValueError
            The user is there already.
        """
        present = user_id in self._speakers.get(place, {}) or user_id in self._calls.played(place)
        if present or self._directory.member(place, user_id) is not None:
            raise ValueError(f"user {user_id} is in channel {place[1]} already")
        speaker = VoiceSpeaker(
            member := DaveSpeaker(user_id, place[1]),
            self._directory.next_ssrc(),
            listeners=lambda: self._directory.at(place),
            send=self._send,
        )
        self._speakers.setdefault(place, {})[user_id] = speaker
        listener_id = self._calls.admit(place, MAX_VERSION if dave else 0)
        news = [str(user) for user in (listener_id, user_id) if user is not None]
        for session in self._directory.at(place):
            session.send(Opcode.CLIENTS_CONNECT, {"user_ids": news}, numbered=True)
        if dave:
            self._calls.play(place, member)
        else:
            self._calls.connect(place, user_id, 0)
            self._calls.describe(place, user_id, lambda _version: None)
        return speaker

    def remove(self, place: Place, user_id: int) -> None:
        """Let a speaker go; without one of that user nothing happens."""
        if self._speakers.get(place, {}).pop(user_id, None) is None:
            return
        for session in self._directory.at(place):
            session.send(Opcode.CLIENT_DISCONNECT, {"user_id": str(user_id)}, numbered=True)
        if user_id in self._calls.played(place):
            self._calls.stop(place, user_id)
        else:
            self._calls.disconnect(place, user_id)

    def introduce(self, session: VoiceSession) -> None:
        """Tell a new session which SSRCs belong to the speakers in its channel."""
        for speaker in self._speakers.get(session.place, {}).values():
            speaker.introduce(session)

    def without_dave(self, place: Place) -> tuple[int, ...]:
        """Return the speakers in a channel whose clients lack DAVE."""
        played = self._calls.played(place)
        return tuple(user_id for user_id in self._speakers.get(place, {}) if user_id not in played)
