"""The client side of DAVE without I/O: what each opcode does to the group, the version and our frames [pure].

The caller owns the websocket and the clock. It calls one method per thing that happened, passing ``now``
(seconds, monotonic), and after *each* asks `outgoing` for what to send, `events` for what to tell, and
`next_deadline` for when to call `tick`. What becomes of frames is told to the `FrameSealer` at once, so that
no frame passes between a decision and its effect. One object is one voice session: it lives through resumes
(`resumed`), and a new IDENTIFY gets a new one.

Nothing the server sends is fatal or raises. What cannot be read or has no use is counted in `dropped`. A
commit or welcome that is for us and cannot be processed starts a recovery: opcode 31 with its transition id,
group forgotten, new key package (DAVE protocol, Recovery from Invalid Commit or Welcome). Until the welcome
for that key package has come, or `RECOVERY_TIMEOUT_S` has passed, there is no second one.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from voicepool.workers.dave.contract import DaveGroup, GroupError
from voicepool.workers.dave.events import (
    DaveEvent,
    DaveFailed,
    DaveRecovered,
    DaveRecovering,
)
from voicepool.workers.dave.execution import Execution
from voicepool.workers.dave.frames import FrameSealer
from voicepool.workers.dave.holding import Holding
from voicepool.workers.dave.inbox import Inbox
from voicepool.workers.dave.membership import Membership
from voicepool.workers.dave.messages import (
    BodyError,
    DaveReply,
    invalid_reply,
    read_execute_transition,
    read_mls_transition,
    read_prepare_epoch,
    read_prepare_transition,
    read_proposals_operation,
    ready_reply,
)
from voicepool.workers.dave.mls import MlsFormatError
from voicepool.workers.dave.opening import PassthroughWindow
from voicepool.workers.dave.recovery import RECOVERY_TIMEOUT_S, Recovery
from voicepool.workers.dave.states import DaveInput, DaveState
from voicepool.workers.gateway.events import DaveMessage
from voicepool.workers.gateway.opcodes import VoiceOpcode

__all__ = ["DaveProtocol"]

_FIRST_EPOCH: Final = 1


class DaveProtocol:
    """One voice session's worth of DAVE.

    Parameters
    ----------
    group
        Does the MLS; a fresh one.
    sealer
        Of this call's frames; nobody else tells it what to do with them.

    Attributes
    ----------
    membership
        Our place in the group: its members, codes and keys. For looking only.
    execution
        Transitions, and what is in force by them. For looking only.
    """

    def __init__(self, group: DaveGroup, sealer: FrameSealer) -> None:
        self.membership = Membership(group)
        self.execution = Execution(self.membership, sealer)
        self.dropped: Counter[str] = Counter()
        """Messages that had no effect, by reason."""
        self._inbox = Inbox(self.dropped)
        self._recovery = Recovery()
        self._outgoing: list[DaveReply] = []
        self._events: list[DaveEvent] = []
        self._holding = Holding()
        self.recoveries = 0
        """Times that opcode 31 was sent."""

    def __repr__(self) -> str:
        return (
            f"<DaveProtocol {self.state.value} version={self.protocol_version} epoch={self.membership.epoch}>"
        )

    @property
    def state(self) -> DaveState:
        """Our membership."""
        return self.membership.state

    @property
    def protocol_version(self) -> int:
        """In force; 0: the call is not end-to-end encrypted."""
        return self.execution.sending.version

    @property
    def window(self) -> PassthroughWindow:
        """For the `FrameOpener` of what others send."""
        return self.execution.window

    # Things that happened.

    def session_description(self, dave_protocol_version: int, now: float) -> None:
        """Begin, or begin again: opcode 4 has come. To be called before the first frame is sealed."""
        self._inbox.open()
        self._holding.release()
        self._recovery.end()
        self.execution.begin(dave_protocol_version)
        if dave_protocol_version == 0:
            self.membership.move(DaveInput.LEAVE)
            self._tell_group()
        else:
            self._new_group(dave_protocol_version, now)
        self._tell()
        for message in self._inbox.take_early():
            self._dispatch(message, now)

    def receive(self, message: DaveMessage, now: float) -> None:
        """Take a message of opcodes 21 to 31."""
        if self._inbox.takes(message):
            self._dispatch(message, now)

    def members_changed(self, *, joined: Iterable[int] = (), left: Iterable[int] = ()) -> None:
        """Note opcodes 11 (`joined`) and 13 (`left`), in the order in which they come."""
        self._send(self.membership.members_changed(joined, left))

    def resumed(self) -> None:
        """Note that the websocket is another: say again what may have been lost with the one before."""
        for transition_id, transition in self.execution.pending:
            if transition.is_sound:
                self._send(ready_reply(transition_id))
        self._outgoing += self.membership.unanswered()

    def settle(self, now: float) -> bool:
        """Merge a commit that is held back, if there is one; return whether the group moved."""
        held = self._holding.release()
        return held is not None and self._merge(*held, now)

    def cannot_decrypt(self, now: float) -> None:
        """Note that too many frames in a row could not be decrypted: be added to the group again."""
        if self.state is DaveState.MEMBER and self._recovery.may_follow_failures(now):
            self._recover(self.execution.executed_id, "too many frames in a row could not be decrypted", now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._holding.is_due(now):
            self.settle(now)
        if not self._recovery.is_due(now):
            return
        if self.membership.is_alone:
            # Nobody is there to add us; whoever comes founds a new group with us.
            self._recovery.put_off(now)
            return
        self._withhold()
        self._recover(self._recovery.reported_id, f"no welcome has come within {RECOVERY_TIMEOUT_S:g} s", now)

    # What the caller asks after each call.

    def outgoing(self) -> list[DaveReply]:
        """Return the messages to send, in order."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def events(self) -> list[DaveEvent]:
        """Return what has happened since the last call."""
        events, self._events = self._events, []
        return events

    def next_deadline(self) -> float | None:
        """Return the time at which to call `tick`, or None for never."""
        deadlines = (self._holding.deadline, self._recovery.deadline)
        return min((deadline for deadline in deadlines if deadline is not None), default=None)

    # Messages.

    def _dispatch(self, message: DaveMessage, now: float) -> None:
        is_binary, handle = _HANDLERS.get(message.opcode, (None, None))
        if handle is None:
            self.dropped["unexpected_opcode"] += 1
        elif is_binary is not message.binary:
            self.dropped["malformed"] += 1
        else:
            try:
                handle(self, message.payload, now)
            except (BodyError, MlsFormatError):
                self.dropped["malformed"] += 1

    def _on_prepare_transition(self, payload: bytes, now: float) -> None:
        body = read_prepare_transition(payload)
        self._announce(body.transition_id, body.protocol_version, now)

    def _on_execute(self, payload: bytes, now: float) -> None:
        transition_id = read_execute_transition(payload).transition_id
        transition = self.execution.pending.take(transition_id)
        if transition is None:
            self.dropped["unknown_transition"] += 1
            return
        is_sound = transition.is_sound
        if self._holding.is_for(transition_id):
            is_sound = self.settle(now)
            # A recovery that began there has put it back, to wait for what is happening now.
            self.execution.pending.take(transition_id)
        self.execution.execute(transition_id, transition, now, is_sound=is_sound)
        self._tell()

    def _on_prepare_epoch(self, payload: bytes, now: float) -> None:
        body = read_prepare_epoch(payload)
        if body.protocol_version > 0 and body.epoch == _FIRST_EPOCH:
            self._follow()
            self.execution.announced = body.protocol_version
            self._recovery.end()
            self._new_group(body.protocol_version, now)
        elif body.protocol_version > 0 and body.epoch > _FIRST_EPOCH and body.transition_id is not None:
            # The group stays, only its frames change.
            self._announce(body.transition_id, body.protocol_version, now)
        else:
            self.dropped["ignored"] += 1

    def _on_external_sender(self, payload: bytes, now: float) -> None:
        if self.membership.take_external_sender(payload):
            self._start(self.execution.announced, now)

    def _on_proposals(self, payload: bytes, now: float) -> None:
        is_revocation, vector = read_proposals_operation(payload)
        if not self.membership.is_in_a_group:
            self.dropped["ignored"] += 1
            return
        self.settle(now)
        take = self.membership.revoke if is_revocation else self.membership.propose
        self._send(take(vector))

    def _on_commit(self, payload: bytes, now: float) -> None:
        transition_id, commit = read_mls_transition(payload)
        if commit == self._holding.commit:
            self.dropped["repeated"] += 1
            return
        self.settle(now)
        if not self.membership.is_commit_for_us(commit):
            self.dropped["ignored"] += 1
            if self.state is DaveState.RECOVERING and transition_id:
                self.execution.await_without_us(transition_id)
            return
        fault = self.membership.fault_of(commit)
        if fault is not None:
            self._recover(transition_id, fault, now)
        elif self._may_hold(transition_id):
            self.membership.commit_announced()
            self._holding.hold(transition_id, commit, now)
            self._answer(transition_id, now)
        elif self._merge(transition_id, commit, now):
            self._answer(transition_id, now)

    def _on_welcome(self, payload: bytes, now: float) -> None:
        transition_id, welcome = read_mls_transition(payload)
        if not self.membership.is_welcome_for_us(welcome):
            self.dropped["ignored"] += 1
            return
        try:
            self.membership.join(welcome)
        except GroupError as error:
            self._recover(transition_id, str(error), now)
        else:
            self._entered(now)
            self._answer(transition_id, now)

    # The group.

    def _new_group(self, version: int, now: float) -> None:
        self.membership.move(DaveInput.START)
        self._recovery.attempts = 0
        if version > self.membership.max_version:
            self._give_up(f"DAVE version {version} is beyond ours, which is {self.membership.max_version}")
        else:
            self._start(version, now)

    def _start(self, version: int, now: float) -> None:
        """Be a pending member of a new group; the old key goes on until something is executed."""
        self._holding.release()
        try:
            self._send(self.membership.start(version, now))
        except GroupError as error:
            self._give_up(str(error))
        else:
            self._tell_group()

    def _may_hold(self, transition_id: int) -> bool:
        return (
            self.membership.switches_on_merge
            and transition_id != 0
            and self.execution.sending.group == self.membership.generation
        )

    def _follow(self) -> None:
        """Merge a commit that is held back, while there still is the group that the others send in."""
        if self._holding.commit is not None:
            with contextlib.suppress(GroupError):
                # If it is invalid, the group that is about to begin mends that too.
                self.membership.merge(self._holding.commit)

    def _merge(self, transition_id: int, commit: bytes, now: float) -> bool:
        try:
            self.membership.merge(commit)
        except GroupError as error:
            self._recover(transition_id, str(error), now)
            return False
        self._entered(now)
        return True

    def _entered(self, now: float) -> None:
        self.window.changed(now)
        gap_s = self._recovery.succeed(now)
        if gap_s is not None:
            self._events.append(DaveRecovered(gap_s=gap_s))
        self._tell_group()

    # Recovery.

    def _recover(self, transition_id: int, reason: str, now: float) -> None:
        if not self._recovery.begin(transition_id, now):
            self._give_up(reason)
            return
        self.recoveries += 1
        self.membership.move(DaveInput.INVALID)
        self._send(invalid_reply(transition_id))
        self._events.append(
            DaveRecovering(transition_id=transition_id, reason=reason, attempt=self._recovery.attempts)
        )
        self._start(self.execution.announced or self.membership.max_version, now)
        self.execution.await_invalid(transition_id)
        self._tell()

    def _give_up(self, reason: str) -> None:
        self.membership.move(DaveInput.GIVE_UP)
        self._holding.release()
        self._recovery.end()
        self._withhold()
        self._events.append(DaveFailed(reason=reason))
        self._tell_group()

    # Transitions.

    def _announce(self, transition_id: int, version: int, now: float) -> None:
        if self.execution.announce(transition_id, version, now):
            self._send(ready_reply(transition_id))
        self._tell()

    def _answer(self, transition_id: int, now: float) -> None:
        if self.execution.answer(transition_id, now):
            self._send(ready_reply(transition_id))
        self._tell()

    def _withhold(self) -> None:
        self.execution.withhold()
        self._tell()

    # Words to the outside.

    def _send(self, reply: DaveReply | None) -> None:
        if reply is not None:
            self._outgoing.append(reply)

    def _tell(self) -> None:
        news = self.execution.sending.news()
        if news is not None:
            self._events.append(news)

    def _tell_group(self) -> None:
        news = self.membership.news()
        if news is not None:
            self._events.append(news)


