"""The real exporter in network namespaces, with real traffic. As root."""
