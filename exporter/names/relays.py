"""Who passes on the questions of others: what it is told says nothing of its own connections.

A resolver on the node, or the node itself as it translates its pods' addresses, asks with an
address that the connections of everybody behind it have too. What it was told is then no evidence
of *this client asked*, only of *somebody on this node was told*.

It is known by what it does: it asks what somebody else, on a device that is only listened to, has
asked and not been told yet. Whose own question it was, which is seen once more as it leaves by a
counted device, passes on nothing.

Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections import OrderedDict

RELAYS_MAX = 256
"""Addresses: a node has a few; of more, those that passed on a question last."""

RELAY_S = 3600.0
"""How long it is taken for one after it last passed on a question. With a cache it does so less
often than it is asked."""

QUESTIONS_MAX = 1024
"""Questions without an answer, heard where it is only listened; more of them are forgotten."""

WAITING_S = 5.0
"""As long as a client waits for its answer."""

_CLIENTS_MAX = 8
"""Who asked the same and waits for the answer."""

Asked = tuple[str | None, int]
"""A name and a type."""


class Relays:
    """Those on this node."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[Asked, dict[bytes, float]] = OrderedDict()
        """Who asked, and when."""
        self._passed_on_s: OrderedDict[bytes, float] = OrderedDict()

    def heard(self, asked: Asked, client: bytes, now_s: float) -> None:
        """A client asked, on a device that is only listened to."""
        clients = self._waiting.pop(asked, {})
        if client in clients or len(clients) < _CLIENTS_MAX:
            clients[client] = now_s
        self._waiting[asked] = clients
        if len(self._waiting) > QUESTIONS_MAX:
            self._waiting.popitem(last=False)

    def told(self, asked: Asked, client: bytes) -> None:
        """The client has its answer."""
        clients = self._waiting.get(asked)
        if clients is not None:
            clients.pop(client, None)
            if not clients:
                del self._waiting[asked]

    def left(self, asked: Asked, client: bytes, now_s: float) -> None:
        """A question left the node, on a counted device."""
        clients = self._waiting.get(asked)
        if clients is None or client in clients:
            return
        if any(now_s - since_s <= WAITING_S for since_s in clients.values()):
            self._passed_on_s.pop(client, None)
            self._passed_on_s[client] = now_s
            if len(self._passed_on_s) > RELAYS_MAX:
                self._passed_on_s.popitem(last=False)

    def has(self, client: bytes, now_s: float) -> bool:
        """Whether the client passes on what others ask."""
        passed_on_s = self._passed_on_s.get(client)
        return passed_on_s is not None and now_s - passed_on_s <= RELAY_S
