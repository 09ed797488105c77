"""`python -m tests.chaos`: see `run.py`. The last line says what was lost, doubled, orphaned and stuck."""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # Where `kube` and `chaos` are, as pytest has it.
    from chaos.run import main

    sys.exit(main())
