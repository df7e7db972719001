"""Keeps modules out of a process that libraries import and never use here.

`dataclasses` imports `inspect`, for classes without a docstring: with it come Python's parser,
disassembler and tokenizer, 1 MB. It is loaded when something of it is used, if ever.
`importlib.util.LazyLoader` does not help: the next import statement loads what it put off.

`Cryptodome` calls its shared objects by `cffi`, and where that is not by `ctypes`, which is here
anyway: 2 MB less. `hmac` computes by OpenSSL, and where that is not by Python's own SHA-256: 3.5 MB
less.
"""

from __future__ import annotations

import sys
from types import ModuleType


class _Postponed(ModuleType):
    def __getattr__(self, name: str) -> object:
        del sys.modules[self.__name__]
        __import__(self.__name__)
        vars(self).update(vars(sys.modules[self.__name__]))
        return getattr(sys.modules[self.__name__], name)


def keep_out() -> None:
    """To be called before anything is imported that may import them."""
    sys.modules.setdefault("inspect", _Postponed("inspect"))
    for unused in ("cffi", "_hashlib"):
        sys.modules.setdefault(unused, None)  # type: ignore[arg-type]
