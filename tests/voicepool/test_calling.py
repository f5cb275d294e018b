"""Calls that may block, off the event loop."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from voicepool._calling import MAX_THREADS, call_in_thread

SAFETY_S = 30.0


def test_it_runs_in_a_thread_of_its_own_with_the_callers_context() -> None:
    guild = contextvars.ContextVar("guild", default=0)

    async def main() -> tuple[int, bool, str, bool]:
        guild.set(5)
        return await call_in_thread(
            lambda: (
                guild.get(),
                threading.current_thread().daemon,
                threading.current_thread().name,
                threading.current_thread() is not threading.main_thread(),
            ),
            name="mine",
        )

    assert asyncio.run(main()) == (5, True, "mine", True)


@pytest.mark.parametrize("error", [ValueError("x"), StopIteration("x"), TimeoutError(), KeyError("x")])
def test_its_error_is_raised(error: Exception) -> None:
    def fail() -> None:
        raise error

    async def main() -> Exception:
        done = await asyncio.gather(call_in_thread(fail, name="mine"), return_exceptions=True)
        assert isinstance(done[0], Exception)
        return done[0]

    caught = asyncio.run(main())
    # Python turns a StopIteration that leaves a coroutine into a RuntimeError.
    assert caught is error or (isinstance(caught, RuntimeError) and caught.__cause__ is error)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_what_would_end_the_program_is_an_error_like_others(error: type[BaseException]) -> None:
    def leave() -> None:
        raise error

    with pytest.raises(RuntimeError, match=f"it ended by {error.__name__}"):
        asyncio.run(call_in_thread(leave, name="mine"))


def test_only_so_many_run_at_once() -> None:
    running = 0
    most = 0
    lock = threading.Lock()
    full = threading.Event()

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if running == MAX_THREADS:
                full.set()
        assert full.wait(SAFETY_S)
        with lock:
            running -= 1

    async def main() -> None:
        await asyncio.gather(*(call_in_thread(work, name="mine") for _ in range(3 * MAX_THREADS)))

    asyncio.run(main())
    assert (running, most) == (0, MAX_THREADS)


def test_one_that_is_given_up_keeps_its_place_until_it_ends() -> None:
    ends = threading.Event()
    all_begun = threading.Barrier(MAX_THREADS + 1)

    def hang() -> None:
        all_begun.wait(SAFETY_S)
        assert ends.wait(SAFETY_S)

    async def main() -> str:
        hanging = [asyncio.create_task(call_in_thread(hang, name="mine")) for _ in range(MAX_THREADS)]
        await asyncio.to_thread(all_begun.wait, SAFETY_S)
        for task in hanging:
            task.cancel()
        await asyncio.wait(hanging)
        late = asyncio.create_task(call_in_thread(lambda: "done", name="mine"))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not late.done(), "all places are taken by what hangs"
        ends.set()
        return await asyncio.wait_for(late, SAFETY_S)

    assert asyncio.run(main()) == "done"


def test_giving_up_while_waiting_for_a_place_takes_none() -> None:
    ends = threading.Event()

    async def main() -> None:
        hanging = [
            asyncio.create_task(call_in_thread(lambda: ends.wait(SAFETY_S), name="mine"))
            for _ in range(MAX_THREADS)
        ]
        waiting = asyncio.create_task(call_in_thread(lambda: True, name="mine"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        ends.set()
        assert await asyncio.gather(*hanging) == [True] * MAX_THREADS
        again = [call_in_thread(lambda: True, name="mine") for _ in range(MAX_THREADS)]
        assert await asyncio.wait_for(asyncio.gather(*again), SAFETY_S) == [True] * MAX_THREADS

    asyncio.run(main())


def test_one_that_outlives_its_loop_ends_in_peace() -> None:
    ends = threading.Event()
    threads: list[threading.Thread] = []

    begun = threading.Event()

    def hang() -> None:
        threads.append(threading.current_thread())
        begun.set()
        assert ends.wait(SAFETY_S)

    async def main() -> None:
        task = asyncio.create_task(call_in_thread(hang, name="mine"))
        assert await asyncio.to_thread(begun.wait, SAFETY_S)
        task.cancel()

    asyncio.run(main())
    ends.set()
    threads[0].join(SAFETY_S)
    assert not threads[0].is_alive()


def test_a_thread_that_cannot_start_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        def refuse(_thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            for _ in range(MAX_THREADS + 1):
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    await asyncio.wait_for(call_in_thread(lambda: None, name="mine"), SAFETY_S)
        assert await call_in_thread(lambda: 5, name="mine") == 5

    asyncio.run(main())
