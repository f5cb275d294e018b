"""Filter chains as FFmpeg users write them: read, and held against voicepool's rules.

``bass=g=8,atempo=1.25`` is split as libavfilter's own parser splits it (FFmpeg Filters, "Notes on filtergraph
escaping"); values stay with libavfilter, which knows their ranges. A chain may come from a stranger in a
chat, so only filters are let through that turn one stream into one stream, touch no file and no network,
and need memory and time that their options bound. All that changes the tempo is understood here, because
the position in the source is counted with it.
"""

from __future__ import annotations

import ast
import dataclasses
import operator
import re
from collections.abc import Callable
from typing import Final

from av.filter.filter import filters_available

from voicepool.ipc.errors import ErrorCode
from voicepool.workers.audio.frame import SAMPLE_RATE_HZ
from voicepool.workers.errors import SourceError

__all__ = ["ChainPlan", "FilterError", "Step", "plan_chain"]

_MAX_CHARACTERS: Final = 4_096
_MAX_FILTERS: Final = 64
_SPEEDS: Final = (0.1, 10.0)
"""Least and most source seconds per output second after each filter, so that no frame becomes a thousand."""
_RATES_HZ: Final = (8_000, 192_000)
_MAX_DELAY_MS: Final = 10_000.0
_MAX_POSITIONAL: Final = 8
"""Some filters name a file in a late option; no chain people write counts that far without names."""

_ALLOWED_WORDS: Final = """
    acompressor acontrast acrusher adecorrelate adelay adenorm adynamicequalizer
    adynamicsmooth aecho aemphasis aeval aexciter afade afftdn aformat afreqshift afwtdn agate
    alimiter allpass anequalizer anull aphaser aphaseshift apsyclip apulsator aresample asetrate asoftclip
    asubboost asubcut asupercut asuperpass asuperstop atempo atilt bandpass bandreject bass biquad bs2b
    channelmap chorus compand compensationdelay crossfeed crystalizer dcshift deesser dialoguenhance
    dynaudnorm earwax equalizer extrastereo firequalizer flanger haas highpass highshelf loudnorm lowpass
    lowshelf mcompand pan speechnorm stereotools stereowiden superequalizer surround tiltshelf treble tremolo
    vibrato virtualbass volume
"""
_ALLOWED: Final = frozenset(_ALLOWED_WORDS.split())
_FILES: Final = "reads a file, a plugin or a device"
_COMMANDS: Final = "takes commands from a file or the network"
_ENDLESS: Final = "holds or makes sound without bound; loop and delay are options of the track"
_POSITION: Final = "changes the length so that the position in the source is lost; start, end and seek do it"
_SOURCES: Final = "makes sound instead of changing it; play that as a source"
_LOGS: Final = "writes to logs or files and changes no sound"
_WHY_NOT: Final = {
    **dict.fromkeys(
        ("movie", "amovie", "ladspa", "lv2", "sofalizer", "arnndn", "asr", "whisper", "frei0r"), _FILES
    ),
    **dict.fromkeys(("sendcmd", "asendcmd", "zmq", "azmq"), _COMMANDS),
    **dict.fromkeys(("areverse", "apad", "aloop"), _ENDLESS),
    **dict.fromkeys(("atrim", "silenceremove", "aselect", "asetpts", "asettb", "asegment"), _POSITION),
    **dict.fromkeys(("anullsrc", "sine", "aevalsrc", "anoisesrc", "abuffer", "hilbert", "sinc"), _SOURCES),
    **dict.fromkeys(("ametadata", "ashowinfo", "astats", "aspectralstats", "volumedetect", "drmeter"), _LOGS),
    **dict.fromkeys(("anlmdn", "afftfilt", "adeclick", "adeclip"), "can take more than a whole core"),
}

