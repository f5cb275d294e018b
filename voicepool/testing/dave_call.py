"""[pure] One encrypted call: the delivery service, and the members that the stand-in plays in it.

Members that are played live in this process: what the service has for them is handed over at once, what they
answer likewise. They leave committing to the clients, whose commits are what a test wants to see, and come in
only if no client can commit or none has after a while.
"""

from __future__ import annotations

__all__ = ("DaveCall",)

from typing import Final

from voicepool.testing.dave_delivery import DaveDeliveryService
from voicepool.testing.dave_members import DaveListener, DaveMember
from voicepool.testing.dave_messages import DaveBinary, DaveMessage, DaveOpcode, DaveText
from voicepool.testing.dave_rules import MAX_VERSION

PATIENCE_S: Final = 0.5
"""How long played members leave a commit to the clients, in seconds."""


class DaveCall:
    """A call with clients and played members.

    Parameters
    ----------
    service : DaveDeliveryService
        Its server side; used by nobody else.
    listener : DaveListener | None
        Joins with the first client that supports DAVE, and hears everything. None: nobody listens.
    """

    def __init__(self, service: DaveDeliveryService, listener: DaveListener | None = None) -> None:
        self.service = service
        self.listener = listener
        self._played: dict[int, DaveMember] = {}
        self._clients: set[int] = set()
        self._held: dict[int, tuple[float, DaveBinary]] = {}
        self._outgoing: list[tuple[int, DaveMessage]] = []

    @property
    def played(self) -> tuple[int, ...]:
        """Users that the stand-in plays, to be announced with opcode 11 like all others."""
        return tuple(self._played)

    @property
    def empty(self) -> bool:
        """Whether nobody is left, or nobody but the listener."""
        listener_id = None if self.listener is None else self.listener.user_id
        return not self._clients and self._played.keys() <= {listener_id}

    def outgoing(self) -> list[tuple[int, DaveMessage]]:
        """Remove and return what is to be sent to clients: user and message, in order."""
        messages, self._outgoing = self._outgoing, []
        return messages

    def next_deadline(self) -> float | None:
        """Return when to call `tick`, in monotonic seconds; None: not before the next event."""
        deadlines = [self.service.next_deadline(), *(due_s for due_s, _ in self._held.values())]
        return min((at for at in deadlines if at is not None), default=None)

    def admit_listener(self, max_version: int, now: float) -> int | None:
        """Let the listener in if a client of `max_version` is about to be the first that supports DAVE.

        Returns
        -------
        int | None
            The listener's user id if it is new to the call, for opcode 11 to the clients already there.
        """
        if self.listener is None or self.listener.user_id in self._played or not max_version:
            return None
        self.play(self.listener, now)
        return self.listener.user_id

    def play(self, member: DaveMember, now: float) -> None:
        """Let a played member join."""
        member.users_connected((*self._clients, *self._played))
        for other in self._played.values():
            other.users_connected((member.user_id,))
        self._played[member.user_id] = member
        self.service.connect(member.user_id, MAX_VERSION, now)
        member.describe(self.service.describe(member.user_id, now), now)
        self._settle(now)

    def stop(self, user_id: int, now: float) -> None:
        """Let a played member leave."""
        if self._played.pop(user_id, None) is not None:
            self._held.pop(user_id, None)
            self._part(user_id, now)

    def connect(self, user_id: int, max_version: int, now: float) -> None:
        """Take in a client that identified; see `DaveDeliveryService.connect`."""
        self._clients.add(user_id)
        for member in self._played.values():
            member.users_connected((user_id,))
        self.service.connect(user_id, max_version, now)
        self._settle(now)

    def describe(self, user_id: int, now: float) -> int:
        """Return the version for a client's Session Description; see `DaveDeliveryService.describe`."""
        version = self.service.describe(user_id, now)
        self._settle(now)
        return version

    def disconnect(self, user_id: int, now: float) -> None:
        """Let a client go."""
        self._clients.discard(user_id)
        self._part(user_id, now)

    def receive(self, user_id: int, message: DaveMessage, now: float) -> None:
        """Take a message of a client.

        Raises
        ------
        Refusal
            4020 when it lacks a usable transition id.
        """
        self._submit(user_id, message, now)
        self._settle(now)

    def renew(self, now: float) -> None:
        """Have the members create the group anew."""
        self.service.renew_group(now)
        self._settle(now)

    def tick(self, now: float) -> None:
        """Let time pass."""
        for user_id, (due_s, commit) in tuple(self._held.items()):
            if due_s <= now:
                del self._held[user_id]
                self._submit(user_id, commit, now)
        self.service.tick(now)
        self._settle(now)

    def _part(self, user_id: int, now: float) -> None:
        for member in self._played.values():
            member.user_disconnected(user_id)
        self.service.disconnect(user_id, now)
        self._settle(now)

    def _settle(self, now: float) -> None:
        """Pass messages between the service and the played members until they have nothing more to say."""
        while messages := self.service.outgoing():
            for user_id, message in messages:
                member = self._played.get(user_id)
                if member is None:
                    self._outgoing.append((user_id, message))
                    continue
                member.receive(message, now)
                for answer in member.outgoing():
                    self._answer(user_id, answer, now)
        if self._held and not self.service.open_changes:
            # Somebody else has committed.
            self._held.clear()

    def _answer(self, user_id: int, answer: DaveMessage, now: float) -> None:
        clients_asked = not self._clients.isdisjoint(self.service.asked)
        if clients_asked and isinstance(answer, DaveBinary) and answer.opcode is DaveOpcode.COMMIT_WELCOME:
            self._held[user_id] = (now + PATIENCE_S, answer)
        else:
            self._submit(user_id, answer, now)

    def _submit(self, user_id: int, message: DaveMessage, now: float) -> None:
        if isinstance(message, DaveText):
            self.service.receive_text(user_id, message.opcode, message.data, now)
        else:
            self.service.receive_binary(user_id, message.opcode, message.payload, now)
