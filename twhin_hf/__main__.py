"""`python -m twhin_hf` is `twhin-hf`; launchers of several processes start modules."""

import sys

from twhin_hf.commands.cli import main

sys.exit(main())
