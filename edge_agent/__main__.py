"""Run ``python -m edge_agent`` as the command ``edge-agent``."""

import sys

from edge_agent.cli import main

sys.exit(main())
