"""How well DNS works for this node: what is asked, what comes back, how soon, and what never does.

Every query ends in exactly one way, so that at any moment

    queries = responses + timeouts + outstanding + unwatched

A query and its response are matched by client, server, client's port, id and question. The same
query once more, while it is outstanding, is a retransmission, or the same packet seen on a second
interface on its way through the node: it counts once, and its time runs from where it was seen
first. A second response, likewise, is ignored. But a stub resolver on `lo` that asks on for its
client makes two queries, with other addresses and ids: both count, because both are waited for.

Times are seconds of one monotonic clock, as the kernel stamped the packets.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

from exporter.names.dns import QUERY, Message

TIMEOUT_S = 5.0
"""As long as glibc waits before it asks again (resolv.conf, `timeout`); whoever asked has lost a
connection's worth of time by then. An answer that comes later does not count."""

OUTSTANDING_MAX = 2048
"""400 queries a second that nobody answers; they take 0.6 MB then. More are counted, not watched.
"""

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper bounds of the histogram: from a cache on the node to the timeout."""

OTHER = "other"

QTYPES = {
    1: "A",
    2: "NS",
    5: "CNAME",
    6: "SOA",
    12: "PTR",
    15: "MX",
    16: "TXT",
    28: "AAAA",
    33: "SRV",
    64: "SVCB",
    65: "HTTPS",
    255: "ANY",
}
"""Those that have a label of their own."""

RCODES = {0: "NOERROR", 1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
"""Those that have a label of their own."""

_EXPIRY_INTERVAL_S = 0.5
_ANSWERED_MAX = 1024
"""Queries of which a second response is recognised; twice as many are held at most, 0.2 MB."""


@dataclass(frozen=True, slots=True)
class DnsHealthCounts:
    """Counts since the start. Pairs are (label, count), every label from the start on."""

    queries: tuple[tuple[str, int], ...]
    """By question type."""
    responses: tuple[tuple[str, int], ...]
    """By response code; of queries that were seen and had not timed out."""
    timeouts: int
    outstanding: int
    unwatched: int
    """Queries beyond OUTSTANDING_MAX: how they ended is not known."""
    unmatched: int
    """Responses to no query that was seen: asked before the start, late, unwatched, or forged."""
    lookups: tuple[int, ...]
    """How many took at most each of BOUNDS_S, and more than the bound before it."""
    lookups_sum_s: float


class _Waiting(NamedTuple):
    since_s: float
    question: int
    """A hash of it."""


class DnsHealth:
    """Counts DNS messages, each of which is given once for each time that it was seen."""

    def __init__(self) -> None:
        self._queries = dict.fromkeys((*QTYPES.values(), OTHER), 0)
        self._responses = dict.fromkeys((*RCODES.values(), OTHER), 0)
        self._timeouts = self._unwatched = self._unmatched = 0
        self._lookups = [0] * len(BOUNDS_S)
        self._lookups_sum_s = 0.0
        self._outstanding: dict[int, _Waiting] = {}
        """In the order of their time."""
        self._answered: set[int] = set()
        self._answered_before: set[int] = set()
        self._expire_at_s = 0.0

    def see(
        self, message: Message, client: bytes, client_port: int, server: bytes, now_s: float
    ) -> bool:
        """Takes in a message between the two; whether it is the first response to a query that was
        seen. Messages of other opcodes are ignored.
        """
        if message.opcode != QUERY:
            return False
        if now_s >= self._expire_at_s:
            self._expire(now_s)
        key = hash((client, client_port, server, message.id))
        question = hash(message.questions[:1])
        if message.is_response:
            return self._see_response(message, key, question, now_s)
        self._see_query(message, key, question, now_s)
        return False

    def snapshot(self, now_s: float) -> DnsHealthCounts:
        """All counts as of now."""
        self._expire(now_s)
        return DnsHealthCounts(
            tuple(self._queries.items()),
            tuple(self._responses.items()),
            self._timeouts,
            len(self._outstanding),
            self._unwatched,
            self._unmatched,
            tuple(self._lookups),
            self._lookups_sum_s,
        )

    def _see_query(self, message: Message, key: int, question: int, now_s: float) -> None:
        key = self._place_of(key, question)
        waiting = self._outstanding.get(key)
        if waiting is not None:
            if now_s - waiting.since_s <= TIMEOUT_S:
                return
            del self._outstanding[key]
            self._timeouts += 1
        qtype = message.questions[0].qtype if message.questions else 0
        self._queries[QTYPES.get(qtype, OTHER)] += 1
        if len(self._outstanding) < OUTSTANDING_MAX:
            self._outstanding[key] = _Waiting(now_s, question)
        else:
            self._unwatched += 1

    def _see_response(self, message: Message, key: int, question: int, now_s: float) -> bool:
        # A server that could not read the question may leave it out (RFC 1035, 4.1.1: FORMERR).
        if message.questions:
            key = self._place_of(key, question)
        waiting = self._outstanding.get(key)
        if waiting is None:
            if key not in self._answered and key not in self._answered_before:
                self._unmatched += 1
            return False
        del self._outstanding[key]
        took_s = max(0.0, now_s - waiting.since_s)
        if took_s > TIMEOUT_S:
            self._timeouts += 1
            self._unmatched += 1
            return False
        self._responses[RCODES.get(message.rcode, OTHER)] += 1
        self._lookups[bisect_left(BOUNDS_S, took_s)] += 1
        self._lookups_sum_s += took_s
        self._answered.add(key)
        if len(self._answered) >= _ANSWERED_MAX:
            self._answered, self._answered_before = set(), self._answered
        return True

    def _place_of(self, key: int, question: int) -> int:
        """Where a query is held: under a key of its own if its client, which never changes its id,
        asked for something else when it came.
        """
        waiting = self._outstanding.get(key)
        if waiting is not None and waiting.question == question:
            return key
        own = hash((key, question))
        return own if waiting is not None or own in self._outstanding else key

    def _expire(self, now_s: float) -> None:
        """Gives up the queries that were outstanding for too long."""
        first_s = now_s - TIMEOUT_S
        waiting = self._outstanding
        expired = list(takewhile(lambda key: waiting[key].since_s < first_s, waiting))
        for key in expired:
            del waiting[key]
        self._timeouts += len(expired)
        self._expire_at_s = now_s + _EXPIRY_INTERVAL_S
