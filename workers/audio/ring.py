"""What a call has to send: frames made ahead of time, and the notes between them [pure].

The encoder threads put in at one end, and take back from that same end what is to be made again. The pacing
thread takes from the other end at any moment, between any two steps of theirs, and waits for nobody. So
whatever is taken back may be gone already: every method here says how much was really there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from voicepool.workers.audio.frame import Mark, Note

__all__ = ["FrameRing"]


class FrameRing:
    """Frames and notes on their way out.

    Its user bounds it: there are as many frames as were put in, and as many notes as were made between them.

    Attributes
    ----------
    queue
        What the pacing thread takes from.
    frames_made
        Frames of audio that were put in and not taken back.
    closing_items
        How many items at the end are the silence and the mark after the last frame; 0 until that is closed.
    """

    def __init__(self) -> None:
        self.queue: deque[bytes | Mark] = deque()
        self.frames_made = 0
        self.closing_items = 0
        self._notes: list[Note] = []
        """To go in before the next frame."""
        self._noted = False
        """Whether there may be notes among what waits."""

    def __len__(self) -> int:
        """Return how many items wait: frames, notes, and what closes it."""
        return len(self.queue)

    @property
    def frames_waiting(self) -> int:
        """Frames of audio that are not sent yet; from any thread."""
        return self._count_frames(tuple(self.queue))

    def _count_frames(self, waiting: tuple[bytes | Mark, ...]) -> int:
        # Of what was taken down at once: the pacing thread goes on taking.
        audio = len(waiting) - self.closing_items
        return list(map(type, waiting[:audio])).count(bytes) if audio > 0 else 0

    def room(self, capacity_frames: int) -> int:
        """Return how many more frames make no more than so many; none or fewer if it is full.

        Notes take no room: of tracks that replace each other while nothing is sent, they become many.
        """
        room = capacity_frames - len(self.queue)
        if not self._noted or room > capacity_frames // 2:
            return room
        # Notes may be in the way, which a look at each item tells; mostly there are none for minutes.
        waiting = tuple(self.queue)
        self._noted = any(isinstance(item, Note) for item in waiting)
        return capacity_frames - self._count_frames(waiting)

    @property
    def frames_sent(self) -> int:
        """Frames of audio that have left; while some are being put in, up to a burst too few."""
        made = self.frames_made
        return max(0, made - self.frames_waiting)

    def note(self, report: Callable[[], object], *, stays: bool = False) -> None:
        """Have something reported right before the next frame that is put in is sent.

        Parameters
        ----------
        report
            Called on the pacing thread; it must only hand over to another.
        stays
            Whether it goes in again after it was taken back. If not, whoever made it makes it again.
        """
        self._notes.append(Note(report, stays=stays))

    def put_notes(self) -> int:
        """Put in what was noted; return how many notes that were."""
        count = len(self._notes)
        if count:
            self._noted = True
            self.queue.extend(self._notes)
            self._notes.clear()
        return count

    def put(self, frames: Sequence[bytes]) -> None:
        """Put in frames of audio."""
        self.queue.extend(frames)
        self.frames_made += len(frames)

    def close(self, closing: Sequence[bytes | Mark]) -> None:
        """Put in what follows the last frame."""
        self.queue.extend(closing)
        self.closing_items = len(closing)

    def reopen(self) -> bool:
        """Take out what is left of what follows the last frame; return whether all of it was there."""
        closing, self.closing_items = self.closing_items, 0
        return self._take_back(closing)

    def take_back_frames(self, frames: int) -> int:
        """Take out the last frames, between which there are no notes; return how many of them were there."""
        for taken in range(frames):
            # In this order, so that a frame taken back is never taken for one that was sent.
            self.frames_made -= 1
            if not self._take_back(1):
                self.frames_made += 1
                return taken
        return frames

    def take_back_notes(self, notes: int) -> None:
        """Take out notes, as far as they are there; those that stay go in again before the next frame."""
        self._take_back(notes)

    def forget_notes(self) -> None:
        """Forget what was to go in before the next frame, but for what stays."""
        self._notes = [note for note in self._notes if note.stays]

    def _take_back(self, items: int) -> bool:
        for _ in range(items):
            try:
                item = self.queue.pop()
            except IndexError:
                return False
            if isinstance(item, Note) and item.stays:
                self._notes.insert(0, item)
        return True
