"""The packet clock: one thread that sends every call's frame when it is due."""
