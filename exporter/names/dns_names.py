"""What DNS answers teach: which name stands behind an address, and for whom.

    answer ──► by (client, address): who was told what                rank `dns`
           └─► by address: what anybody on this node was told         rank `dns_node`

An answer holds for its TTL and a grace. Of several names that one client was told of one address,
the one that it asked for last before the flow opened is the best evidence: whoever connects has
just asked, or still uses the newest answer; an older answer counts again only when the newer one
has run out. For the node as a whole there is no such order, because who asked is not who connects:
there an address has a name only while one name alone answers to it.

Times are seconds of one monotonic clock, as the kernel stamped the packets: *opened_s* of a flow
may lie a little before the latest answer, and answers that came after it say nothing about it.
"""

from __future__ import annotations

from exporter.memory import zeros
from exporter.names.answer_table import NEVER, ROWS, AnswerTable
from exporter.names.dns_answer import Resolution

GRACE_S = 10.0
"""How long after its TTL an answer still counts. A client connects with the last second of a TTL,
tries a dead address first (1 + 2 + 4 s of SYNs), then the next."""

TTL_MIN_S = 1.0
"""TTL 0 means: for this connection only. It still has to open it."""

TTL_MAX_S = 86_400.0
"""An answer older than a day is no evidence any more, whatever its TTL says."""

ADDRESSES_MAX = 32
"""Of one answer: twice what large services give; a client uses the first few of them."""

NAMES_MAX = 4
"""Names of one (client, address): the one in use, and those that it may fall back to."""

LOOK_BACK_S = 5.0
"""How late a flow may be asked for: `names.grace` and some delay of the rings."""

USED_S = 3600.0
"""An answer that a flow used outlives every unused one of this much time, when room is short."""


class DnsNames:
    """What was learnt from DNS answers, in two tables of fixed size."""

    def __init__(self, grace_s: float = GRACE_S, rows: int = ROWS) -> None:
        """*rows*: of each table, a power of two."""
        self._grace_s = grace_s
        self._pairs = AnswerTable(rows)
        self._node = AnswerTable(rows)
        self._others_until = zeros("d", rows)
        """Until when any other name answers to the address of this row of `_node`."""

    def learn(self, resolution: Resolution, client: bytes, now_s: float) -> None:
        """Takes in one answer; *client* is who was told it, the response's destination."""
        for address, ttl_s in resolution.addresses[:ADDRESSES_MAX]:
            until_s = now_s + min(max(ttl_s, TTL_MIN_S), TTL_MAX_S) + self._grace_s
            self._learn_pair(hash((client, address)), resolution.name, now_s, until_s)
            self._learn_node(hash(address), resolution.name, now_s, until_s)

    def name_for(self, client: bytes, address: bytes, opened_s: float) -> str | None:
        """The name that *client* had been told of *address* when it opened a flow to it."""
        table = self._pairs
        best = -1
        since = NEVER
        for row in table.rows_of(hash((client, address))):
            if since < table.since[row] <= opened_s <= table.until[row]:
                best, since = row, table.since[row]
        if best < 0:
            return None
        table.rank[best] = max(table.rank[best], opened_s + USED_S)
        return table.names[best]

    def node_name_for(self, address: bytes, opened_s: float) -> str | None:
        """The one name that anybody was told of *address*; None where there are two."""
        table = self._node
        for row in table.rows_of(hash(address)):
            if (
                table.since[row] <= opened_s <= table.until[row]
                and self._others_until[row] < opened_s
            ):
                table.rank[row] = max(table.rank[row], opened_s + USED_S)
                return table.names[row]
        return None

    def _learn_pair(self, key: int, name: str, now_s: float, until_s: float) -> None:
        table = self._pairs
        rows = table.rows_of(key)
        for row in rows:
            if table.names[row] == name:
                until_s = max(until_s, table.until[row])
        row = self._renewable(rows, name, now_s)
        if row < 0:
            if len(rows) < NAMES_MAX:
                row = table.take(key, name, now_s)
            else:
                row = min(rows, key=lambda row: (table.until[row] >= now_s, table.since[row]))
                table.set_name(row, name)
            table.since[row] = table.rank[row] = now_s
        table.until[row] = until_s
        table.rank[row] = max(table.rank[row], now_s)

    def _renewable(self, rows: list[int], name: str, now_s: float) -> int:
        """The row, or -1, that can say the name once more and says the same of the past."""
        if not rows:
            return -1
        table = self._pairs
        latest = max(rows, key=table.since.__getitem__)
        if table.until[latest] < now_s:
            return -1
        if table.names[latest] == name:
            return latest
        if table.since[latest] < now_s - LOOK_BACK_S:
            # Every flow that can still be asked for takes the latest row.
            for row in rows:
                if table.names[row] == name:
                    table.since[row] = now_s
                    return row
        return -1

    def _learn_node(self, key: int, name: str, now_s: float, until_s: float) -> None:
        """Of all names of an address it is enough to know which is valid longest, and until when
        any of the others is.
        """
        table, others = self._node, self._others_until
        rows = table.rows_of(key)
        if not rows:
            row = table.take(key, name, now_s)
            table.since[row] = table.rank[row] = now_s
            table.until[row], others[row] = until_s, NEVER
            return
        row = rows[0]
        before_s = table.until[row]
        if table.names[row] == name:
            if before_s < now_s:
                table.since[row] = now_s
            table.until[row] = max(before_s, until_s)
        elif until_s > before_s:
            table.set_name(row, name)
            table.since[row] = now_s
            table.until[row], others[row] = until_s, before_s
        else:
            others[row] = max(others[row], until_s)
        table.rank[row] = max(table.rank[row], now_s)
