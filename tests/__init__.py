"""unit: no privileges; kernel: the real program, run on frames; e2e: the real exporter."""
