"""The client side of DAVE without I/O: what each opcode does to the group, the version and our frames [pure].

The caller owns the websocket and the clock. It calls one method per thing that happened, passing ``now``
(seconds, monotonic), and after *each* asks `outgoing` for what to send, `events` for what to tell, and
`next_deadline` for when to call `tick`. What frames become is told to the `FrameSealer` at once, so that no
frame passes between a decision and its effect. One object is one voice session: it lives through resumes
(`resumed`), and a new IDENTIFY gets a new one.

Nothing the server sends is fatal or raises. What cannot be read or has no use is counted in `dropped`. A commit
or welcome that is meant for us and cannot be processed starts a recovery: opcode 31 with its transition id,
group forgotten, new key package (DAVE protocol, Recovery from Invalid Commit or Welcome). Until the welcome for
that key package has come, or `RECOVERY_TIMEOUT_S` has passed, there is no second one.

**Keys change at the execution.** The whitepaper has members process a commit, report ready, and send under the
new key when told to execute (opcode 22). A library whose sender changes key as it merges the commit
(`DaveGroup.switches_on_merge`) cannot do all three; sending early would be heard by nobody who is a little
slower than we are. So while we send, such a commit is looked at, reported ready, and merged at its execution:
or before, if something else needs the new epoch, if a frame that only it can open arrives (`settle`), or after
`HOLD_LIMIT_S`. If it then turns out invalid, the recovery is the same as ever, one round later.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Final

from voicepool.workers.dave.codes import VerificationPair
from voicepool.workers.dave.contract import DaveGroup, GroupError
from voicepool.workers.dave.events import (
    DaveEvent,
    DaveFailed,
    DaveRecovered,
    DaveRecovering,
    EncryptionChanged,
    GroupChanged,
)
from voicepool.workers.dave.frames import FrameSealer
from voicepool.workers.dave.messages import (
    BodyError,
    DaveReply,
    commit_welcome_reply,
    invalid_reply,
    key_package_reply,
    read_execute_transition,
    read_mls_transition,
    read_prepare_epoch,
    read_prepare_transition,
    read_proposals_operation,
    ready_reply,
)
from voicepool.workers.dave.mls import (
    Commit,
    MlsFormatError,
    Proposal,
    key_package_ref,
    read_commit,
    read_external_sender,
    read_proposals,
    read_references,
    read_welcome_references,
)
from voicepool.workers.dave.opening import ANNOUNCED_DOWNGRADE_S, TRANSITION_S, PassthroughWindow
from voicepool.workers.dave.proposals import ProposalDesk
from voicepool.workers.dave.states import DaveInput, DaveMachine, DaveState
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
"""Recoveries without being in the group between them, before the call is given up."""
FAILING_COOLDOWN_S: Final = 60.0
"""Shortest time between two recoveries because of frames that cannot be decrypted."""
EARLY_MAX: Final = 64
"""Messages kept that come before the session description."""
_SEEN_MAX: Final = 64
_OWN_PACKAGES_KEPT: Final = 8
_FIRST_EPOCH: Final = 1


class DaveProtocol:
    """One voice session's worth of DAVE.

    Parameters
    ----------
    group
        Does the MLS; fresh.
    sealer
        Of this call's frames; told what to do with them from here only.
    window
        For the receiving side (`FrameOpener`); moved from here only.
    """

    def __init__(
        self, group: DaveGroup, sealer: FrameSealer, *, window: PassthroughWindow | None = None
    ) -> None:
        self._group = group
        self._sealer = sealer
        self._window = window or PassthroughWindow()
        self._group_id = group.channel_id.to_bytes(8)
        self._machine = DaveMachine()
        self._desk = ProposalDesk(group.user_id)
        self._pending = PendingTransitions()
        self._outgoing: list[DaveReply] = []
        self._events: list[DaveEvent] = []

        self._is_described = False
        self._early: deque[DaveMessage] = deque()
        self._seen: deque[tuple[int, int, int]] = deque(maxlen=_SEEN_MAX)
        self._external_sender = b""

        self._version = 0
        self._announced = 0
        self._executed_id = 0
        self._generation = 0
        self._sealing: int | None = None
        self._key_package = b""
        self._own_packages: deque[bytes] = deque(maxlen=_OWN_PACKAGES_KEPT)
        self._own_commit = b""
        self._own_commit_reply: DaveReply | None = None
        self._held: tuple[int, bytes] | None = None
        self._hold_until: float | None = None
        self._keys: dict[int, bytes] = {}
        self._known_as: tuple[int | None, str | None] = (None, None)
        self._known_members: frozenset[int] = frozenset()
        self._told: tuple[int, bool] = (0, True)

        self._attempts = 0
        self._recovering_since: float | None = None
        self._recover_by: float | None = None
        self._reported_id = 0
        self._not_failing_before = 0.0

        self.dropped: Counter[str] = Counter()
        """Messages, or parts of them, that had no effect, by reason."""
        self.transitions = 0
        """Transitions executed."""
        self.recoveries = 0
        """Times that opcode 31 was sent."""

    def __repr__(self) -> str:
        return f"<DaveProtocol {self.state.value} version={self._version} epoch={self._group.epoch}>"

    # What the caller may look at.

    @property
    def state(self) -> DaveState:
        """Our membership."""
        return self._machine.state

    @property
    def protocol_version(self) -> int:
        """In force; 0: the call is not end-to-end encrypted."""
        return self._version

    @property
    def epoch(self) -> int | None:
        """Of the group we are a member of."""
        return self._group.epoch if self.state is DaveState.MEMBER else None

    @property
    def privacy_code(self) -> str | None:
        """30 digits that all members see alike; None outside of a group."""
        return self._group.privacy_code if self.state is DaveState.MEMBER else None

    @property
    def user_ids(self) -> frozenset[int]:
        """Members of the group, us included; empty outside of one."""
        return self._group.user_ids if self.state is DaveState.MEMBER else frozenset()

    @property
    def window(self) -> PassthroughWindow:
        """For a `FrameOpener`."""
        return self._window

    def verification_pair(self, user_id: int) -> VerificationPair | None:
        """Return what a member's verification code is made from, if we have seen their key.

        We have if they were added, or committed with a path, while we were a member. For others only
        `DaveGroup.verification_code` knows, and it blocks.
        """
        key = self._keys.get(user_id)
        if key is None or user_id not in self.user_ids:
            return None
        return VerificationPair(self._group.user_id, self._group.signature_key, user_id, key)

    # Things that happened.

    def session_description(self, dave_protocol_version: int, now: float) -> None:
        """Begin the session, or begin it again: opcode 4 has come. Call it before the first frame is sent."""
        self._is_described = True
        self._pending.clear()
        self._version = self._announced = dave_protocol_version
        self._executed_id = self._attempts = 0
        self._sealing = None
        self._end_recovery()
        if dave_protocol_version == 0:
            self._machine.move(DaveInput.LEAVE)
            self._drop_hold()
            self._sealer.pass_through()
            self._window.open()
        else:
            self._sealer.withhold()
            self._window.close()
            self._new_group(dave_protocol_version, now)
        self._tell()
        early, self._early = self._early, deque()
        for message in early:
            self._dispatch(message, now)

    def receive(self, message: DaveMessage, now: float) -> None:
        """Take a message of opcodes 21 to 31."""
        if message.seq is not None:
            mark = (message.seq, message.opcode, hash(message.payload))
            if mark in self._seen:
                # Sent again after a resume, though we had it. Only an exact repetition counts: numbers wrap.
                self.dropped["repeated"] += 1
                return
            self._seen.append(mark)
        if self._is_described or message.opcode == VoiceOpcode.DAVE_MLS_EXTERNAL_SENDER:
            self._dispatch(message, now)
        elif len(self._early) < EARLY_MAX:
            self._early.append(message)
        else:
            self.dropped["too_early"] += 1

    def members_changed(self, now: float, *, joined: Iterable[int] = (), left: Iterable[int] = ()) -> None:
        """Note opcodes 11 (`joined`) and 13 (`left`), in the order in which they came."""
        self._desk.members_changed(joined, left)
        if self.state in _IN_A_GROUP:
            self._propose(self._desk.take_recognised(), (), now)

    def resumed(self) -> None:
        """Note that the websocket is another: say again what may have been lost with the old one."""
        for transition_id, transition in self._pending:
            if transition.is_sound:
                self._outgoing.append(ready_reply(transition_id))
        if self.state in {DaveState.PENDING, DaveState.RECOVERING}:
            self._outgoing.append(key_package_reply(self._key_package))
        if self.state in _IN_A_GROUP and self._own_commit_reply is not None:
            self._outgoing.append(self._own_commit_reply)

    def settle(self, now: float) -> bool:
        """Merge a commit that is held back, if there is one; return whether the group moved."""
        if self._held is None:
            return False
        transition_id, commit = self._held
        self._drop_hold()
        return self._merge(transition_id, commit, now)

    def cannot_decrypt(self, now: float) -> None:
        """Note that too many frames in a row could not be decrypted: be added to the group again."""
        if self.state is not DaveState.MEMBER or now < self._not_failing_before:
            return
        self._not_failing_before = now + FAILING_COOLDOWN_S
        self._recover(self._executed_id, "frames in a row that cannot be decrypted", now)

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self._hold_until is not None and now >= self._hold_until:
            self.settle(now)
        if self._recover_by is None or now < self._recover_by:
            return
        if self._desk.is_alone:
            # Nobody is there to add us; whoever comes begins a new group with us.
            self._recover_by = now + RECOVERY_TIMEOUT_S
            return
        self._withhold()
        self._recover(self._reported_id, f"no welcome within {RECOVERY_TIMEOUT_S:g} s", now)

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
            return
        self._execute(transition_id, transition, now)

    def _on_prepare_epoch(self, payload: bytes, now: float) -> None:
        body = read_prepare_epoch(payload)
        if body.protocol_version == 0 or body.epoch < _FIRST_EPOCH:
            self.dropped["ignored"] += 1
        elif body.epoch == _FIRST_EPOCH:
            self._announced = body.protocol_version
            self._attempts = 0
            self._end_recovery()
            self._new_group(body.protocol_version, now)
        elif body.transition_id is not None:
            self._announce(body.transition_id, body.protocol_version, now)

    def _on_external_sender(self, payload: bytes, now: float) -> None:
        read_external_sender(payload)
        if payload == self._external_sender:
            self.dropped["repeated"] += 1
            return
        self._external_sender = payload
        if self.state not in {DaveState.PENDING, DaveState.RECOVERING}:
            # For the next group. In the present one the sender cannot change.
            return
        try:
            self._group.set_external_sender(payload)
        except GroupError:
            # Somebody has been proposed already, by the sender before.
            self._start(self._announced, now)

    def _on_proposals(self, payload: bytes, now: float) -> None:
        revokes, vector = read_proposals_operation(payload)
        if self.state not in _IN_A_GROUP or not self._external_sender:
            self.dropped["ignored"] += 1
            return
        if revokes:
            references = read_references(vector)
            self._settle_first(now)
            self._propose([], self._desk.revoke(references), now)
            return
        proposals = read_proposals(vector)
        self._settle_first(now)
        taken, dropped = self._desk.sort(proposals, self._group_id, self._group.epoch or 0)
        self.dropped["proposals"] += dropped
        self._propose(taken, (), now)

    def _on_commit(self, payload: bytes, now: float) -> None:
        transition_id, commit = read_mls_transition(payload)
        if self.state not in _IN_A_GROUP:
            self.dropped["ignored"] += 1
            return
        if self._held is not None and self._held[1] == commit:
            self.dropped["repeated"] += 1
            return
        self._settle_first(now)
        try:
            seen = read_commit(commit)
        except MlsFormatError as error:
            seen, fault = None, f"commit unreadable: {error}"
        else:
            fault = ""
        if not self._is_for_us(commit, seen):
            self.dropped["ignored"] += 1
            if self.state is DaveState.RECOVERING and transition_id:
                # The others go on without us: once they do, nobody has our old key any more.
                self._pending.put(transition_id, Transition(self._generation, is_sound=False))
            return
        if seen is not None and seen.epoch != (self._group.epoch or 0):
            fault = "commit of an epoch that is not ours yet"
        if fault:
            self._recover(transition_id, fault, now)
        elif self._may_hold(transition_id):
            self._held, self._hold_until = (transition_id, commit), now + HOLD_LIMIT_S
            self._answer(transition_id, now)
        elif self._merge(transition_id, commit, now):
            self._answer(transition_id, now)

    def _on_welcome(self, payload: bytes, now: float) -> None:
        transition_id, welcome = read_mls_transition(payload)
        try:
            named = read_welcome_references(welcome)
        except MlsFormatError:
            named = frozenset()
        is_old = not named.isdisjoint(self._own_packages)
        is_ours = bool(self._key_package) and key_package_ref(self._key_package) in named
        if self.state not in _IN_A_GROUP or (is_old and not is_ours):
            # For a key package that we have replaced or used up: late, or sent again.
            self.dropped["ignored"] += 1
        elif self.state is not DaveState.PENDING and not is_ours:
            # Somebody else's, or not to be read. A member needs none; whoever recovers waits for its own.
            self.dropped["ignored"] += 1
        elif self.state is DaveState.MEMBER:
            self._recover(transition_id, "welcome, though a member", now)
        else:
            try:
                self._group.join(welcome)
            except GroupError as error:
                self._recover(transition_id, str(error), now)
                return
            # What we saw proposed need not be what those who are in there had put in.
            self._keys.clear()
            self._entered({}, now)
            self._answer(transition_id, now)

    # Groups.

    def _new_group(self, version: int, now: float) -> None:
        self._machine.move(DaveInput.START)
        if version > self._group.max_version:
            self._give_up(f"DAVE version {version} is beyond ours, {self._group.max_version}")
            return
        self._start(version, now)

    def _start(self, version: int, now: float) -> None:
        """Have a new group and send its key package; old keys go on until something is executed."""
        self._drop_hold()
        self._forget_epoch()
        if self._key_package:
            self._own_packages.append(key_package_ref(self._key_package))
        self._generation += 1
        try:
            self._key_package = self._group.start(version, self._external_sender, now)
        except GroupError as error:
            self._give_up(str(error))
            return
        self._keys.clear()
        self._outgoing.append(key_package_reply(self._key_package))
        self._tell_group(frozenset())

    def _propose(self, appended: list[Proposal], revoked: Iterable[bytes], now: float) -> None:
        revoked = list(revoked)
        if not appended and not revoked:
            return
        self._own_commit, self._own_commit_reply = b"", None
        try:
            made = self._group.process_proposals(appended, revoked)
        except GroupError:
            self.dropped["proposals"] += len(appended) + len(revoked)
            return
        if made is not None and not self._desk.has_refused:
            self._own_commit = made.commit
            self._own_commit_reply = commit_welcome_reply(made.commit, made.welcome)
            self._outgoing.append(self._own_commit_reply)
        self._window.changed(now)

    def _is_for_us(self, commit: bytes, seen: Commit | None) -> bool:
        """Whether we have to process it, and to report it if we cannot."""
        if commit == self._own_commit:
            return True
        if self.state is DaveState.RECOVERING or (seen is not None and seen.group_id != self._group_id):
            return False
        epoch = self._group.epoch or 0
        if self.state is DaveState.MEMBER:
            # Of an epoch we have left: sent again.
            return seen is None or seen.epoch >= epoch
        # Whoever is not in the group yet has a commit only for the group it wants to found (epoch 0).
        return self._own_commit_reply is not None and (seen is None or seen.epoch == epoch)

    def _may_hold(self, transition_id: int) -> bool:
        return (
            self._group.switches_on_merge
            and transition_id != 0
            and self.state is DaveState.MEMBER
            and self._version > 0
            and self._sealing == self._generation
        )

    def _settle_first(self, now: float) -> None:
        if self.settle(now):
            self.dropped["held_too_short"] += 1

    def _merge(self, transition_id: int, commit: bytes, now: float) -> bool:
        keys = self._desk.added_keys
        try:
            self._group.merge_commit(commit)
        except GroupError as error:
            self._recover(transition_id, str(error), now)
            return False
        committer = read_commit(commit).committer
        self._entered(keys if committer is None else {**keys, committer[0]: committer[1]}, now)
        return True

    def _entered(self, keys: Mapping[int, bytes], now: float) -> None:
        added = frozenset(self._desk.added_keys)
        self._machine.move(DaveInput.ADMITTED)
        self._forget_epoch()
        if self._key_package:
            self._own_packages.append(key_package_ref(self._key_package))
            self._key_package = b""
        self._keys.update(keys)
        members = self._group.user_ids
        self._keys = {user_id: key for user_id, key in self._keys.items() if user_id in members}
        self._window.changed(now)
        if self._recovering_since is not None:
            self._events.append(DaveRecovered(gap_s=now - self._recovering_since))
        self._attempts = 0
        self._end_recovery()
        self._tell_group(added)

    def _forget_epoch(self) -> None:
        self._desk.forget()
        self._own_commit, self._own_commit_reply = b"", None

    def _drop_hold(self) -> None:
        self._held = self._hold_until = None

    # Recovery.

    def _recover(self, transition_id: int, reason: str, now: float) -> None:
        self._attempts += 1
        if self._attempts > RECOVERY_LIMIT:
            self._give_up(reason)
            return
        self.recoveries += 1
        self._machine.move(DaveInput.INVALID)
        self._outgoing.append(invalid_reply(transition_id))
        self._events.append(
            DaveRecovering(transition_id=transition_id, reason=reason, attempt=self._attempts)
        )
        if self._recovering_since is None:
            self._recovering_since = now
        self._recover_by = now + RECOVERY_TIMEOUT_S
        self._reported_id = transition_id
        self._start(self._announced or self._group.max_version, now)
        if transition_id == 0:
            self._withhold()
        else:
            self._pending.put(transition_id, Transition(self._generation, is_sound=False))

    def _end_recovery(self) -> None:
        self._recovering_since = self._recover_by = None

    def _give_up(self, reason: str) -> None:
        self._machine.move(DaveInput.GIVE_UP)
        self._drop_hold()
        self._end_recovery()
        self._withhold()
        self._events.append(DaveFailed(reason=reason))
        self._tell_group(frozenset())

    # Transitions.

    def _announce(self, transition_id: int, version: int, now: float) -> None:
        transition = Transition(self._generation, version, is_sound=version <= self._group.max_version)
        if transition_id == 0:
            self._execute(0, transition, now)
            return
        if version == 0:
            self._window.open_at_least_until(now + ANNOUNCED_DOWNGRADE_S)
        if self._pending.put(transition_id, transition):
            self._outgoing.append(ready_reply(transition_id))

    def _answer(self, transition_id: int, now: float) -> None:
        """Report that we are ready for the transition of a commit or welcome, or execute it if that has id 0."""
        transition = Transition(self._generation)
        if transition_id == 0:
            self._execute(0, transition, now)
        elif self._pending.put(transition_id, transition):
            self._outgoing.append(ready_reply(transition_id))

    def _execute(self, transition_id: int, transition: Transition, now: float) -> None:
        is_sound = transition.is_sound
        if self._held is not None and self._held[0] == transition_id and transition.version is None:
            is_sound = self.settle(now)
            # The recovery it may have begun noted the transition as waiting; this is its execution.
            self._pending.take(transition_id)
        before = self._version
        self._executed_id = transition_id
        self.transitions += 1
        self._window.changed(now)
        if transition.version is not None:
            self._announced = transition.version
        self._version = self._announced if transition.group == self._generation or not before else before
        if self._version == 0:
            self._sealing = None
            self._sealer.pass_through()
            self._window.open()
        else:
            if before == 0:
                self._window.close_at(now + TRANSITION_S)
            self._take_key(transition, is_sound=is_sound)
        self._tell()

    def _take_key(self, transition: Transition, *, is_sound: bool) -> None:
        is_present = transition.group == self._generation
        if is_sound and not is_present and self._sealing is not None:
            # Announced for a group that a newer one is about to replace: its key holds until that is executed.
            return
        encrypt = None
        if is_sound and is_present and self.state is DaveState.MEMBER:
            encrypt = self._group.encryptor()
        if encrypt is None:
            self._withhold()
        else:
            self._sealing = self._generation
            self._sealer.encrypt_with(encrypt)

    def _withhold(self) -> None:
        if self._version > 0:
            self._sealing = None
            self._sealer.withhold()
            self._tell()

    # News.

    def _tell(self) -> None:
        told = (self._version, self._version == 0 or self._sealing is not None)
        if told != self._told:
            self._told = told
            self._events.append(EncryptionChanged(protocol_version=told[0], is_sending=told[1]))

    def _tell_group(self, added: frozenset[int]) -> None:
        members = self.user_ids
        known = (self.epoch, self.privacy_code)
        if known == self._known_as:
            return
        self._known_as = known
        joined = (members - self._known_members) | (added & members)
        left = self._known_members - members
        self._known_members = members
        self._events.append(
            GroupChanged(epoch=known[0], privacy_code=known[1], user_ids=members, joined=joined, left=left)
        )


_IN_A_GROUP: Final = frozenset({DaveState.PENDING, DaveState.MEMBER, DaveState.RECOVERING})
"""States with a group, be it only our own of epoch 0."""

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
"""Whether the opcode is binary, and who takes it. The table belongs to the class, so it may name its inside."""
