"""The agent: the program beside VisiData in a run.

It holds VisiData's terminal between connections, and carries it to clients by GoTTY's protocol. It goes into the
session image too, so it imports nothing else of `app`, and only the standard library and `websockets`.

    __main__    the command line
    start       the lock, detaching, and the program on its PTY: runs first, imports little
    supervise   the life of one run from then on: its front, its end, its record
    holder      the PTY, its clients, repainting, backpressure
    waiting     a program that is loaded ahead, and begins with its first client
    front_ws    GoTTY's protocol, served by us          front_gotty   the same, served by a real GoTTY
    bridge      what a real GoTTY runs for each connection
    children    child processes and their ends          endings       what is written down about a run
    gotty, modes                                         pure: the wire codec, the terminal's modes
    visidata/   VisiData's command line, environment and hosted configuration
"""
