"""What the end-to-end tests are made of: the real binary, a foreign gRPC client, real disks.

How it works
    `wire` generates Python stubs from `proto/` once for each run. `server` starts and ends the
    binary and finds its address in its log. `calls` dials it and reads refusals. `ledger` keeps,
    outside the server, what a store must hold, and `load` fills both. `disks` makes file systems
    that fill up and lose power.

Why
    The server's own code cannot vouch for the server. Everything here comes from other hands:
    grpcio, the kernel, promtool, strace.

Invariants
    Nothing is skipped: what a machine lacks fails a test and is named. Nothing waits for a fixed
    time where it can wait for an event. Random choices come from a printed seed. A process is ended
    by its own handle, a mount is gone when its test is.

Not here
    Rules of one room: they are tested beside its code.
"""
