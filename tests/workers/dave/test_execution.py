"""What is announced comes into force when it is executed, and with the key that there is then."""

from __future__ import annotations

from tests.fakes import dave_mls
from tests.fakes.dave_group import ScriptedGroup, key_of
from voicepool.workers.dave.execution import Execution
from voicepool.workers.dave.frames import FrameSealer
from voicepool.workers.dave.membership import Membership
from voicepool.workers.dave.mls import key_package_ref
from voicepool.workers.dave.opening import ANNOUNCED_DOWNGRADE_S, TRANSITION_S
from voicepool.workers.dave.states import DaveInput

OPUS = b"some opus"
NOW = 100.0


class Bench:
    """The transitions of a member of a scripted group."""

    def __init__(self) -> None:
        self.group = ScriptedGroup(1, 99)
        self.membership = Membership(self.group)
        self.sealer = FrameSealer()
        self.membership.take_external_sender(dave_mls.EXTERNAL_SENDER)
        self.execution = Execution(self.membership, self.sealer)
        self.execution.begin(1)

    def found(self) -> None:
        """Begin a group; the one before is forgotten."""
        self.membership.move(DaveInput.START)
        self.membership.start(1, NOW)

    def join(self) -> None:
        self.found()
        self.membership.join(dave_mls.welcome([key_package_ref(self.group.packages[-1])], b""))

    def execute(self, transition_id: int) -> None:
        transition = self.execution.pending.take(transition_id)
        assert transition is not None
        self.execution.execute(transition_id, transition, NOW, is_sound=transition.is_sound)

    @property
    def key(self) -> bytes | None:
        return key_of(self.sealer.seal(OPUS))


def test_a_key_comes_into_use_when_its_transition_is_executed() -> None:
    bench = Bench()
    bench.join()
    assert bench.execution.answer(5, NOW)
    assert not bench.execution.answer(5, NOW), "ready is reported once"
    assert bench.key is None
    bench.execute(5)
    assert bench.key == b"key 1"
    assert (bench.execution.executed_id, bench.execution.count) == (5, 1)


def test_id_zero_waits_for_nothing_and_is_not_answered() -> None:
    bench = Bench()
    bench.join()
    assert not bench.execution.answer(0, NOW)
    assert bench.key == b"key 1"
    assert not bench.execution.announce(0, 0, NOW)
    assert bench.sealer.seal(OPUS) == OPUS
    assert len(bench.execution.pending) == 0


def test_the_clear_is_let_in_at_the_announcement_and_out_at_the_execution() -> None:
    bench = Bench()
    bench.join()
    bench.execution.answer(0, NOW)
    assert not bench.execution.window.is_open(NOW)
    assert bench.execution.announce(6, 0, NOW)
    assert bench.execution.window.is_open(NOW + ANNOUNCED_DOWNGRADE_S - 1)
    assert bench.key == b"key 1"
    bench.execute(6)
    assert bench.execution.sending.version == 0
    assert bench.sealer.seal(OPUS) == OPUS
    bench.execution.announce(7, 1, NOW)
    bench.execute(7)
    assert bench.key == b"key 1"
    assert not bench.execution.window.is_open(NOW + TRANSITION_S)


def test_a_version_beyond_ours_takes_the_key() -> None:
    bench = Bench()
    bench.join()
    bench.execution.answer(0, NOW)
    bench.execution.announce(6, 9, NOW)
    bench.execute(6)
    assert bench.sealer.seal(OPUS) is None


def test_a_transition_of_a_group_that_was_left_changes_no_key() -> None:
    bench = Bench()
    bench.join()
    bench.execution.answer(0, NOW)
    bench.execution.answer(6, NOW)
    bench.found()
    bench.execute(6)
    assert bench.key == b"key 1"


def test_what_was_invalid_keeps_the_old_key_until_the_others_go_on() -> None:
    bench = Bench()
    bench.join()
    bench.execution.answer(0, NOW)
    bench.execution.await_invalid(6)
    assert bench.key == b"key 1"
    bench.execute(6)
    assert bench.sealer.seal(OPUS) is None


def test_an_invalid_one_that_is_executed_already_is_not_waited_for() -> None:
    bench = Bench()
    bench.join()
    bench.execution.answer(6, NOW)
    bench.execute(6)
    bench.execution.await_invalid(6)
    assert len(bench.execution.pending) == 0
    assert bench.key == b"key 1"
    bench.execution.await_invalid(0)
    assert bench.sealer.seal(OPUS) is None


def test_one_that_is_made_without_us_ends_the_old_key_and_can_still_be_answered() -> None:
    bench = Bench()
    bench.join()
    bench.execution.answer(0, NOW)
    bench.execution.await_without_us(6)
    bench.execution.await_without_us(7)
    assert bench.execution.answer(7, NOW), "nothing was said of it before"
    bench.execute(6)
    assert bench.sealer.seal(OPUS) is None
    bench.execute(7)
    assert bench.key == b"key 1"


def test_nothing_is_withheld_in_the_clear() -> None:
    bench = Bench()
    bench.execution.begin(0)
    bench.execution.withhold()
    assert bench.sealer.seal(OPUS) == OPUS
    assert bench.execution.window.is_open(1e9)


def test_to_begin_again_is_to_forget_what_waits() -> None:
    bench = Bench()
    bench.join()
    bench.execution.answer(6, NOW)
    bench.execute(6)
    bench.execution.announce(7, 0, NOW)
    bench.execution.begin(1)
    assert len(bench.execution.pending) == 0
    assert bench.execution.executed_id == 0
    assert bench.sealer.seal(OPUS) is None
    assert not bench.execution.window.is_open(NOW)
