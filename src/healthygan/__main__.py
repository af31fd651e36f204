"""``python -m healthygan``."""

import sys

from healthygan.cli.main import main

sys.exit(main())
