"""What the history costs: the CPU time of its commits, with 1,000 series that all change.

Prints milliseconds a commit, at the end of an interval (every 10 s) and before a scrape (every
15 s), and what share of a core that is.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from exporter.clock import Now
from exporter.counts.history_store import open_history
from exporter.counts.rows import DOMAIN, Row

SERIES = 1000
ROUNDS = 400
INTERVAL_S, SCRAPE_S = 10.0, 15.0


def main() -> None:
    took: dict[bool, list[float]] = {False: [], True: []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.db"
        history = open_history(path, 3600.0, 64 << 20)
        for n in range(ROUNDS):
            for ends_interval in (False, True):
                value = 2 * n + ends_interval
                rows = [
                    Row(DOMAIN, ("ingress", f"name-{k}.example.com"), (value, value, 1), 1.0)
                    for k in range(SERIES)
                ]
                began = time.process_time()
                history.record(rows, {}, Now(10.0 * n, 10.0 * n) if ends_interval else None)
                took[ends_interval].append(time.process_time() - began)
        size = sum(each.stat().st_size for each in Path(folder).iterdir())
        history.close()
    scrape, interval = (statistics.median(took[each]) for each in (False, True))
    share = interval / INTERVAL_S + scrape / SCRAPE_S
    print(f"history, {SERIES} series that all change: {interval * 1000:.1f} ms an interval,")
    print(f"{scrape * 1000:.1f} ms a scrape, {share:.2%} of a core; file {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
