"""Members of an encrypted call that the stand-in plays itself: a listener and a speaker, driven by davey.

They speak DAVE like any client, message by message, and differ from one only in that no network lies between.
Time comes in as ``now`` (monotonic seconds); davey itself reads the clock for the life of old keys.

Source: DAVE whitepaper, "Group Key Exchange" and "Voice Gateway Opcodes", from the client's side.
"""

from __future__ import annotations

__all__ = ("DaveFailure", "DaveListener", "DaveMember", "DaveSpeaker")

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import davey

from voicepool.testing.dave_frames import is_protocol_frame
from voicepool.testing.dave_messages import (
    APPEND,
    INITIAL_TRANSITION,
    NEW_GROUP_EPOCH,
    DaveBinary,
    DaveMessage,
    DaveOpcode,
    DaveText,
)
from voicepool.testing.voice_rtp import SILENCE_FRAME

OLD_KEYS_S: Final = 10.0
"""How long keys of a group that was left are kept for frames still on their way, in seconds."""

_MAX_FAILURES: Final = 1_000
_TRANSITION_ID_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class DaveFailure:
    """A frame that could not be decrypted.

    Attributes
    ----------
    user_id : int
        Who sent it.
    timestamp : int
        Its RTP timestamp, in samples.
    epoch : int | None
        The listener's epoch then; None without a group.
    reason : str
        What was wrong, in a few words.
    """

    user_id: int
    timestamp: int
    epoch: int | None
    reason: str


