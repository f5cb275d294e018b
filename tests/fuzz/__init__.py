"""Hostile input for everything that reads from a network: what the tests of this folder share.

Random bytes die at the first length field. So most inputs begin as a real message and are damaged: `mutants`
for bytes, `hostile_bodies` for JSON. What must stay small is measured by `largest_container`.
"""

from __future__ import annotations

__all__ = [
    "FUZZ",
    "HOSTILE_JSON",
    "attempt",
    "damage",
    "hostile_bodies",
    "largest_container",
    "mutants",
    "random_damage",
]

import random
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

FUZZ: Final = settings(
    deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
"""The same inputs on every run; no example is timed."""

_KINDS: Final = ("flip", "cut", "insert", "drop", "repeat")
_EDGES: Final = (-1, 0, 1, 255, 256, 65_535, 65_536, 2**31, 2**32, 2**53, 2**63, 2**64, 10**40)

HOSTILE_JSON: Final = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from(_EDGES),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=20),
        st.sampled_from(_EDGES).map(str),
        st.sampled_from(("nan", "inf", "-0", "1e400", "\x00", "0" * 5_000, "9" * 5_000)),
    ),
    lambda children: st.one_of(
        st.lists(children, max_size=4), st.dictionaries(st.text(max_size=12), children, max_size=4)
    ),
    max_leaves=8,
)
"""Anything that JSON can say, with a liking for the edges of number types."""


_Found = TypeVar("_Found")
_Refusal = TypeVar("_Refusal", bound=Exception)


def attempt(
    refusal: type[_Refusal], read: Callable[..., _Found], *args: object, **options: object
) -> _Found | _Refusal:
    """Return what was read, or the documented refusal; anything else that is raised is the test's failure."""
    try:
        return read(*args, **options)
    except refusal as error:
        return error


def damage(data: bytes, kind: str, at: int, value: int) -> bytes:
    """Return the bytes with one thing wrong: ``kind`` at a place, with a value from 1 to 255."""
    if not data:
        return bytes((value,))
    at %= len(data)
    if kind == "flip":
        return data[:at] + bytes((data[at] ^ value,)) + data[at + 1 :]
    if kind == "cut":
        return data[:at]
    if kind == "insert":
        return data[:at] + bytes((value,)) + data[at:]
    if kind == "drop":
        return data[:at] + data[at + value :]
    return data[:at] + data[at : at + value] + data[at:]


def mutants(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Return a strategy: a seed with one to four things wrong, two seeds joined, or any bytes at all."""
    wrong = st.lists(
        st.tuples(st.sampled_from(_KINDS), st.integers(0, 4_095), st.integers(1, 255)),
        min_size=1,
        max_size=4,
    )

    def apply(seed: bytes, steps: list[tuple[str, int, int]]) -> bytes:
        for kind, at, value in steps:
            seed = damage(seed, kind, at, value)
        return seed

    one = st.sampled_from(seeds)
    return st.one_of(
        st.builds(apply, one, wrong),
        st.builds(apply, one, wrong),
        st.builds(lambda a, b: a + b, one, one),
        st.binary(max_size=120),
    )


def hostile_bodies(body: Mapping[str, object]) -> st.SearchStrategy[object]:
    """Return a strategy: the body as it is, with a field gone or replaced, or something else altogether."""
    names = st.sampled_from(sorted(body))
    return st.one_of(
        st.just(dict(body)),
        st.builds(lambda name: {key: body[key] for key in body if key != name}, names),
        st.builds(lambda name, value: {**body, name: value}, names, HOSTILE_JSON),
        st.builds(lambda name, value: {**body, name: value}, names, HOSTILE_JSON),
        HOSTILE_JSON,
    )


def random_damage(seeds: Sequence[bytes], number: random.Random) -> bytes:
    """Return one mutant, for floods that are too long for a strategy."""
    return damage(
        number.choice(seeds), number.choice(_KINDS), number.randrange(4_096), number.randrange(1, 256)
    )


def largest_container(thing: object) -> tuple[int, str]:
    """Return size and path of the largest container that an object of ours holds, however deep."""
    return max(_containers(thing, type(thing).__name__, set()), default=(0, ""))


def _containers(thing: object, path: str, seen: set[int]) -> Iterator[tuple[int, str]]:
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, (str, bytes)):
        return
    if isinstance(thing, Mapping):
        yield len(thing), path
        for key, value in thing.items():
            yield from _containers(value, f"{path}[{key!r}]"[:120], seen)
    elif isinstance(thing, (Sequence, AbstractSet, deque)):
        yield len(thing), path
        for value in thing:
            yield from _containers(value, f"{path}[]", seen)
    elif type(thing).__module__.startswith("voicepool."):
        for name, value in _attributes(thing):
            yield from _containers(value, f"{path}.{name}", seen)


def _attributes(thing: object) -> Iterator[tuple[str, Any]]:
    yield from getattr(thing, "__dict__", {}).items()
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(thing, name):
                yield name, getattr(thing, name)
