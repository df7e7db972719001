"""`python -m exporter` is `ayaflow-exporter`."""

from __future__ import annotations

import sys

from exporter.isolated import main

sys.exit(main())
