"""Each kind of setting: what it takes, what it refuses, how it reads text."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from voicepool._settings.knobs import (
    CertificateFile,
    Choice,
    Choices,
    FilePath,
    Flag,
    HostAddress,
    Knob,
    NotAllowedError,
    Number,
    WholeNumber,
)

WHOLE = WholeNumber(effect="", minimum=1, maximum=8, word="auto")
REAL = Number(effect="", minimum=0.5, maximum=60.0)
FLAG = Flag(effect="")
CHOICE = Choice(effect="", options=("idle", "Normal"))
CHOICES = Choices(effect="", options=("a", "b", "c"))
FILE = FilePath(effect="")
HOST = HostAddress(effect="")


@pytest.mark.parametrize(
    ("knob", "value", "kept"),
    [
        (WHOLE, 1, 1),
        (WHOLE, 8, 8),
        (WHOLE, "auto", "auto"),
        (REAL, 1, 1.0),
        (REAL, 0.5, 0.5),
        (FLAG, False, False),
        (CHOICE, "NORMAL", "Normal"),
        (CHOICES, ["b", "a"], ("b", "a")),
        (HOST, "0.0.0.0", "0.0.0.0"),
        (HOST, "0:0::1", "::1"),
        (FILE, None, None),
        (FILE, "/lib/libopus.so", str(Path("/lib/libopus.so").absolute())),
        (FILE, Path("lib.so"), str(Path.cwd() / "lib.so")),
    ],
)
def test_takes_what_is_allowed(knob: Knob, value: object, kept: object) -> None:
    checked = knob.check(value)
    assert checked == kept
    assert type(checked) is type(kept)
    assert knob.check(checked) == kept


@pytest.mark.parametrize(
    ("knob", "value", "problem"),
    [
        (WHOLE, 0, "is below 1"),
        (WHOLE, 9, "is above 8"),
        (WHOLE, True, "is no whole number"),
        (WHOLE, 2.0, "is no whole number"),
        (WHOLE, "3", "is no whole number"),
        (WholeNumber(effect="", minimum=1, maximum=8), "", "is no whole number"),
        (REAL, 0.49, "is below 0.5"),
        (REAL, math.inf, "is above 60.0"),
        (REAL, -math.inf, "is below 0.5"),
        (REAL, 10**400, "is above 60.0"),
        (REAL, math.nan, "is not a number"),
        (REAL, True, "is no number"),
        (REAL, "1", "is no number"),
        (REAL, None, "is no number"),
        (FLAG, 1, "is neither true nor false"),
        (FLAG, "true", "is neither true nor false"),
        (CHOICE, "busy", "is not on the list"),
        (CHOICE, 1, "is not on the list"),
        (CHOICES, "a", "is no list"),
        (CHOICES, [], "is empty"),
        (CHOICES, ["a", "d"], "holds 'd'"),
        (CHOICES, [["a"]], r"holds \['a'\]"),
        (CHOICES, ["a", "a"], "holds 'a' twice"),
        (HOST, "example.org", "is no IP address"),
        (HOST, "127.0.0.1:80", "is no IP address"),
        (HOST, 1, "is no text"),
        (FILE, "", "is empty"),
        (FILE, "a\0b", "holds a NUL"),
        (FILE, b"lib.so", "is no path"),
        (FILE, 1, "is no path"),
        (FILE, "~no-such-user-here/lib.so", "unknown user"),
    ],
)
def test_refuses_what_is_not(knob: Knob, value: object, problem: str) -> None:
    with pytest.raises(NotAllowedError, match=problem):
        knob.check(value)


@pytest.mark.parametrize(
    ("knob", "text", "value"),
    [
        (WHOLE, "7", 7),
        (WholeNumber(effect="", minimum=0, maximum=200_000), "128_000", 128_000),
        (WHOLE, "auto", "auto"),
        (REAL, "1.5", 1.5),
        (REAL, "2", 2.0),
        (FLAG, "Yes", True),
        (FLAG, "0", False),
        (CHOICE, "idle", "idle"),
        (CHOICES, "b, a", ("b", "a")),
        (FILE, "/lib/x.so", str(Path("/lib/x.so").absolute())),
    ],
)
def test_reads_the_text_of_a_variable(knob: Knob, text: str, value: object) -> None:
    assert knob.check(knob.parse(text)) == value


@pytest.mark.parametrize(
    ("knob", "text"),
    [
        (WHOLE, "1.5"),
        (WHOLE, "9" * 5000),
        (WHOLE, "Auto"),
        (REAL, "fast"),
        (REAL, "nan"),
        (FLAG, "maybe"),
        (CHOICES, "a,"),
    ],
)
def test_refuses_text_that_is_no_such_value(knob: Knob, text: str) -> None:
    with pytest.raises(NotAllowedError):
        knob.check(knob.parse(text))


def test_home_is_written_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert FILE.check("~/lib.so") == str(tmp_path / "lib.so")
    assert FILE.rebase("~/lib.so", Path("/etc")) == str(tmp_path / "lib.so")


def test_a_relative_path_from_a_file_counts_from_that_files_folder(tmp_path: Path) -> None:
    assert FILE.rebase("lib.so", tmp_path) == str(tmp_path / "lib.so")
    assert FILE.rebase(7, tmp_path) == 7
    assert WHOLE.rebase(7, tmp_path) == 7


@pytest.mark.parametrize(
    ("name", "problem"),
    [("missing.pem", "cannot be read"), (".", "cannot be read"), ("text.pem", "holds no PEM certificate")],
)
def test_a_certificate_file_must_hold_one(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    with pytest.raises(NotAllowedError, match=problem):
        CertificateFile(effect="").check(tmp_path / name)


def test_what_is_allowed_reads_as_the_end_of_a_sentence() -> None:
    assert WHOLE.allowed == 'a whole number from 1 to 8, or "auto"'
    assert REAL.allowed == "a number from 0.5 to 60"
    assert FLAG.allowed == "true or false"
    assert CHOICE.allowed == 'one of "idle", "Normal"'
    assert CHOICES.allowed == 'a list of one or more of "a", "b", "c"'
    assert FILE.allowed == "the path of a file"
    assert HOST.allowed == 'an IP address, such as "127.0.0.1"; "0.0.0.0" and "::" serve everybody'


@pytest.mark.parametrize(
    ("knob", "value", "advice"),
    [
        (WHOLE, "4", "as a number without quotes and unit: write 4"),
        (REAL, 90, ""),
        (FLAG, "On", "write true"),
        (FLAG, 0, "write false"),
        (FLAG, "perhaps", ""),
        (FLAG, None, ""),
        (CHOICE, "busy", ""),
        (CHOICES, "a, c", 'it is a list: write ["a", "c"]'),
        (CHOICES, "a, d", ""),
        (CHOICES, 1, ""),
        (HOST, "localhost", 'a name is no address: write "127.0.0.1"'),
        (HOST, "example.org", ""),
        (FILE, "", ""),
    ],
)
def test_advises_where_it_can_guess(knob: Knob, value: object, advice: str) -> None:
    assert knob.advise(value) == advice


def test_the_schemas() -> None:
    assert WHOLE.schema() == {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 8}, {"const": "auto"}]}
    assert REAL.schema() == {"type": "number", "minimum": 0.5, "maximum": 60.0}
    assert FLAG.schema() == {"type": "boolean"}
    assert CHOICE.schema() == {"enum": ["idle", "Normal"]}
    assert CHOICES.schema()["items"] == {"enum": ["a", "b", "c"]}
    assert HOST.schema()["type"] == FILE.schema()["type"] == "string"