_SPACE: Final = " \n\t\r"
_NAME: Final = re.compile(r"([a-z0-9_]+)(@[\w.-]+)?")
_KEY: Final = re.compile(r"[ \n\t\r]*([\w./-]+)[ \n\t\r]*=")
_FILE_KEY: Final = re.compile(r"(?<!pro)file|path|plugin|sofa|url|/", re.IGNORECASE)
_LOOPS: Final = re.compile(r"(while|taylor|root)\(")
"""Functions of FFmpeg's expressions that can run for ever or a billion steps."""
_CLUTTER: Final = re.compile(r"[\s'\\]")
_RESAMPLER_KEYS: Final = frozenset(
    {"sample_rate", "osr", "out_sample_rate", "resampler", "precision", "cutoff", "async", "dither_method"}
)
_RATE_KEYS: Final = frozenset({"sample_rate", "osr", "out_sample_rate"})
_LISTS: Final = {
    "adelay": (("delays", 0, 0.0, _MAX_DELAY_MS),),
    "aecho": (("delays", 2, 0.0, _MAX_DELAY_MS),),
    "chorus": (("delays", 2, 0.0, 1_000.0), ("speeds", 4, 0.05, 100.0), ("depths", 5, 0.0, 100.0)),
}
"""Lists of numbers that libavfilter does not bound: name, place, least and most, in ms or Hz. FFmpeg's chorus
asks for memory in their proportion and crashes if that overflows."""
_LISTED: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(s|S|)")
_ARITHMETIC: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_MAX_SUM_CHARACTERS: Final = 40


class FilterError(SourceError):
    """A filter chain is refused, or broke while it ran. The text says which filter and why.

    Parameters
    ----------
    text
        One sentence.
    filter_name
        Which filter, or ``""`` for the chain as a whole.
    """

    def __init__(self, text: str, *, filter_name: str = "") -> None:
        super().__init__(ErrorCode.FILTER_REFUSED, text, filter=filter_name)


@dataclasses.dataclass(frozen=True, slots=True)
class Step:
    """One filter: its name, and its options as libavfilter takes them (``""`` for none)."""

    name: str
    options: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class ChainPlan:
    """A chain that keeps the rules.

    Attributes
    ----------
    steps
        The filters in order.
    speed
        Source seconds per output second: 1.25 if the chain makes all of it a quarter faster.
    """

    steps: tuple[Step, ...]
    speed: float


def plan_chain(text: str) -> ChainPlan:
    """Read a chain and check it.

    Raises
    ------
    FilterError
        It is no chain, or breaks a rule; the text says which. Ranges of most options are not checked here.
    """
    _check_text(text)
    planner = _Planner()
    for step in _split(text):
        planner.add(step)
    return ChainPlan(tuple(planner.steps), planner.speed)


