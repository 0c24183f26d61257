"""The process of a cell: commands one after the other, up to the first that fails.

Run as `python -m repdiff.cli.steps FILE`, where FILE holds a JSON list of command lines.
"""

import json
import sys
from pathlib import Path

from repdiff.cli.main import run

if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