_Handler = Callable[[DaveProtocol, bytes, float], None]
_HANDLERS: Final[Mapping[int, tuple[bool, _Handler]]] = MappingProxyType(
    {
        VoiceOpcode.DAVE_PREPARE_TRANSITION: (False, DaveProtocol._on_prepare_transition),  # noqa: SLF001
        VoiceOpcode.DAVE_EXECUTE_TRANSITION: (False, DaveProtocol._on_execute),  # noqa: SLF001
        VoiceOpcode.DAVE_PREPARE_EPOCH: (False, DaveProtocol._on_prepare_epoch),  # noqa: SLF001
        VoiceOpcode.DAVE_MLS_EXTERNAL_SENDER: (True, DaveProtocol._on_external_sender),  # noqa: SLF001
        VoiceOpcode.DAVE_MLS_PROPOSALS: (True, DaveProtocol._on_proposals),  # noqa: SLF001
        VoiceOpcode.DAVE_MLS_ANNOUNCE_COMMIT_TRANSITION: (True, DaveProtocol._on_commit),  # noqa: SLF001
        VoiceOpcode.DAVE_MLS_WELCOME: (True, DaveProtocol._on_welcome),  # noqa: SLF001
    },
)
"""Whether an opcode is binary, and who takes it. The table is part of the class: it may name its inside."""