class DaveMember:
    """One member: takes the gateway's messages, answers them.

    Parameters
    ----------
    user_id, channel_id : int
        Snowflakes.

    Attributes
    ----------
    version : int
        Protocol version in effect: what was last carried out.
    transitions : int
        Transitions carried out.
    invalid_reports : int
        Commits and welcomes it could not follow, each answered with opcode 31.
    rejected_proposals : int
        Opcode 27 that did not fit its state.
    """

    def __init__(self, user_id: int, channel_id: int) -> None:
        self.user_id = user_id
        self.channel_id = channel_id
        self.version = 0
        self.transitions = 0
        self.invalid_reports = 0
        self.rejected_proposals = 0
        # One identity for the whole call, as clients of people have it.
        self._identity = davey.generate_p256_keypair()
        self._users = {user_id}
        self._session: davey.DaveSession | None = None
        self._sender_package: bytes | None = None
        self._pending: dict[int, int] = {}
        self._group_version = 0
        self._outgoing: list[DaveMessage] = []

    @property
    def ready(self) -> bool:
        """Whether it has the keys of an established group."""
        return self._session is not None and self._session.ready

    @property
    def epoch(self) -> int | None:
        """Epoch of its established group; None if it has none."""
        return self._session.epoch if self._session is not None and self._session.ready else None

    @property
    def epoch_authenticator(self) -> bytes | None:
        """Secret that is equal for all members of the same epoch; None without an established group."""
        return self._session.get_epoch_authenticator() if self._session is not None and self.ready else None

    @property
    def privacy_code(self) -> str | None:
        """The voice privacy code: 30 digits, equal for all members of the same epoch."""
        return self._session.voice_privacy_code if self._session is not None else None

    def outgoing(self) -> list[DaveMessage]:
        """Remove and return what it wants to send to the gateway, in order."""
        messages, self._outgoing = self._outgoing, []
        return messages

    # What the gateway says outside DAVE.

    def describe(self, version: int, now: float) -> None:
        """Take the version of Session Description (opcode 4)."""
        self.version = version
        if version:
            self._begin(version, now)

    def users_connected(self, user_ids: Iterable[int]) -> None:
        """Take opcode 11."""
        self._users.update(user_ids)

    def user_disconnected(self, user_id: int) -> None:
        """Take opcode 13."""
        self._users.discard(user_id)

    # What the gateway says in DAVE.

    def receive(self, message: DaveMessage, now: float) -> None:
        """Take one of opcodes 21 to 30."""
        if isinstance(message, DaveText):
            self._receive_text(message, now)
        else:
            self._receive_binary(message, now)

    def _receive_text(self, message: DaveText, now: float) -> None:
        data = message.data
        if message.opcode is DaveOpcode.PREPARE_TRANSITION:
            transition_id = data["transition_id"]
            self._pending[transition_id] = data["protocol_version"]
            if transition_id == INITIAL_TRANSITION:
                self._execute(transition_id, now)
            else:
                self._ready(transition_id)
        elif message.opcode is DaveOpcode.EXECUTE_TRANSITION:
            self._execute(data["transition_id"], now)
        elif message.opcode is DaveOpcode.PREPARE_EPOCH and data["epoch"] == NEW_GROUP_EPOCH:
            self._begin(data["protocol_version"], now)

    def _receive_binary(self, message: DaveBinary, now: float) -> None:
        if message.opcode is DaveOpcode.EXTERNAL_SENDER_PACKAGE:
            self._take_external_sender(message.payload)
        elif message.opcode is DaveOpcode.PROPOSALS:
            self._take_proposals(message.payload)
        elif message.opcode in {DaveOpcode.ANNOUNCE_COMMIT_TRANSITION, DaveOpcode.WELCOME}:
            transition_id = int.from_bytes(message.payload[:_TRANSITION_ID_BYTES])
            self._enter_epoch(message.opcode, transition_id, message.payload[_TRANSITION_ID_BYTES:], now)

    def _begin(self, version: int, now: float) -> None:
        """Make a session without a group, and offer a key package."""
        self._retire(now)
        self._group_version = version
        self._session = davey.DaveSession(version, self.user_id, self.channel_id, self._identity)
        if self._sender_package is not None:
            self._session.set_external_sender(self._sender_package)
        self._send_binary(DaveOpcode.KEY_PACKAGE, self._session.get_serialized_key_package())

    def _take_external_sender(self, package: bytes) -> None:
        self._sender_package = package
        if self._session is not None and not self._session.ready:
            self._session.set_external_sender(package)

    def _take_proposals(self, payload: bytes) -> None:
        if self._session is None:
            return
        kind = (
            davey.ProposalsOperationType.append
            if payload[0] == APPEND
            else davey.ProposalsOperationType.revoke
        )
        try:
            result = self._session.process_proposals(kind, payload[1:], sorted(self._users))
        except ValueError:
            self.rejected_proposals += 1
            return
        if result is not None:
            self._send_binary(DaveOpcode.COMMIT_WELCOME, result.commit + (result.welcome or b""))

    def _enter_epoch(self, opcode: DaveOpcode, transition_id: int, message: bytes, now: float) -> None:
        if not self._process(opcode, message):
            self._report_invalid(transition_id, now)
        elif transition_id == INITIAL_TRANSITION:
            self.version = self._group_version
        else:
            self._pending[transition_id] = self._group_version
            self._ready(transition_id)

    def _process(self, opcode: DaveOpcode, message: bytes) -> bool:
        """Move to the next epoch by a commit or a welcome; return False if it does not fit."""
        if self._session is None:
            return False
        try:
            if opcode is DaveOpcode.WELCOME:
                self._session.process_welcome(message)
            else:
                self._session.process_commit(message)
        except ValueError:
            return False
        return True

    def _report_invalid(self, transition_id: int, now: float) -> None:
        self.invalid_reports += 1
        self._outgoing.append(DaveText(DaveOpcode.INVALID_COMMIT_WELCOME, {"transition_id": transition_id}))
        self._begin(self._group_version, now)

    def _execute(self, transition_id: int, now: float) -> None:
        version = self._pending.pop(transition_id, None)
        if version is None:
            return
        self.transitions += 1
        self._change_version(version, now)

    def _change_version(self, version: int, now: float) -> None:
        del now
        self.version = version

    def _retire(self, now: float) -> None:
        """Keep what is needed of a session that is about to be replaced."""

    def _ready(self, transition_id: int) -> None:
        self._outgoing.append(DaveText(DaveOpcode.READY_FOR_TRANSITION, {"transition_id": transition_id}))

    def _send_binary(self, opcode: DaveOpcode, payload: bytes) -> None:
        self._outgoing.append(DaveBinary(opcode, payload))


