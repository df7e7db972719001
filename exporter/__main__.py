"""`python -m exporter` is the command ayaflow-exporter."""

import sys

from exporter.cli import main

sys.exit(main())
