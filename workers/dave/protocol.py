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

**Keys change at the execution.** The whitepaper has members process a commit, report ready, and send under
the new key when told to execute (opcode 22). A library whose sender changes key as it merges the commit
(`DaveGroup.switches_on_merge`) cannot do all three, and frames under the new key are lost on everybody who
is slower than we are. So while we send, such a commit is looked at, reported ready, and merged when it is
executed; or before that, if something else needs the new epoch, if a frame arrives that only the new epoch
can open (`settle`), or after `HOLD_LIMIT_S`. Should it turn out invalid only then, the recovery is the same.
"""

from __future__ import annotations

import contextlib
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from voicepool.workers.dave.contract import DaveGroup, Encrypt, GroupError
from voicepool.workers.dave.events import (
    DaveEvent,
    DaveFailed,
    DaveRecovered,
    DaveRecovering,
    EncryptionChanged,
)
from voicepool.workers.dave.frames import FrameSealer
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
from voicepool.workers.dave.opening import ANNOUNCED_DOWNGRADE_S, TRANSITION_S, PassthroughWindow
from voicepool.workers.dave.states import DaveInput, DaveState
from voicepool.workers.dave.transitions import PendingTransitions, Transition
from voicepool.workers.gateway.events import DaveMessage
from voicepool.workers.gateway.opcodes import VoiceOpcode

__all__ = [
    "EARLY_MAX",
    "FAILING_COOLDOWN_S",
    "HOLD_LIMIT_S",
    "RECOVERY_LIMIT",
    "RECOVERY_TIMEOUT_S",
    "DaveProtocol",
]

HOLD_LIMIT_S: Final = 10.0
"""How long a commit is held back for its execution; servers execute within about 2 s."""
RECOVERY_TIMEOUT_S: Final = 10.0
"""How long the server may take to add us again, while anybody else is in the call."""
RECOVERY_LIMIT: Final = 5
"""Recoveries without having been in the group between them, before we give up."""
FAILING_COOLDOWN_S: Final = 60.0
"""Shortest time between two recoveries because of frames that cannot be decrypted."""
EARLY_MAX: Final = 64
"""Messages kept that come before the session description."""
_SEEN_MAX: Final = 64
_FIRST_EPOCH: Final = 1


class DaveProtocol:
    """One voice session's worth of DAVE.

    Parameters
    ----------
    group
        Does the MLS; a fresh one.
    sealer
        Of this call's frames; only this object tells it what to do with them.

    Attributes
    ----------
    membership
        Our place in the group: its members, codes and keys. For looking only.
    window
        For the `FrameOpener` of what others send.
    """

    def __init__(self, group: DaveGroup, sealer: FrameSealer) -> None:
        self.membership = Membership(group)
        self.window = PassthroughWindow()
        self._sealer = sealer
        self._pending = PendingTransitions()
        self._outgoing: list[DaveReply] = []
        self._events: list[DaveEvent] = []

        self._is_described = False
        self._early: deque[DaveMessage] = deque()
        self._seen: deque[tuple[int, int, int]] = deque(maxlen=_SEEN_MAX)

        self._version = 0
        self._announced = 0
        self._executed_id = 0
        self._sealing: int | None = None
        self._told = (0, False)
        self._held: tuple[int, bytes] | None = None
        self._hold_until: float | None = None

        self._attempts = 0
        self._reported_id = 0
        self._recovering_since: float | None = None
        self._recover_by: float | None = None
        self._not_failing_before = 0.0

        self.dropped: Counter[str] = Counter()
        """Messages that had no effect, by reason."""
        self.transitions = 0
        """Transitions executed."""
        self.recoveries = 0
        """Times that opcode 31 was sent."""

    def __repr__(self) -> str:
        return f"<DaveProtocol {self.state.value} version={self._version} epoch={self.membership.epoch}>"

    @property
    def state(self) -> DaveState:
        """Our membership."""
        return self.membership.state

    @property
    def protocol_version(self) -> int:
        """In force; 0: the call is not end-to-end encrypted."""
        return self._version

    # Things that happened.

    def session_description(self, dave_protocol_version: int, now: float) -> None:
        """Begin, or begin again: opcode 4 has come. To be called before the first frame is sealed."""
        self._is_described = True
        self._pending.clear()
        self._drop_hold()
        self._end_recovery()
        self._version = self._announced = dave_protocol_version
        self._executed_id = 0
        self._sealing = None
        if dave_protocol_version == 0:
            self.membership.move(DaveInput.LEAVE)
            self._sealer.pass_through()
            self.window.open()
            self._tell_group()
        else:
            self._sealer.withhold()
            self.window.close()
            self._new_group(dave_protocol_version, now)
        self._tell()
        early, self._early = self._early, deque()
        for message in early:
            self._dispatch(message, now)

    def receive(self, message: DaveMessage, now: float) -> None:
        """Take a message of opcodes 21 to 31."""
        if message.seq is not None:
            # Only an exact repetition is one: numbers wrap, and other opcodes take most of them.
            mark = (message.seq, message.opcode, hash(message.payload))
            if mark in self._seen:
                self.dropped["repeated"] += 1
                return
            self._seen.append(mark)
        if self._is_described or message.opcode == VoiceOpcode.DAVE_MLS_EXTERNAL_SENDER:
            self._dispatch(message, now)
        elif len(self._early) < EARLY_MAX:
            self._early.append(message)
        else:
            self.dropped["too_early"] += 1

    def members_changed(self, *, joined: Iterable[int] = (), left: Iterable[int] = ()) -> None:
        """Note opcodes 11 (`joined`) and 13 (`left`), in the order in which they come."""
        self._send(self.membership.members_changed(joined, left))

    def resumed(self) -> None:
        """Note that the websocket is another: say again what may have been lost with the one before."""
        for transition_id, transition in self._pending:
            if transition.is_sound:
                self._send(ready_reply(transition_id))
        self._outgoing += self.membership.unanswered()

    def settle(self, now: float) -> bool:
        """Merge a commit that is held back, if there is one; return whether the group moved."""
        if self._held is None:
            return False
        transition_id, commit = self._held
        self._drop_hold()
        return self._merge(transition_id, commit, now)

    def cannot_decrypt(self, now: float) -> None:
        """Note that too many frames in a row could not be decrypted: be added to the group again."""
        if self.state is DaveState.MEMBER and now >= self._not_failing_before:
            self._not_failing_before = now + FAILING_COOLDOWN_S
            self._recover(self._executed_id, "too many frames in a row could not be decrypted", now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._hold_until is not None and now >= self._hold_until:
            self.settle(now)
        if self._recover_by is None or now < self._recover_by:
            return
        if self.membership.is_alone:
            # Nobody is there to add us; whoever comes founds a new group with us.
            self._recover_by = now + RECOVERY_TIMEOUT_S
            return
        self._withhold()
        self._recover(self._reported_id, f"no welcome has come within {RECOVERY_TIMEOUT_S:g} s", now)

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
        deadlines = (self._hold_until, self._recover_by)
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
        transition = self._pending.take(transition_id)
        if transition is None:
            self.dropped["unknown_transition"] += 1
        else:
            self._execute(transition_id, transition, now)

    def _on_prepare_epoch(self, payload: bytes, now: float) -> None:
        body = read_prepare_epoch(payload)
        if body.protocol_version > 0 and body.epoch == _FIRST_EPOCH:
            self._follow()
            self._announced = body.protocol_version
            self._end_recovery()
            self._new_group(body.protocol_version, now)
        elif body.protocol_version > 0 and body.epoch > _FIRST_EPOCH and body.transition_id is not None:
            # The group stays, only its frames change.
            self._announce(body.transition_id, body.protocol_version, now)
        else:
            self.dropped["ignored"] += 1

    def _on_external_sender(self, payload: bytes, now: float) -> None:
        if self.membership.take_external_sender(payload):
            self._start(self._announced, now)

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
        if self._held is not None and self._held[1] == commit:
            self.dropped["repeated"] += 1
            return
        self.settle(now)
        if not self.membership.is_commit_for_us(commit):
            self.dropped["ignored"] += 1
            if self.state is DaveState.RECOVERING and transition_id:
                # The others go on without us: once they do, nobody has our old key any more.
                others = Transition(self.membership.generation, is_sound=False, is_answered=False)
                self._pending.put(transition_id, others)
            return
        fault = self.membership.fault_of(commit)
        if fault is not None:
            self._recover(transition_id, fault, now)
        elif self._may_hold(transition_id):
            self.membership.commit_announced()
            self._held, self._hold_until = (transition_id, commit), now + HOLD_LIMIT_S
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
        self._attempts = 0
        if version > self.membership.max_version:
            self._give_up(f"DAVE version {version} is beyond ours, which is {self.membership.max_version}")
        else:
            self._start(version, now)

    def _start(self, version: int, now: float) -> None:
        """Be a pending member of a new group; the old key goes on until something is executed."""
        self._drop_hold()
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
            and self._sealing is not None
            and self._sealing == self.membership.generation
        )

    def _follow(self) -> None:
        """Merge a commit that is held back, while there still is the group that the others send in."""
        if self._held is not None:
            _, commit = self._held
            with contextlib.suppress(GroupError):
                # If it is invalid, the group that is about to begin mends that too.
                self.membership.merge(commit)

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
        if self._recovering_since is not None:
            self._events.append(DaveRecovered(gap_s=now - self._recovering_since))
        self._attempts = 0
        self._end_recovery()
        self._tell_group()

    def _drop_hold(self) -> None:
        self._held = self._hold_until = None

    # Recovery.

    def _recover(self, transition_id: int, reason: str, now: float) -> None:
        self._attempts += 1
        if self._attempts > RECOVERY_LIMIT:
            self._give_up(reason)
            return
        self.recoveries += 1
        self.membership.move(DaveInput.INVALID)
        self._send(invalid_reply(transition_id))
        self._events.append(
            DaveRecovering(transition_id=transition_id, reason=reason, attempt=self._attempts)
        )
        self._reported_id = transition_id
        self._recover_by = now + RECOVERY_TIMEOUT_S
        if self._recovering_since is None:
            self._recovering_since = now
        self._start(self._announced or self.membership.max_version, now)
        if transition_id == 0:
            self._withhold()
        elif transition_id != self._executed_id:
            self._pending.put(transition_id, Transition(self.membership.generation, is_sound=False))

    def _end_recovery(self) -> None:
        self._recovering_since = self._recover_by = None

    def _give_up(self, reason: str) -> None:
        self.membership.move(DaveInput.GIVE_UP)
        self._drop_hold()
        self._end_recovery()
        self._withhold()
        self._events.append(DaveFailed(reason=reason))
        self._tell_group()

    # Transitions.

    def _announce(self, transition_id: int, version: int, now: float) -> None:
        is_sound = version <= self.membership.max_version
        transition = Transition(self.membership.generation, version, is_sound=is_sound)
        if transition_id == 0:
            self._execute(0, transition, now)
            return
        if version == 0:
            self.window.open_until(now + ANNOUNCED_DOWNGRADE_S)
        if self._pending.put(transition_id, transition):
            self._send(ready_reply(transition_id))

    def _answer(self, transition_id: int, now: float) -> None:
        """Report ready for the transition of a commit or welcome; id 0 is executed instead."""
        transition = Transition(self.membership.generation)
        if transition_id == 0:
            self._execute(0, transition, now)
        elif self._pending.put(transition_id, transition):
            self._send(ready_reply(transition_id))

    def _execute(self, transition_id: int, transition: Transition, now: float) -> None:
        is_sound = transition.is_sound
        if self._held is not None and self._held[0] == transition_id:
            is_sound = self.settle(now)
            # A recovery that began there has put it back, to wait for what is happening now.
            self._pending.take(transition_id)
        is_present = transition.version is not None or transition.group == self.membership.generation
        if transition.version is not None:
            self._announced = transition.version
        if is_present:
            self._version = self._announced
        self._executed_id = transition_id
        self.transitions += 1
        self.window.changed(now)
        if self._version == 0:
            self._sealing = None
            self._sealer.pass_through()
            self.window.open()
        elif is_present or not is_sound:
            if not self._pending.has_downgrade:
                # After an upgrade, or a downgrade that was announced and never came.
                self.window.close_at(now + TRANSITION_S)
            self._take_key(self.membership.encryptor() if is_sound else None)
        self._tell()

    def _take_key(self, encrypt: Encrypt | None) -> None:
        if encrypt is None:
            self._withhold()
            return
        self._sealing = self.membership.generation
        self._sealer.encrypt_with(encrypt)

    def _withhold(self) -> None:
        if self._version > 0:
            self._sealing = None
            self._sealer.withhold()
            self._tell()

    # Words to the outside.

    def _send(self, reply: DaveReply | None) -> None:
        if reply is not None:
            self._outgoing.append(reply)

    def _tell(self) -> None:
        told = (self._version, self._version == 0 or self._sealing is not None)
        if told != self._told:
            self._told = told
            self._events.append(EncryptionChanged(protocol_version=told[0], is_sending=told[1]))

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
