"""``python -m healthygan``."""

import sys

from healthygan.cli import main

sys.exit(main())
