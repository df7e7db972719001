"""What a scrape says, and what must always hold of it."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from tests.e2e.net import Statistics

DIRECTIONS = ("ingress", "egress")
UNITS = ("packets", "bytes")


class Metrics:
    """The samples of one scrape in the text format."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._samples: dict[str, list[Sample]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append(sample)

    def all(self) -> list[Sample]:
        """Every sample, whatever its name."""
        return [sample for samples in self._samples.values() for sample in samples]

    def samples(self, name: str, **labels: str) -> list[Sample]:
        """Those that have at least these labels."""
        return [
            sample
            for sample in self._samples.get(name, [])
            if labels.items() <= sample.labels.items()
        ]

    def sum(self, name: str, **labels: str) -> int:
        """0 where there is no such sample."""
        return int(sum(sample.value for sample in self.samples(name, **labels)))

    def value(self, name: str, **labels: str) -> int:
        """Of the one sample that fits."""
        found = self.samples(name, **labels)
        assert len(found) == 1, f"{len(found)} samples of {name}{labels}:\n{self.text}"
        return int(found[0].value)

    def label_values(self, name: str, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples(name)}

    def counted(self, device: str) -> Statistics:
        """The kernel program's totals of a device; zeros where it has never been attached."""
        return Statistics(
            *(
                self.sum(f"ayaflow_interface_{unit}_total", device=device, direction=direction)
                for direction in DIRECTIONS
                for unit in UNITS
            )
        )


def check_identity(metrics: Metrics) -> None:
    """Each direction's domains, evicted and pending counts are what the interfaces counted."""
    for direction in DIRECTIONS:
        for unit in UNITS:
            explained = (
                metrics.sum(f"ayaflow_{unit}_total", direction=direction)
                + metrics.sum(f"ayaflow_evicted_{unit}_total", direction=direction)
                + metrics.value(f"ayaflow_pending_{unit}", direction=direction)
            )
            total = metrics.sum(f"ayaflow_interface_{unit}_total", direction=direction)
            assert explained == total, f"{direction} {unit}: {explained} explained of {total}"
            left_over = metrics.value(f"ayaflow_unaccounted_{unit}", direction=direction)
            assert left_over == 0, f"{direction}: {left_over} {unit} unaccounted"


def check_driver(metrics: Metrics) -> None:
    """No driver saw more packets than the kernel program did."""
    counted = metrics.samples("ayaflow_interface_packets_total")
    assert counted, "no interface is counted"
    for sample in counted:
        driver = metrics.value("ayaflow_interface_driver_packets_total", **sample.labels)
        assert driver <= sample.value, f"{sample.labels}: driver {driver}, counted {sample.value}"
