"""The wire contract between a bot and its voice workers.

Who speaks when
---------------
1. The bot starts a worker process and writes one `Bootstrap` line to its standard input: the address, the
   worker's name, a one-time start token and, on TCP, the CURVE keys. Nothing secret is ever in argv or in
   the environment. The pipe stays open: its end of file tells the worker that the bot is gone.
2. The worker connects and sends `Hello` with `WIRE_VERSION` and the token. The bot answers with `Setup`.
   A peer with another version or token is refused with a sentence.
3. The worker loads what it needs and sends `Ready`, or `StartFailed` with the reason, and leaves.
4. From then on the bot sends commands (`voicepool.ipc.commands`), the worker sends events
   (`voicepool.ipc.events`). A command with a `request` number is answered exactly once, by the event its
   docstring names or by `Failed`. Commands without one are intentions (pause, volume): the last one wins.
5. `Shutdown` asks the worker to end its calls in order; it says `Bye` and exits.

Frames
------
A message is one ZeroMQ multipart message: the first frame is the msgpack of one tagged struct, every further
frame is an attachment (raw bytes: an audio file given as bytes now; live PCM and received audio later).
Attachments are never copied into the msgpack.

What changes how
----------------
A new field needs a default; a field never changes its type or meaning; a message that is no longer sent keeps
its name reserved. Anything else raises `WIRE_VERSION`. The bytes of every message are pinned in
``tests/data/wire``. Nothing in the contract assumes a shared clock, a shared file system beyond
`FileSource`, or that the peer is a child process.
"""
