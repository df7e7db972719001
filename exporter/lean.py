"""Keeps modules out of a process that libraries import and never use here.

`dataclasses` imports `inspect`, for classes without a docstring: with it come Python's parser,
disassembler and tokenizer, 1 MB. It is loaded when something of it is used, if ever.
`importlib.util.LazyLoader` does not help: the next import statement loads what it put off.

`Cryptodome` calls its shared objects by `cffi`, and where that is not by `ctypes`, which is here
anyway: 2 MB less. For libraries without a path it would have `ctypes.util` find them, which brings
temporary files and three compressors, 0.7 MB; it asks for none. `hmac` computes by OpenSSL, and
where that is not by Python's own SHA-256: 3.5 MB less.
"""

from __future__ import annotations

import ctypes
import sys
from types import ModuleType


class _Postponed(ModuleType):
    """Becomes the module when something of it is used."""

    def __getattr__(self, name: str) -> object:
        if name == "__path__":  # the import statement asks whether it is a package
            raise AttributeError(name)
        return getattr(self.loaded(), name)

    def loaded(self) -> ModuleType:
        """The module itself."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
            __import__(self.__name__)
            vars(self).update(vars(sys.modules[self.__name__]))
        return sys.modules[self.__name__]


def keep_out() -> None:
    """To be called before anything is imported that may import them."""
    sys.modules.setdefault("inspect", _Postponed("inspect"))
    if "ctypes.util" not in sys.modules:
        finder = _Postponed("ctypes.util")
        vars(finder)["find_library"] = lambda name: finder.loaded().find_library(name)
        sys.modules["ctypes.util"] = finder
        vars(ctypes)["util"] = finder
    for unused in ("cffi", "_hashlib"):
        sys.modules.setdefault(unused, None)  # type: ignore[arg-type]
