"""No secret is where others can read it: a whole run with faults in it, searched for all that is secret.

Looked through are the arguments and the environment of all processes, what bot and workers log at DEBUG,
the text, data and traceback of each error, the repr of each object of ours that can be reached from the pool
and of each message that crossed the wire, and the names of temporary files. Looked for are the tokens and
session ids of Discord, start tokens, CURVE keys, the transport's media keys, and what is secret in URLs and
headers.
"""

from __future__ import annotations

import base64
import contextlib
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

import voicepool
from tests.fakes.pool import until
from tests.fakes.running import asyncio_test
from tests.integration.calls import World, world
from tests.ipc.samples import COMMAND_SAMPLES, EVENT_SAMPLES
from tests.workers.audio.http_server import Site, serving
from tests.workers.audio.media_files import encode
from voicepool import AudioFile, VoicePoolError, WorkerState
from voicepool._process.rendezvous import Rendezvous
from voicepool.ipc.codec import Codec
from voicepool.ipc.endpoint import Bootstrap
from voicepool.testing.voice_media import ReceivedStream

PASSWORD, QUERY, HEADER = "password-of-a-url", "signature-of-a-url", "bearer-of-a-header"


class Secrets:
    """What must not be found, by what it is, in each form in which it could be written."""

    def __init__(self) -> None:
        self._forms: dict[str, str] = {}

    def add(self, name: str, secret: str | bytes) -> None:
        if isinstance(secret, str):
            self._forms[secret] = name
            secret = secret.encode()
        else:
            self._forms[repr(secret)[2:-1]] = name
            self._forms[str(list(secret))[1:-1]] = name
            self._forms[msgspec.json.encode(list(secret)).decode()[1:-1]] = name
        self._forms[secret.hex()] = name
        self._forms[base64.b64encode(secret).decode().rstrip("=")] = name

    def __len__(self) -> int:
        return len(set(self._forms.values()))

    def found_in(self, where: str, text: str) -> list[str]:
        return [f"{name} in {where}" for form, name in self._forms.items() if form in text]


