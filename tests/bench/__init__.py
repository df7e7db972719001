"""Figures: what the exporter costs, beside what it is compared with. `make bench`."""
