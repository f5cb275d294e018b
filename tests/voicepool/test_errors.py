"""The error tree: complete over the wire's codes, documented as it is, and able to travel."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import TYPE_CHECKING

import pytest

from voicepool import errors
from voicepool.errors import ClosedByServerError, ConfigError, VoicePoolError, WorkerLostError, from_info
from voicepool.ipc.errors import ErrorCode, ErrorInfo

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES: list[type[VoicePoolError]] = [
    value
    for name in errors.__all__
    if inspect.isclass(value := getattr(errors, name)) and issubclass(value, VoicePoolError)
]


def pickled(error: VoicePoolError) -> VoicePoolError:
    twin = pickle.loads(pickle.dumps(error))
    assert isinstance(twin, VoicePoolError)
    return twin


@pytest.mark.parametrize("code", list(ErrorCode))
def test_every_code_becomes_the_class_that_names_it(code: ErrorCode) -> None:
    error = from_info(ErrorInfo(code=code, text="song.mp3: gone; check the path", data={"played_s": 1.5}))
    assert type(error) is not VoicePoolError
    assert error.code is code
    assert str(error) == "song.mp3: gone; check the path"
    assert error.data == {"played_s": 1.5}


def test_no_two_classes_share_a_code() -> None:
    own = [cls.code for cls in CLASSES if "code" in vars(cls) and cls.code is not None]
    assert sorted(own) == sorted(ErrorCode)


def test_a_subclass_of_somebody_elses_takes_no_code_over() -> None:
    class OwnError(ClosedByServerError):
        """Of a bot that marks some ends of its calls."""

    class SameError(ClosedByServerError):
        """With the code written out."""

        code = ErrorCode.CLOSED_BY_SERVER

    made = from_info(ErrorInfo(code=ErrorCode.CLOSED_BY_SERVER, text="closed"))
    assert type(made) is ClosedByServerError
    assert OwnError("x").code is SameError("x").code is ErrorCode.CLOSED_BY_SERVER


def test_a_subclass_never_inherits_the_code_of_its_parent() -> None:
    inherited = [cls.__name__ for cls in CLASSES if cls.code is not None and "code" not in vars(cls)]
    assert inherited == []


def test_the_docstring_shows_the_tree_as_it_is() -> None:
    lines = re.findall(r"^    ((?:[│├└─ ]{4})*)(\w+Error)\b", errors.__doc__ or "", flags=re.MULTILINE)
    parents: list[str] = []
    shown: dict[str, str] = {}
    for indent, name in lines:
        depth = len(indent) // 4
        del parents[depth:]
        shown[name] = parents[-1] if parents else "Exception"
        parents.append(name)
    assert shown == {cls.__name__: cls.__bases__[0].__name__ for cls in CLASSES}


@pytest.mark.parametrize("cls", CLASSES)
def test_each_class_says_when_it_is_raised(cls: type[VoicePoolError]) -> None:
    assert re.match(r"Raised |Base of ", inspect.getdoc(cls) or "")


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize("clone", [copy.copy, pickled])
def test_each_class_survives_copying_and_pickling(
    cls: type[VoicePoolError], clone: Callable[[VoicePoolError], VoicePoolError]
) -> None:
    error = cls("workers: too few", key="workers", close_code=4004)
    error.add_note("seen in guild 1")
    twin = clone(error)
    assert type(twin) is cls
    assert str(twin) == "workers: too few"
    assert twin.data == {"key": "workers", "close_code": 4004}
    assert vars(twin)["__notes__"] == ["seen in guild 1"]


def test_data_may_use_any_key_a_worker_thinks_of() -> None:
    info = ErrorInfo(code=ErrorCode.INTERNAL, text="broken", data={"text": "a", "self": "b", "code": 1})
    assert from_info(info).data == {"text": "a", "self": "b", "code": 1}


def test_a_close_code_is_offered_as_an_attribute() -> None:
    error = from_info(ErrorInfo(code=ErrorCode.DAVE_REQUIRED, text="closed", data={"close_code": 4017}))
    assert isinstance(error, ClosedByServerError)
    assert error.close_code == 4017
    assert ClosedByServerError("the connection broke").close_code is None


def test_an_exit_status_is_offered_as_an_attribute() -> None:
    assert WorkerLostError("worker w0.1 was killed by SIGSEGV", exit_status=-11).exit_status == -11
    assert WorkerLostError("no worker is running").exit_status is None


def test_the_reason_of_a_lost_worker_is_offered_as_an_attribute() -> None:
    assert WorkerLostError("worker w0.1 gave no sign of life", reason="hung").reason == "hung"
    assert WorkerLostError("no worker is running").reason is None


def test_a_config_error_is_a_value_error_that_names_its_key() -> None:
    error = ConfigError("workers = 0 is not allowed", key="workers", origin="voicepool.toml")
    assert isinstance(error, ValueError)
    assert (error.key, error.origin) == ("workers", "voicepool.toml")
    assert ConfigError("the file is not TOML").key is None
    assert ConfigError("the file is not TOML").origin is None


def test_no_error_is_an_os_error() -> None:
    assert [cls for cls in CLASSES if issubclass(cls, OSError)] == []