class _Planner:
    """Follows tempo and sample rate along the chain."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.speed = 1.0
        self._rate_hz = SAMPLE_RATE_HZ

    def add(self, step: Step) -> None:
        _check_name(step.name)
        options = _options(step)
        if step.name == "asetrate":
            step = self._set_rate(options)
        elif step.name == "atempo":
            step = self._set_tempo(options)
        elif step.name == "aresample":
            self._resample(options)
        elif step.name == "aformat":
            self._reformat(options)
        elif step.name in _LISTS:
            _check_lists(step.name, options)
        elif step.name == "vibrato":
            self._vibrate(step)
            return
        self.steps.append(step)

    def _set_rate(self, options: dict[str, str]) -> Step:
        rate_hz = _rate(_only(options, "asetrate", ("sample_rate", "r")), "asetrate")
        # A filter before this one may have made libavfilter change the rate behind our back (loudnorm works
        # at 192 kHz); then the new rate would mean another tempo than it says.
        self.steps.append(Step("aformat", f"sample_rates={self._rate_hz}"))
        self._change_speed(rate_hz / self._rate_hz, "asetrate")
        self._rate_hz = rate_hz
        return Step("asetrate", f"sample_rate={rate_hz}")

    def _set_tempo(self, options: dict[str, str]) -> Step:
        tempo = _sum(_only(options, "atempo", ("tempo",)), "atempo")
        if tempo > 0:
            self._change_speed(tempo, "atempo")
        return Step("atempo", f"tempo={tempo!r}")

    def _vibrate(self, step: Step) -> None:
        # libavfilter's vibrato begins with what lay in its 5 ms of memory, which can be a bang (observed:
        # FFmpeg 8). It gets silence to fill that with, which is cut off behind it.
        lead = self._rate_hz // 100
        self.steps += [
            Step("aformat", f"sample_rates={self._rate_hz}"),
            Step("adelay", f"delays={lead}S:all=1"),
            step,
            Step("atrim", f"start_sample={lead}"),
            Step("asetpts", "PTS-STARTPTS"),
        ]

    def _resample(self, options: dict[str, str]) -> None:
        for key, value in options.items():
            if key in _RATE_KEYS or key == "0":
                self._rate_hz = _rate(value, "aresample")
            elif key not in _RESAMPLER_KEYS:
                allowed = ", ".join(sorted(_RESAMPLER_KEYS))
                text = f"aresample: option {key!r} is not open to chains; these are: {allowed}"
                raise FilterError(text, filter_name="aresample")

    def _reformat(self, options: dict[str, str]) -> None:
        for key in {"r", "sample_rates", "1"} & options.keys():
            self._rate_hz = _rate(options[key], "aformat")

    def _change_speed(self, factor: float, name: str) -> None:
        self.speed *= factor
        least, most = _SPEEDS
        if not least <= self.speed <= most:
            text = f"{name}: the chain would play {self.speed:g} times as fast, not {least:g} to {most:g}"
            raise FilterError(text, filter_name=name)


def _check_text(text: str) -> None:
    if not text.strip():
        raise FilterError("the filter chain is empty; pass no filters to switch them off")
    if len(text) > _MAX_CHARACTERS:
        raise FilterError(
            f"the filter chain has {len(text)} characters; at most {_MAX_CHARACTERS} are allowed"
        )
    if not text.isascii() or not all(character.isprintable() or character in _SPACE for character in text):
        raise FilterError("the filter chain holds characters that are not printable ASCII")


def _check_name(name: str) -> None:
    if name in _ALLOWED:
        if name not in filters_available:
            raise FilterError(f"{name}: the FFmpeg in use was built without this filter", filter_name=name)
        return
    if reason := _WHY_NOT.get(name):
        raise FilterError(f"{name}: not allowed, it {reason}", filter_name=name)
    if name in filters_available:
        raise FilterError(
            f"{name}: not allowed; voicepool runs filters with one audio input and one audio output that"
            " neither read files nor lose the position",
            filter_name=name,
        )
    raise FilterError(f"{name}: FFmpeg has no filter of this name", filter_name=name)


def _split(text: str) -> list[Step]:
    """Split a chain into filters."""
    steps: list[Step] = []
    at = 0
    while True:
        name, at = _token(text, at, "=,;[]")
        options = ""
        if text[at : at + 1] == "=":
            options, at = _token(text, at + 1, "[],;")
        end = text[at : at + 1]
        if end in ("[", "]", ";"):
            raise FilterError(
                f"the filter chain has a {end!r}: labels and branches are not allowed, only filters in a row"
            )
        found = _NAME.fullmatch(name)
        if found is None:
            raise FilterError(f"filter {len(steps) + 1} of the chain has no proper name: {name[:40]!r}")
        steps.append(Step(found[1], options))
        if len(steps) > _MAX_FILTERS:
            raise FilterError(f"the filter chain has more than {_MAX_FILTERS} filters")
        if not end:
            return steps
        at += 1


def _token(text: str, start: int, terminators: str) -> tuple[str, int]:
    """Read up to a terminator and take away one level of quotes and backslashes.

    Returns
    -------
    tuple[str, int]
        What was read, without blanks around it unless they were quoted, and where the terminator stands.
    """
    out: list[str] = []
    kept = 0
    at = start
    while at < len(text) and text[at] in _SPACE:
        at += 1
    while at < len(text) and text[at] not in terminators:
        character = text[at]
        at += 1
        if character == "\\" and at < len(text):
            out.append(text[at])
            at += 1
            kept = len(out)
        elif character == "'":
            close = text.find("'", at)
            close = len(text) if close < 0 else close
            out.extend(text[at:close])
            at = min(close + 1, len(text))
            kept = len(out)
        else:
            out.append(character)
    while len(out) > kept and out[-1] in _SPACE:
        out.pop()
    return "".join(out), at


def _options(step: Step) -> dict[str, str]:
    """Return the options by name, those without a name under ``"0"``, ``"1"`` and so on.

    Raises
    ------
    FilterError
        One names a file, or calls a function that may never return.
    """
    options: dict[str, str] = {}
    positional = 0
    at = 0
    while at < len(step.options):
        found = _KEY.match(step.options, at)
        if found:
            key, at = found[1], found.end()
        else:
            key = str(positional)
            positional += 1
        options[key], at = _token(step.options, at, ":")
        at += 1
        if found and _FILE_KEY.search(key):
            raise FilterError(
                f"{step.name}: option {key!r} is not allowed, it {_FILES}", filter_name=step.name
            )
        if _LOOPS.search(_CLUTTER.sub("", options[key])):
            raise FilterError(
                f"{step.name}: expressions may not call while, taylor or root, which can run for ever",
                filter_name=step.name,
            )
    if positional > _MAX_POSITIONAL:
        raise FilterError(
            f"{step.name}: more than {_MAX_POSITIONAL} options without a name; write name=value",
            filter_name=step.name,
        )
    return options


def _only(options: dict[str, str], name: str, keys: tuple[str, ...]) -> str:
    """Return the one option that this filter may have."""
    given = [value for key, value in options.items() if key in keys or key == "0"]
    if len(given) != 1 or len(options) != 1:
        raise FilterError(f"{name}: takes exactly one option here, {keys[0]}", filter_name=name)
    return given[0]


def _check_lists(name: str, options: dict[str, str]) -> None:
    for key, position, least, most in _LISTS[name]:
        for text in "|".join((options.get(key, ""), options.get(str(position), ""))).split("|"):
            if not text:
                continue
            found = _LISTED.fullmatch(text.strip())
            unit = {"s": 1_000.0, "S": 1_000.0 / SAMPLE_RATE_HZ, "": 1.0}[found[2]] if found else 0.0
            if found is None or not least <= float(found[1]) * unit <= most:
                reason = f"{text[:20]!r} in {key} is no number from {least:g} to {most:g}"
                raise FilterError(f"{name}: {reason}", filter_name=name)


def _rate(text: str, name: str) -> int:
    rate_hz = round(_sum(text, name))
    least, most = _RATES_HZ
    if not least <= rate_hz <= most:
        raise FilterError(f"{name}: a rate of {rate_hz} Hz; {least} to {most} is allowed", filter_name=name)
    return rate_hz


def _sum(text: str, name: str) -> float:
    """Return what a number, or a sum such as ``48000*1.25``, comes to.

    libavfilter would take any expression; this much is in use, and its result has to be known here.
    """
    try:
        value = _value(_parsed(re.sub(r"(?<=\d)k\b", "*1000", text)))
    except (SyntaxError, ValueError, ArithmeticError):
        raise FilterError(f"{name}: {text[:40]!r} is not a plain number", filter_name=name) from None
    if not abs(value) < 1e9:  # noqa: PLR2004 - also false for NaN; more than any rate or tempo
        raise FilterError(f"{name}: {text[:40]!r} is out of range", filter_name=name)
    return value


def _parsed(text: str) -> ast.expr:
    if len(text) > _MAX_SUM_CHARACTERS:
        raise ValueError(text)
    return ast.parse(text, mode="eval").body


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return float(number)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](_value(left), _value(right))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand)
    raise ValueError(ast.dump(node))
