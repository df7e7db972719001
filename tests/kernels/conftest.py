"""The guests' own tests have namespaces and traffic as the end-to-end tests do."""

from tests.e2e.conftest import _tools, flood, network

__all__ = ["_tools", "flood", "network"]
