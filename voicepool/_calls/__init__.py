"""The calls of a pool: at which worker each is held, and how it gets to another one, dead or alive."""
