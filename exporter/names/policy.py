"""What a name that was learnt may be shown as, and whether it was expected.

    a name ──► expected?                            domains.expected, by the whole name
           ├─► hidden? ──► other                    domains.hide, by the whole name and the domain
           └─► domain   full:         the name      domains.mode
                        registrable:  what somebody registered: www.example.co.uk -> example.co.uk
                        off:          other

Hidden names and those of `off` stay in the sum, as `other`; `unknown` is what had no name at all.
Of `unknown` nobody can say whether it was expected: it never counts as unexpected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from exporter.advice import no_package
from exporter.errors import ExporterError
from exporter.names.domains import OTHER, RESERVED
from exporter.names.expected import Expected
from exporter.names.hiding import compile_rules
from exporter.names.remembered import Remembered

MODES = ("full", "registrable", "off")

REMEMBERED_HALF = 512
"""Names: those of some minutes on a node; twice as many take 0.5 MB with the longest names."""


class Judgement(NamedTuple):
    """Of one name."""

    domain: str
    """What it may be shown as: the name, a shorter one, or `other`."""
    is_expected: bool


class Policy:
    """The three settings together."""

    def __init__(self, mode: str, hide: Iterable[str] = (), expected: Iterable[str] = ()) -> None:
        """*mode*: one of MODES. Without *expected*, everything is.

        Loads what it needs, so make it before privileges are dropped. Raises ValueError with the
        end of a sentence about what is wrong, ExporterError where a library is missing.
        """
        hide, expected = tuple(hide), tuple(expected)
        self._is_hidden = compile_rules(hide)
        self._expected = Expected(expected) if expected else None
        self._shorten = _shorten_by(mode)
        # Where there is nothing to work out, there is nothing to remember.
        is_plain = mode != "registrable" and not hide and not expected
        self.judge: Callable[[str], Judgement] = (
            self._judge if is_plain else Remembered(self._judge, REMEMBERED_HALF)
        )
        """The judgement on a host name, in lower case and without a trailing dot."""

    def shown_as(self, name: str) -> str:
        """The domain alone; of a domain, that itself, unless other settings had it shown."""
        return self.judge(name).domain

    def _judge(self, name: str) -> Judgement:
        is_expected = self._expected is None or name in self._expected
        domain = self._shorten(name)
        if domain in RESERVED or any(map(self._is_hidden, {name, domain})):
            domain = OTHER
        return Judgement(domain, is_expected)


def _shorten_by(mode: str) -> Callable[[str], str]:
    if mode == "full":
        return lambda name: name
    if mode == "off":
        return lambda name: OTHER
    if mode == "registrable":
        return load_registrable()
    raise ValueError(f"must be one of {', '.join(MODES)}, not {mode}")


def load_registrable() -> Callable[[str], str]:
    """What of a name somebody registered, by the public suffix list: takes 30 ms and 2.5 MB.

    Only the list's first part counts, where registries sell names; its second has companies whose
    customers get names below theirs (github.io, cloudfront.net), and who answers there is the
    company. By the list's rules an unknown top-level domain is a public suffix too. A name that is
    a public suffix itself stays as it is.
    """
    try:
        from publicsuffixlist import PublicSuffixList
    except (ImportError, OSError) as error:
        raise ExporterError(no_package("domains.mode registrable", "publicsuffixlist")) from error
    registered_part = PublicSuffixList(only_icann=True).privatesuffix

    def registrable(name: str) -> str:
        return registered_part(name) or name

    return registrable
