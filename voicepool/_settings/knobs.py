"""What a setting may be: one class a kind of value.

A `Knob` stands in the annotation of a field of `PoolConfig`. It checks a value of any origin, reads one
from the text of an environment variable, and describes itself, so that the check and the documentation of
a setting cannot differ. A kind refuses by `NotAllowedError`, whose text is the problem alone ("is below 1");
`voicepool.config` adds the key, the origin and what is allowed.
"""

from __future__ import annotations

import abc
import dataclasses
import enum
import ipaddress
import math
import os
import ssl
from pathlib import Path
from typing import Any, Final

from voicepool._settings.units import suggest

__all__ = [
    "CertificateFile",
    "Choice",
    "Choices",
    "FilePath",
    "Flag",
    "HostAddress",
    "Knob",
    "NotAllowedError",
    "Number",
    "TakesEffect",
    "WholeNumber",
]

_FLAG_WORDS: Final = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


class NotAllowedError(ValueError):
    """A value is refused; the text continues a sentence that begins with the value."""


class TakesEffect(enum.StrEnum):
    """When a changed setting holds, in a pool that runs."""

    AT_ONCE = "at once"
    NEXT_WORKER = "at the next worker start"
    """Reloading the file replaces the workers one by one for it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Knob(abc.ABC):
    """A setting without its name and default.

    Attributes
    ----------
    effect
        What turning it does, in one line.
    unit
        Of the value; empty where there is none.
    takes_effect
        When a change holds, in a pool that runs.
    """

    effect: str
    unit: str = ""
    takes_effect: TakesEffect = TakesEffect.AT_ONCE

    @property
    @abc.abstractmethod
    def allowed(self) -> str:
        """The values it takes, as the end of a sentence: "a whole number from 1 to 8"."""

    @abc.abstractmethod
    def check(self, value: object) -> Any:
        """Return the value in the form `PoolConfig` keeps it in.

        Checking what `check` returned gives it back unchanged.

        Raises
        ------
        NotAllowedError
            The value is not allowed; the text says what is wrong with it.
        """

    def parse(self, text: str) -> object:
        """Turn the text of an environment variable into what `check` takes.

        Raises
        ------
        NotAllowedError
            The text cannot be read as this kind of value.
        """
        return text

    def rebase(self, value: object, folder: Path) -> object:
        """Read a value from a file that lies in `folder`: paths in it are relative to it."""
        del folder
        return value

    def advise(self, value: object) -> str:
        """Say what to write instead of a refused value, where that can be guessed; else nothing."""
        del value
        return ""

    @abc.abstractmethod
    def schema(self) -> dict[str, object]:
        """Describe the values it takes, in JSON Schema 2020-12."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class WholeNumber(Knob):
    """An integer in a closed range, or one word instead of a number."""

    minimum: int
    maximum: int
    word: str = ""

    @property
    def allowed(self) -> str:
        """The range, and the word."""
        text = f"a whole number from {self.minimum} to {self.maximum}"
        return f'{text}, or "{self.word}"' if self.word else text

    def check(self, value: object) -> int | str:
        """Take integers and the word; True and 2.0 are no whole numbers here."""
        if isinstance(value, str) and self.word and value == self.word:
            return value
        if isinstance(value, bool) or not isinstance(value, int):
            raise NotAllowedError("is no whole number")
        _check_range(value, self.minimum, self.maximum)
        return value

    def parse(self, text: str) -> object:
        """Read decimal digits, grouped by underscores if the writer likes: 128_000."""
        if text == self.word:
            return text
        try:
            return int(text)
        except ValueError:
            raise NotAllowedError("is no whole number") from None

    def advise(self, value: object) -> str:
        """Recognise other units, and numbers in quotes."""
        return suggest(value, self.unit, self.minimum, self.maximum, whole=True)

    def schema(self) -> dict[str, object]:
        """Describe the range, and the word."""
        number: dict[str, object] = {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}
        return {"anyOf": [number, {"const": self.word}]} if self.word else number


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Number(Knob):
    """A finite number in a closed range."""

    minimum: float
    maximum: float

    @property
    def allowed(self) -> str:
        """The range."""
        return f"a number from {self.minimum:g} to {self.maximum:g}"

    def check(self, value: object) -> float:
        """Take integers too, and return a float."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise NotAllowedError("is no number")
        _check_range(value, self.minimum, self.maximum)
        if math.isnan(value):
            raise NotAllowedError("is not a number")
        return float(value)

    def parse(self, text: str) -> object:
        """Read a decimal number."""
        try:
            return float(text)
        except ValueError:
            raise NotAllowedError("is no number") from None

    def advise(self, value: object) -> str:
        """Recognise other units, and numbers in quotes."""
        return suggest(value, self.unit, self.minimum, self.maximum)

    def schema(self) -> dict[str, object]:
        """Describe the range."""
        return {"type": "number", "minimum": self.minimum, "maximum": self.maximum}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Flag(Knob):
    """True or false."""

    @property
    def allowed(self) -> str:
        """Both of them."""
        return "true or false"

    def check(self, value: object) -> bool:
        """Take booleans only, not what Python finds truthy."""
        if not isinstance(value, bool):
            raise NotAllowedError("is neither true nor false")
        return value

    def parse(self, text: str) -> object:
        """Read the words people write into environment variables, in any case."""
        try:
            return _FLAG_WORDS[text.lower()]
        except KeyError:
            raise NotAllowedError("is neither true nor false") from None

    def advise(self, value: object) -> str:
        """Recognise what other files write for it."""
        meant = _FLAG_WORDS.get(str(value).lower()) if isinstance(value, str | int) else None
        return "" if meant is None else f"write {str(meant).lower()}"

    def schema(self) -> dict[str, object]:
        """Describe both of them."""
        return {"type": "boolean"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choice(Knob):
    """One word of a list, compared without regard to case, kept as the list spells it."""

    options: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """The list."""
        return "one of " + ", ".join(f'"{option}"' for option in self.options)

    def check(self, value: object) -> str:
        """Take a word of the list in any case."""
        if isinstance(value, str):
            for option in self.options:
                if option.lower() == value.lower():
                    return option
        raise NotAllowedError("is not on the list")

    def schema(self) -> dict[str, object]:
        """Describe the list, as it is spelt."""
        return {"enum": list(self.options)}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Choices(Knob):
    """Some words of a list, each at most once, in order of preference."""

    options: tuple[str, ...]

    @property
    def allowed(self) -> str:
        """The list."""
        return "a list of one or more of " + ", ".join(f'"{option}"' for option in self.options)

    def check(self, value: object) -> tuple[str, ...]:
        """Take a list or a tuple; a bare string is refused, since it would be read letter by letter."""
        if not isinstance(value, list | tuple):
            raise NotAllowedError("is no list")
        if not value:
            raise NotAllowedError("is empty")
        for word in value:
            if word not in self.options:
                raise NotAllowedError(f"holds {word!r}")
            if value.count(word) > 1:
                raise NotAllowedError(f"holds {word!r} twice")
        return tuple(value)

    def parse(self, text: str) -> object:
        """Read words that are separated by commas."""
        return [word.strip() for word in text.split(",")]

    def advise(self, value: object) -> str:
        """Recognise a word, or words with commas, without the brackets of a list."""
        words = [word.strip() for word in value.split(",")] if isinstance(value, str) else []
        if not words or not set(words) <= set(self.options):
            return ""
        return "it is a list: write [" + ", ".join(f'"{word}"' for word in words) + "]"

    def schema(self) -> dict[str, object]:
        """Describe a list without repetition."""
        words: dict[str, object] = {"enum": list(self.options)}
        return {"type": "array", "items": words, "minItems": 1, "uniqueItems": True}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HostAddress(Knob):
    """An IP address of this machine to serve at."""

    @property
    def allowed(self) -> str:
        """What it takes."""
        return 'an IP address, such as "127.0.0.1"; "0.0.0.0" and "::" serve everybody'

    def check(self, value: object) -> str:
        """Take IPv4 and IPv6 addresses."""
        if not isinstance(value, str):
            raise NotAllowedError("is no text")
        try:
            return str(ipaddress.ip_address(value))
        except ValueError:
            raise NotAllowedError("is no IP address") from None

    def advise(self, value: object) -> str:
        """Recognise the one name that has a known address."""
        return 'a name is no address: write "127.0.0.1"' if value == "localhost" else ""

    def schema(self) -> dict[str, object]:
        """Describe an address of either kind."""
        return {"type": "string", "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}]}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FilePath(Knob):
    """A path, or None. Kept absolute, so that a later change of directory does not move it."""

    @property
    def allowed(self) -> str:
        """What a path is."""
        return "the path of a file"

    def check(self, value: object) -> str | None:
        """Take a string or `os.PathLike`; ``~`` is the home directory. It need not exist."""
        if value is None:
            return None
        path = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not isinstance(path, str):
            raise NotAllowedError("is no path")
        if not path or "\0" in path:
            raise NotAllowedError("is empty or holds a NUL")
        return str(_expand(path).absolute())

    def rebase(self, value: object, folder: Path) -> object:
        """Make a relative path relative to `folder`; leave what is no path to `check`."""
        return str(folder / _expand(value)) if isinstance(value, str) and value else value

    def schema(self) -> dict[str, object]:
        """Describe text that is not empty."""
        return {"type": "string", "minLength": 1}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFile(FilePath):
    """The path of a file that TLS can take its trust from, or None."""

    @property
    def allowed(self) -> str:
        """What must be in it."""
        return "the path of a file with at least one certificate in PEM form"

    def check(self, value: object) -> str | None:
        """Take a path like any other, and let OpenSSL load what is there."""
        path = FilePath.check(self, value)
        if path is None:
            return None
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
        except ssl.SSLError:
            raise NotAllowedError("holds no PEM certificate") from None
        except OSError as error:
            raise NotAllowedError(f"cannot be read ({error.strerror})") from None
        return path


def _expand(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise NotAllowedError("begins with the home directory of an unknown user") from None


def _check_range(value: float, minimum: float, maximum: float) -> None:
    if value < minimum:
        raise NotAllowedError(f"is below {minimum}")
    if value > maximum:
        raise NotAllowedError(f"is above {maximum}")
