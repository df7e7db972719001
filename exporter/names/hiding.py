"""`domains.hide`: which names nobody shall see.

The rules are regular expressions of RE2, as in Prometheus: no backreferences, no look-around, and
in return the time for a name grows with its length alone. Python's own can take years over 253
characters that somebody chose for it. A rule matches anywhere in a name (so write `^` and `$`),
whatever the case: to hide too much is better than to show what should be hidden.

RE2 takes 3 MB, and is imported where there is a rule, in any case before privileges are dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from exporter.advice import no_package
from exporter.errors import ExporterError
from exporter.values import quoted

MEMORY_MAX = 1 << 20
"""Bytes for the automaton of all rules; where they are not enough, RE2 goes on more slowly."""


def compile_rules(rules: Iterable[str]) -> Callable[[str], bool]:
    """Whether a name is hidden, as one search for all rules together.

    Raises ValueError with the end of a sentence about the rule that is none, and ExporterError
    where RE2 is not installed.
    """
    rules = tuple(rules)
    if not rules:
        return lambda name: False
    for rule in rules:
        parse_rule(rule)
    search = _compile("|".join(map(_group, rules)), "all rules together").search
    return lambda name: search(name.encode()) is not None


def parse_rule(text: str) -> str:
    """The rule, unchanged. Raises as `compile_rules` does."""
    if not text:
        raise ValueError("must not be empty: an empty expression matches every name")
    # By itself, and as it stands among others: `a)(b` and `\Qa` are each only one of both.
    _compile(text, quoted(text))
    _compile(_group(text), quoted(text))
    return text


def _group(rule: str) -> str:
    return f"(?:{rule})"


def _compile(pattern: str, shown: str) -> Any:
    try:
        import re2
    except (ImportError, OSError) as error:
        raise ExporterError(no_package("domains.hide", "google-re2")) from error
    options = re2.Options()
    options.case_sensitive = False
    options.never_capture = True
    options.log_errors = False
    options.max_mem = MEMORY_MAX
    try:
        return re2.compile(pattern.encode(), options)
    except re2.error as error:
        reason = error.args[0].decode(errors="replace")
        raise ValueError(f"must be a regular expression of RE2, not {shown}: {reason}") from None
