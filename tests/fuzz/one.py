"""One target under the fuzzer: `python -m tests.fuzz.one NAME FOLDER -flags of libFuzzer`."""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    """Never returns: the fuzzer ends the process."""
    atheris = importlib.import_module("atheris")
    name = sys.argv.pop(1)
    with atheris.instrument_imports(include=["exporter"]):
        target = importlib.import_module(f"tests.fuzz.target_{name}")
    atheris.Setup(sys.argv, target.one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
