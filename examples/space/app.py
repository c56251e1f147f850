"""Open a page to try an encoder on, beside a stock one.

    python examples/space/app.py                              # on generated data
    python examples/space/app.py --run runs/quickstart        # on what the main job has made
    python examples/space/app.py --model stage2 --stock stage1 --posts posts.parquet

It takes the options of `twhin-hf demo`. `twhin-hf push --space FOLDER` publishes what it has made,
with an app.py of its own.
"""

from __future__ import annotations

import sys

from twhin_hf.commands.cli import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))
