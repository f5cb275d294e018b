"""[pure] DAVE as the voice gateway sees it: delivery service and external sender of one call's MLS group.

Events go in (a member comes, is described, sends, leaves; time passes), messages come out of `outgoing`.
Nothing else decides: which protocol version the call has, what is proposed to whom, which commit wins, when a
transition is carried out, how a member that lost the thread gets back in.

Source: DAVE whitepaper, "Protocol Version Negotiation" to "Recovery from Invalid Commit or Welcome".
"""

from __future__ import annotations

__all__ = ("DaveDeliveryService",)

from voicepool.testing.dave_group import Change
from voicepool.testing.dave_messages import DaveMessage, DaveOpcode, parse_transition_id
from voicepool.testing.dave_roster import RosterMember
from voicepool.testing.dave_rules import DaveRules, Spoilable


class DaveDeliveryService(DaveRules):
    """The server's side of DAVE for one call.

    Parameters
    ----------
    channel_id : int
        Channel, which is also the group's id.
    sender : ExternalSender | None
        Signs proposals; None makes one.
    max_version : int
        Highest version the server offers; 0: none.
    transition_timeout_s : float
        How long a transition waits for members that do not answer, in seconds.
    commit_timeout_s : float
        After how long without a valid commit the proposals are made anew, in seconds; doubled each time.
    overlap : bool
        Propose for the next epoch while a transition into this one is pending, so that several are pending.
    first_transition_id : int
        1 to 65535; with 65535 the next one is 1 again.
    spoiled : set[tuple[int, Spoilable]] | None
        What `spoil_next` has asked for, if several calls are to share it.

    Attributes
    ----------
    version : int
        What the call is at, or on its way to.
    counts : DaveCounts
        What has happened.
    """

    # What the caller asks afterwards.

    def outgoing(self) -> list[tuple[int, DaveMessage]]:
        """Remove and return what is to be sent: user and message, in order."""
        messages, self._outgoing = self._outgoing, []
        return messages

    def complaints(self) -> list[tuple[int, str]]:
        """Remove and return the rules that clients broke: user and sentence; the last 1,000 at most."""
        complaints = list(self._complaints)
        self._complaints.clear()
        return complaints

    def next_deadline(self) -> float | None:
        """Return when to call `tick`, in seconds of the clock of `now`; None: not before the next event."""
        deadlines = [at for at in (self._transitions.next_deadline(), self._commit_due_s) if at is not None]
        return min(deadlines, default=None)

    @property
    def epoch(self) -> int:
        """Epoch of the group; 0 while there is none."""
        return self._group.epoch

    @property
    def leaves(self) -> dict[int, int]:
        """The group's members: user to leaf index."""
        return dict(self._group.leaves)

    @property
    def members(self) -> tuple[int, ...]:
        """Everybody who is connected, in the group or not."""
        return tuple(self._members)

    @property
    def pending_transitions(self) -> int:
        """Announced transitions not carried out yet."""
        return len(self._transitions)

    @property
    def asked(self) -> frozenset[int]:
        """Users of whom a commit is expected."""
        return self._offers.users()

    @property
    def open_changes(self) -> frozenset[Change]:
        """What is proposed in this epoch and not committed."""
        return self._offers.all()

    # Members come and go.

    def connect(self, user_id: int, max_version: int, now: float) -> None:
        """Take in a user who identified, after the others were told with opcode 11.

        Parameters
        ----------
        user_id : int
            The user; if it is connected already, it leaves first.
        max_version : int
            What its Identify announced; 0 if it does not support DAVE.
        now : float
            Monotonic time in seconds.
        """
        if user_id in self._members:
            self.disconnect(user_id, now)
        self._members[user_id] = RosterMember(user_id, max_version, lost=user_id in self._group.leaves)
        self._proceed(now)

    def describe(self, user_id: int, now: float) -> int:
        """Return the version for a user's Session Description (opcode 4), to be sent before what is outgoing.

        A client that is described a second time begins anew.
        """
        member = self._members[user_id]
        if member.described:
            self._lose(member)
        member.described = True
        if self.version:
            self._introduce(member)
        self._proceed(now)
        return self.version

    def disconnect(self, user_id: int, now: float) -> None:
        """Let a user go, after the others were told with opcode 13. Unknown users are ignored."""
        if self._members.pop(user_id, None) is not None:
            self._transitions.forget(user_id)
            self._offers.forget(user_id)
            self._proceed(now)

    # Members send.

    def receive_text(self, user_id: int, opcode: int, data: object, now: float) -> bool:
        """Take opcode 23 or 31 from a user; return False if the opcode is neither.

        Raises
        ------
        Refusal
            4020 when it has no usable transition id.
        """
        if opcode == DaveOpcode.READY_FOR_TRANSITION:
            transition_id = parse_transition_id(opcode, data)
            if not self._transitions.was_announced(transition_id):
                self._complain(
                    user_id, f"op 23 was for transition {transition_id}, which was never announced"
                )
            self._transitions.ready(user_id, transition_id)
        elif opcode == DaveOpcode.INVALID_COMMIT_WELCOME:
            parse_transition_id(opcode, data)
            self.counts.invalid_reports += 1
            if user_id in self._members:
                self._lose(self._members[user_id])
        else:
            return False
        self._proceed(now)
        return True

    def receive_binary(self, user_id: int, opcode: int, payload: bytes, now: float) -> bool:
        """Take opcode 26 or 28 from a user; return False if the opcode is neither.

        Nothing in them closes the connection: what does not hold is put down as a complaint.
        """
        if opcode not in {DaveOpcode.KEY_PACKAGE, DaveOpcode.COMMIT_WELCOME}:
            return False
        member = self._members.get(user_id)
        if member is None or not member.described:
            self._complain(user_id, f"op {opcode} came before Session Description")
        elif opcode == DaveOpcode.KEY_PACKAGE:
            self._take_key_package(member, payload)
        else:
            self._take_commit(member, payload, now)
        self._proceed(now)
        return True

    def tick(self, now: float) -> None:
        """Let time pass: carry out transitions that were waited for long enough, ask again for commits."""
        if self._commit_due_s is not None and now >= self._commit_due_s:
            self._retry(now)
        self._proceed(now)

    # Faults, for tests of clients.

    def spoil_next(self, user_id: int, kind: Spoilable) -> None:
        """Damage the next commit (op 29) or welcome (op 30) that is sent to a user."""
        self._spoiled.add((user_id, kind))

    def renew_group(self, now: float) -> None:
        """Have all members send key packages and create the group anew."""
        if self.version:
            self._create_group(self._listening(), alone=len(self._members) == 1)
            self._proceed(now)
