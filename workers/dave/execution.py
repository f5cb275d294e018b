"""Changes from their announcement to their execution: which version and whose key are in force [pure].

A change of the protocol version (opcode 21 or 24), a commit and a welcome all become a transition with an id.
Members that are ready for it say so, and change when the server has it executed (opcode 22). One with id 0 is
executed at once, and not answered (DAVE protocol, dave_protocol_prepare_transition).
"""

from __future__ import annotations

from voicepool.workers.dave.frames import FrameSealer
from voicepool.workers.dave.membership import Membership
from voicepool.workers.dave.opening import ANNOUNCED_DOWNGRADE_S, TRANSITION_S, PassthroughWindow
from voicepool.workers.dave.sending import Sending
from voicepool.workers.dave.transitions import PendingTransitions, Transition

__all__ = ["Execution"]


class Execution:
    """The transitions of one voice session; times in seconds, monotonic.

    Parameters
    ----------
    membership
        Whose groups they belong to, and whose key is taken.
    sealer
        Of our frames.

    Attributes
    ----------
    sending
        What becomes of our frames; for looking only.
    window
        What may become of others'.
    pending
        What waits; for looking only.
    announced
        The version that was announced last: what a group that begins now is for.
    executed_id
        The transition that was executed last.
    count
        How many were executed.
    """

    def __init__(self, membership: Membership, sealer: FrameSealer) -> None:
        self._membership = membership
        self.sending = Sending(sealer)
        self.window = PassthroughWindow()
        self.pending = PendingTransitions()
        self.announced = 0
        self.executed_id = 0
        self.count = 0

    def begin(self, version: int) -> None:
        """Begin, or begin again, in this version: without a key, if it needs one."""
        self.pending.clear()
        self.executed_id = 0
        self.announced = self.sending.version = version
        if version == 0:
            self._pass_through()
        else:
            self.sending.withhold()
            self.window.close()

    def announce(self, transition_id: int, version: int, now: float) -> bool:
        """Take an announced version; return whether to report ready, which is done once."""
        is_sound = version <= self._membership.max_version
        if transition_id and version == 0:
            self.window.open_until(now + ANNOUNCED_DOWNGRADE_S)
        transition = Transition(self._membership.generation, version, is_sound=is_sound)
        return self._wait_or_execute(transition_id, transition, now)

    def answer(self, transition_id: int, now: float) -> bool:
        """Take the transition of a commit or welcome that we have taken; return whether to report ready."""
        return self._wait_or_execute(transition_id, Transition(self._membership.generation), now)

    def await_without_us(self, transition_id: int) -> None:
        """Take a transition that the others make without us: once they do, nobody has our old key."""
        others = Transition(self._membership.generation, is_sound=False, is_answered=False)
        self.pending.put(transition_id, others)

    def await_invalid(self, transition_id: int) -> None:
        """Take a transition that we have reported as invalid; that of id 0 takes the key at once."""
        if transition_id == 0:
            self.withhold()
        elif transition_id != self.executed_id:
            self.pending.put(transition_id, Transition(self._membership.generation, is_sound=False))

    def withhold(self) -> None:
        """Let no frame of ours leave until something is executed, unless the call is in the clear."""
        if self.sending.version > 0:
            self.sending.withhold()

    def execute(self, transition_id: int, transition: Transition, now: float, *, is_sound: bool) -> None:
        """Put into force what was announced.

        Parameters
        ----------
        transition_id, transition
            Which; it does not wait any more.
        now
            Seconds, monotonic.
        is_sound
            Whether we could process what it brings: else we have no key from here on.
        """
        is_present = transition.version is not None or transition.group == self._membership.generation
        if transition.version is not None:
            self.announced = transition.version
        if is_present:
            self.sending.version = self.announced
        self.executed_id = transition_id
        self.count += 1
        self.window.changed(now)
        if self.sending.version == 0:
            self._pass_through()
        elif is_present or not is_sound:
            if not self.pending.has_downgrade:
                # After an upgrade, or a downgrade that was announced and never came.
                self.window.close_at(now + TRANSITION_S)
            self._take_key(is_sound=is_sound)

    def _wait_or_execute(self, transition_id: int, transition: Transition, now: float) -> bool:
        if transition_id == 0:
            self.execute(0, transition, now, is_sound=transition.is_sound)
            return False
        return self.pending.put(transition_id, transition)

    def _take_key(self, *, is_sound: bool) -> None:
        encrypt = self._membership.encryptor() if is_sound else None
        if encrypt is None:
            self.sending.withhold()
        else:
            self.sending.encrypt_with(encrypt, self._membership.generation)

    def _pass_through(self) -> None:
        self.sending.pass_through()
        self.window.open()
