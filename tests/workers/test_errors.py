from __future__ import annotations

import pytest

from voicepool.ipc.errors import ErrorCode, ErrorInfo
from voicepool.workers.errors import CallError, SourceError, WorkerSideError


@pytest.mark.parametrize("kind", [WorkerSideError, CallError, SourceError])
def test_an_error_is_its_own_message_on_the_wire(kind: type[WorkerSideError]) -> None:
    error = kind(ErrorCode.CONNECT_TIMEOUT, "no READY within 5 s", step="READY", waited_s=5.0)
    assert str(error) == "no READY within 5 s"
    assert error.info == ErrorInfo(
        ErrorCode.CONNECT_TIMEOUT, "no READY within 5 s", {"step": "READY", "waited_s": 5.0}
    )


def test_facts_are_optional() -> None:
    assert CallError(ErrorCode.PROTOCOL, "x").info == ErrorInfo(ErrorCode.PROTOCOL, "x")


@pytest.mark.parametrize("kind", [CallError, SourceError])
def test_one_base_catches_all(kind: type[WorkerSideError]) -> None:
    with pytest.raises(WorkerSideError):
        raise kind(ErrorCode.INTERNAL, "x")
