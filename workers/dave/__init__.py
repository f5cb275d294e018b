"""DAVE, Discord's end-to-end encryption of audio: who is in the group, and which key a frame gets.

Read the files in this order. `messages` has the opcodes' bodies; `mls` reads what MLS leaves in the clear;
`contract` says what a group can do; `states` is the one transition table, `proposals` and `membership` our
place in the group. `transitions` are the announced changes, `execution` puts them into force, and `sending`
is what our frames become by that. `protocol` is the client without any I/O, driven by its caller's clock:
`inbox` says which messages have an effect, `holding` keeps the commit that is not to have its yet, `recovery`
counts what failed, and `events` is what the outside is told. `frames` stands between the ring and the
transport encryption on the pacing thread, `opening` is its mirror for what others send. `codes` makes what
people read to each other. `group` is the only file that knows the native library.
"""

from __future__ import annotations

__all__: list[str] = []
