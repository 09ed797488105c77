"""The agent's command line. Must import nothing slow: VisiData waits for it.

python -m app.agent run --dir RUNDIR [--listen HOST:PORT] [--gotty PATH] [--grace SECONDS] [--detach]
                        [--cwd DIR] [--ending-file FILE] [--wait] -- COMMAND [ARGUMENT...]
python -m app.agent visidata [OPTION...] [-- PATH]
"""

from __future__ import annotations

import sys


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0 fine, 1 the run could not be served, 2 a wrong command line, 75 it is alive already."""
    if arguments[:1] == ["run"]:
        from app.agent.start import main as run

        return run(arguments[1:])
    if arguments[:1] == ["visidata"]:
        from app.agent.hosted import main as visidata

        return visidata(arguments[1:])
    sys.stderr.write((__doc__ or "") + "\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
