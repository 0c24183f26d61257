"""The process of a trial: commands one after the other, up to the first that fails.

Run as `python -m repdiff.cli.steps FILE`, where FILE holds a JSON list of command lines; it ends when its stdin does.
"""

from repdiff.cli.interrupts import INTERRUPTS, follow_stdin

if __name__ == "__main__":
    INTERRUPTS.install()
    follow_stdin()
    import json
    import sys
    from pathlib import Path

    from repdiff.cli.main import run

    run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
