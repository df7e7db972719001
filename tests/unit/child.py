"""A process of its own, for what cannot be undone in this one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def answer_of(script: str, given: object) -> Any:
    """What *script* prints, of which `sys.argv[1]` is *given*; both as JSON."""
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(given)],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
