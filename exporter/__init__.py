"""Counts the packets and bytes of each domain on a node, and shows them as metrics."""
