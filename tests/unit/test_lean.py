"""Modules that are kept out, and one that comes when something of it is used."""

from __future__ import annotations

from tests.unit.child import answer_of

_BEGIN = "import json, sys; from exporter import lean; lean.keep_out()\n"


def test_dataclasses_do_without_it() -> None:
    script = """
import inspect, dataclasses, exporter.pipeline, exporter.capture.helper_main
print(json.dumps([name in sys.modules for name in ("ast", "dis")]))
"""
    assert answer_of(_BEGIN + script, None) == [False, False]


def test_cryptography_does_without_cffi_and_openssl() -> None:
    script = """
from exporter.names import aes, quic_keys
aes.Aes()
loaded = [name in sys.modules for name in ("ctypes", "pycparser")]
(scheme,) = quic_keys.schemes(1)
hp = quic_keys.client_keys(scheme, bytes.fromhex("8394c8f03e515708")).hp.hex()
print(json.dumps([loaded, "libcrypto" in open("/proc/self/maps").read(), hp]))
"""
    appendix_a1_of_rfc_9001 = "9f50449e04a0e810283a1e9933adedd2"
    assert answer_of(_BEGIN + script, None) == [[True, False], False, appendix_a1_of_rfc_9001]


def test_it_is_the_module_itself_once_it_is_used() -> None:
    script = """
import inspect as before
signature = str(before.signature(lambda a, b=1: 0))
import inspect as after
print(json.dumps([signature, after.__spec__.name, before.signature is after.signature]))
"""
    assert answer_of(_BEGIN + script, None) == ["(a, b=1)", "inspect", True]


def test_the_helper_does_without_what_is_a_third_of_it() -> None:
    script = """
import subprocess
import_it = "import sys; sys.path += {}; import exporter.capture.helper_main; print(*sys.modules)"
words = [sys.executable, "-I", "-S", "-c", import_it.format(sys.path)]
loaded = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
print(json.dumps([name in loaded for name in ("exporter.capture.attach", "typing", "pathlib")]))
"""
    assert answer_of(_BEGIN + script, None) == [True, False, False]


def test_libraries_are_found_by_name_all_the_same() -> None:
    script = """
import ctypes.util
before, first = ctypes.util.find_library, ctypes.util.find_library("c")
import ctypes.util as real
print(json.dumps([first, before("c"), real is sys.modules["ctypes.util"], hasattr(real, "none")]))
"""
    assert answer_of(_BEGIN + script, None) == ["libc.so.6", "libc.so.6", True, False]


def test_cryptography_does_without_temporary_files() -> None:
    script = """
unused = "tempfile", "bz2", "lzma"
for name in unused:
    sys.modules.pop(name, None)
assert type(sys.modules["ctypes.util"]).__name__ == "_Postponed"
from exporter.names import aes
aes.Aes()
print(json.dumps([name in sys.modules for name in unused]))
"""
    assert answer_of(_BEGIN + script, None) == [False, False, False]


def test_one_that_was_loaded_before_stays() -> None:
    script = "import inspect\nprint(json.dumps(inspect is before))"
    assert answer_of(f"import inspect as before\n{_BEGIN}{script}", None)
