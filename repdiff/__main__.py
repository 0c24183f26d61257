"""`python -m repdiff`, the same as `repdiff`; `accelerate launch -m repdiff train` runs several processes."""

from repdiff.cli.interrupts import INTERRUPTS


def run() -> None:
    """Run the command of this process and exit; Ctrl-C is heeded before the first import that takes time."""
    INTERRUPTS.install()
    from repdiff.cli.main import run as run_command

    run_command()


if __name__ == "__main__":
    run()