class Wiretap:
    """All that the bot's end said and heard, and what each worker was told at its start."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.messages: list[object] = []
        self.bootstraps: list[Bootstrap] = []
        opened, encode_, decode = Rendezvous.open, Codec.encode, Codec.decode

        def open_(place: Rendezvous, worker: Any) -> Any:
            end, bootstrap = opened(place, worker)
            self.bootstraps.append(bootstrap)
            return end, bootstrap

        def encode_and_note(codec: Any, message: Any, attachments: Any = ()) -> Any:
            self.messages.append(message)
            return encode_(codec, message, attachments)

        def decode_and_note(codec: Any, frames: Any, **options: Any) -> Any:
            message, attachments = decode(codec, frames, **options)
            self.messages.append(message)
            return message, attachments

        patch.setattr(Rendezvous, "open", open_)
        patch.setattr(Codec, "encode", encode_and_note)
        patch.setattr(Codec, "decode", decode_and_note)


@pytest.mark.parametrize("log_format", ["text", "json"])
@asyncio_test
async def test_no_secret_can_be_read_anywhere(
    log_format: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    # The stand-in is Discord's side; what it logs is not ours.
    caplog.set_level(logging.WARNING, "voicepool.testing")
    caplog.set_level(logging.DEBUG)
    secrets, tap = Secrets(), Wiretap(monkeypatch)
    keys = note_media_keys(monkeypatch)
    errors: list[BaseException] = []
    places: dict[str, str] = {}
    song = encode("libmp3lame", "mp3", bitrate_bps=128_000, seconds=0.6)
    with serving(Site({"song.mp3": song})) as site:
        async with world(workers=2, log_level="DEBUG", log_format=log_format, reconnect_attempts=1) as here:
            await provoke(here, site, secrets, errors)
            places |= processes_and_files()
            places["reprs"] = "\n".join(reprs(here.pool))
            pool = here.pool
        places["reprs at the end"] = "\n".join(reprs(pool))
    places["reprs of messages"] = "\n".join(repr(message) for message in tap.messages)
    places["errors"] = "\n".join(told(error) for error in errors)
    places["the bot's log"] = caplog.text
    places["the workers' log"] = "".join(capfd.readouterr())
    for bootstrap in tap.bootstraps:
        assert bootstrap.curve is not None
        secrets.add("start token", bootstrap.start_token)
        secrets.add("CURVE key", bootstrap.curve.client_secret)
        places["reprs at the end"] += repr(bootstrap) + repr(bootstrap.curve)
    for key in keys:
        secrets.add("media key", key)
    # The search could find something: there are secrets of each kind, and texts from each place.
    assert len(tap.bootstraps) >= 3
    assert keys
    assert len(secrets) >= 8
    assert len(errors) >= 3
    assert "DEBUG" in places["the workers' log"]
    assert "OpenCall" in places["reprs of messages"]
    assert "VoiceConnection" in places["reprs"]
    assert all(places.values()), [where for where, text in places.items() if not text]
    found = [each for where, text in places.items() for each in secrets.found_in(where, text)]
    assert sorted(set(found)) == []


async def provoke(here: World, site: Site, secrets: Secrets, errors: list[BaseException]) -> None:
    """Have calls, good and bad, and lose a worker."""
    good = [here.credentials(guild) for guild in (100, 200)]
    forged = here.credentials(300, token="a forged token of 300")
    nowhere = here.credentials(400, endpoint="127.0.0.1:1")
    for credentials in (*good, forged, nowhere):
        secrets.add("token", credentials.token)
        secrets.add("session id", credentials.session_id)
    for name, secret in (("password", PASSWORD), ("query", QUERY), ("header", HEADER)):
        secrets.add(f"{name} of a URL", secret)
    voices = [await here.pool.connect(credentials) for credentials in good]
    for credentials in (forged, nowhere):
        with pytest.raises(VoicePoolError) as caught:
            await here.pool.connect(credentials)
        errors.append(caught.value)
    url = site.url("/file/song.mp3").replace("://", f"://user:{PASSWORD}@") + f"?key={QUERY}"
    headers = {"Authorization": f"Bearer {HEADER}"}
    await voices[0].play(AudioFile(url, headers=headers))
    for path in ("/404/gone.mp3", "/cut/song.mp3"):
        bad = site.url(path).replace("://", f"://user:{PASSWORD}@") + f"?key={QUERY}"
        with pytest.raises(VoicePoolError) as caught:
            await voices[0].play(AudioFile(bad, headers=headers))
        errors.append(caught.value)
    for guild, voice in zip((100, 200), voices, strict=True):
        voice.play_no_wait(AudioFile(encode("flac", "flac", seconds=20.0)))
        await here.session(guild).wait_for_packets(5)
        assert here.session(guild).report().dave_protocol_version == 1
    before = {worker.pid for worker in here.pool.workers}
    victim = here.pool.workers[0].pid
    assert victim is not None
    os.kill(victim, signal.SIGKILL)
    await until_all_run(here, unlike=before)


async def until_all_run(here: World, *, unlike: set[int | None]) -> None:
    def replaced() -> bool:
        workers = here.pool.workers
        return not {worker.pid for worker in workers} <= unlike and all(
            worker.state is WorkerState.READY for worker in workers
        )

    await until(replaced)
    await here.pool.refresh_stats()


def note_media_keys(patch: pytest.MonkeyPatch) -> list[bytes]:
    """Return a list that gets the keys which the stand-in makes."""
    keys: list[bytes] = []
    set_key = ReceivedStream.set_key

    def note(media: ReceivedStream, mode: Any, key: bytes) -> None:
        keys.append(key)
        set_key(media, mode, key)

    patch.setattr(ReceivedStream, "set_key", note)
    return keys


def processes_and_files() -> dict[str, str]:
    this = psutil.Process()
    everybody = [this, *this.children(recursive=True)]
    files = [str(path) for path in Path(tempfile.gettempdir()).rglob("*")]
    # This process' own environment is what the tests were started with.
    environments = [environment_of(process) for process in everybody[1:]]
    return {
        "arguments": "\n".join(" ".join(process.cmdline()) for process in everybody),
        "environment": "\n".join(environments),
        "names of files": "\n".join(files),
    }


def environment_of(process: psutil.Process) -> str:
    try:
        return "\n".join(f"{key}={value}" for key, value in process.environ().items())
    except psutil.AccessDenied:
        # A worker is not dumpable, so nobody but root can look at it.
        return "not to be seen"


def told(error: BaseException) -> str:
    """All that a log or an error report would show of an error."""
    lines = traceback.TracebackException.from_exception(error).format()
    return "".join([*lines, str(error), repr(error), repr(getattr(error, "data", None))])


def reprs(thing: object) -> Iterator[str]:
    """The repr of each object of ours that can be reached from one."""
    seen: set[int] = set()
    left = [thing]
    while left:
        each = left.pop()
        if id(each) in seen or isinstance(each, (str, bytes, int, float, type)):
            continue
        seen.add(id(each))
        if isinstance(each, Mapping):
            left += [*each.keys(), *each.values()]
        elif isinstance(each, (Sequence, AbstractSet)):
            left += each
        elif type(each).__module__.startswith("voicepool"):
            yield repr(each)
            left += _held_by(each)


def _held_by(thing: object) -> list[object]:
    held = list(getattr(thing, "__dict__", {}).values())
    for kind in type(thing).__mro__:
        names = kind.__dict__.get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            with contextlib.suppress(AttributeError):
                held.append(getattr(thing, name))
    return held


@pytest.mark.parametrize("name", sorted(COMMAND_SAMPLES | EVENT_SAMPLES))
def test_no_message_shows_what_is_secret_in_it(name: str) -> None:
    message = (COMMAND_SAMPLES | EVENT_SAMPLES)[name]
    fields = msgspec.to_builtins(message)
    for secret in _secret_values(fields):
        assert secret not in repr(message)


def test_samples_have_secrets() -> None:
    found = [
        secret
        for message in (COMMAND_SAMPLES | EVENT_SAMPLES).values()
        for secret in _secret_values(msgspec.to_builtins(message))
    ]
    assert len(set(found)) >= 3


def _secret_values(fields: Any) -> Iterator[str]:
    if isinstance(fields, dict):
        for key, value in fields.items():
            if key in {"token", "session_id", "start_token", "client_secret"} and value:
                yield value
            elif key == "headers":
                yield from (each for each in value.values() if each)
            else:
                yield from _secret_values(value)
    elif isinstance(fields, list):
        for value in fields:
            yield from _secret_values(value)


@pytest.mark.parametrize("text", ["Traceback", "BotKeys", "CurveKeys", "Bootstrap"])
def test_the_search_finds_what_is_there(text: str) -> None:
    secrets = Secrets()
    secrets.add("key", bytes(range(32)))
    secrets.add("word", "open sesame")
    for shown in (repr(bytes(range(32))), str(list(range(32))), bytes(range(32)).hex()):
        assert secrets.found_in(text, f"{text} {shown}") == [f"key in {text}"]
    assert secrets.found_in(text, "open sesame") == [f"word in {text}"]
    assert secrets.found_in(text, text) == []


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="only root may ask")
@asyncio_test
async def test_a_worker_leaves_no_core_dump() -> None:
    async with voicepool.VoicePool(voicepool.PoolConfig(workers=1)) as pool:
        (worker,) = pool.workers
        assert psutil.Process(worker.pid).rlimit(psutil.RLIMIT_CORE) == (0, 0)