class DaveListener(DaveMember):
    """A member that never speaks: it decrypts what the others send.

    Parameters
    ----------
    user_id, channel_id : int
        Snowflakes.
    keep_frames : int
        Decrypted frames to keep for each sender; the oldest go first.

    Attributes
    ----------
    failures : deque[DaveFailure]
        Frames it could not decrypt, the last 1,000.
    failure_counts : Counter[int]
        How many there were of each user.
    passed_through : int
        Frames that came in the clear where that is allowed, silence not counted.
    """

    def __init__(self, user_id: int, channel_id: int, *, keep_frames: int = 30_000) -> None:
        super().__init__(user_id, channel_id)
        self.failures: deque[DaveFailure] = deque(maxlen=_MAX_FAILURES)
        self.failure_counts: Counter[int] = Counter()
        self.passed_through = 0
        self._keep_frames = keep_frames
        self._heard: dict[int, deque[tuple[int, bytes]]] = {}
        self._retired: deque[tuple[float, davey.DaveSession]] = deque()
        self._clear_until_s = 0.0

    def hear(self, user_id: int, timestamp: int, frame: bytes, now: float) -> bytes | None:
        """Decrypt one frame and keep it.

        Parameters
        ----------
        user_id : int
            Who sent it.
        timestamp : int
            RTP timestamp, in samples.
        frame : bytes
            What the transport encryption yielded.
        now : float
            Monotonic time in seconds.

        Returns
        -------
        bytes | None
            The Opus packet; None if it could not be decrypted (see `failures`).
        """
        opus = self._open(user_id, timestamp, frame, now)
        if opus is not None:
            heard = self._heard.setdefault(user_id, deque(maxlen=self._keep_frames))
            heard.append((timestamp, opus))
        return opus

    def packets(self, user_id: int) -> list[tuple[int, bytes]]:
        """Return what was heard of a user: RTP timestamp and Opus packet, in order of arrival."""
        return list(self._heard.get(user_id, ()))

    def _open(self, user_id: int, timestamp: int, frame: bytes, now: float) -> bytes | None:
        if frame == SILENCE_FRAME:
            return frame
        if not is_protocol_frame(frame):
            if self.version == 0 or 0 in self._pending.values() or now < self._clear_until_s:
                self.passed_through += 1
                return frame
            self._fail(user_id, timestamp, "not encrypted")
            return None
        while self._retired and self._retired[0][0] <= now:
            self._retired.popleft()
        sessions = [session for _, session in self._retired]
        if self._session is not None:
            sessions.append(self._session)
        reason = "no group"
        for session in reversed(sessions):
            try:
                return session.decrypt(user_id, davey.MediaType.audio, frame)
            except ValueError as error:
                if reason != "wrong key":
                    reason = "sender not in the group" if "NoDecryptorForUser" in str(error) else "wrong key"
        self._fail(user_id, timestamp, reason)
        return None

    def _fail(self, user_id: int, timestamp: int, reason: str) -> None:
        self.failure_counts[user_id] += 1
        self.failures.append(DaveFailure(user_id, timestamp, self.epoch, reason))

    def _change_version(self, version: int, now: float) -> None:
        if version and not self.version:
            # An upgrade: what was sent in the clear may still be on its way.
            self._clear_until_s = now + OLD_KEYS_S
        super()._change_version(version, now)

    def _retire(self, now: float) -> None:
        if self._session is not None and self._session.ready:
            self._retired.append((now + OLD_KEYS_S, self._session))


class DaveSpeaker(DaveMember):
    """A member that sends: it encrypts Opus frames, and changes keys only when a transition is carried out.

    davey seals with the new epoch's key as soon as it has processed a commit. As the others may not have it
    yet, the speaker says that it is ready and holds the commit, and what comes after it, until opcode 22.
    """

    def __init__(self, user_id: int, channel_id: int) -> None:
        super().__init__(user_id, channel_id)
        self._sealing: davey.DaveSession | None = None
        self._held: deque[DaveBinary] = deque()

    @property
    def sealing(self) -> bool:
        """Whether it may encrypt: it has keys, and the transition to them was carried out."""
        return self._sealing is not None

    def seal(self, opus: bytes) -> bytes | None:
        """Return what to put into an RTP packet for an Opus frame; None while nothing may be sent.

        In a call of version 0, and for silence, that is the frame itself.
        """
        if self.version == 0 or opus == SILENCE_FRAME:
            return opus
        return None if self._sealing is None else self._sealing.encrypt_opus(opus)

    def _receive_binary(self, message: DaveBinary, now: float) -> None:
        commit = message.opcode is DaveOpcode.ANNOUNCE_COMMIT_TRANSITION
        if not self._held and not (commit and self.ready):
            super()._receive_binary(message, now)
            return
        self._held.append(message)
        if commit:
            transition_id = int.from_bytes(message.payload[:_TRANSITION_ID_BYTES])
            self._pending[transition_id] = self._group_version
            self._ready(transition_id)

    def _begin(self, version: int, now: float) -> None:
        self._held.clear()
        super()._begin(version, now)

    def _execute(self, transition_id: int, now: float) -> None:
        super()._execute(transition_id, now)
        if self._held and self._held[0].payload.startswith(transition_id.to_bytes(_TRANSITION_ID_BYTES)):
            self._release(now)
        self._sealing = self._session if self.ready else None

    def _release(self, now: float) -> None:
        commit = self._held.popleft()
        if not self._process(commit.opcode, commit.payload[_TRANSITION_ID_BYTES:]):
            self._report_invalid(int.from_bytes(commit.payload[:_TRANSITION_ID_BYTES]), now)
        while self._held and self._held[0].opcode is not DaveOpcode.ANNOUNCE_COMMIT_TRANSITION:
            super()._receive_binary(self._held.popleft(), now)
