"""`python -m repdiff`, the same as `repdiff`; `accelerate launch -m repdiff train` runs several processes."""

from repdiff.cli.main import run

if __name__ == "__main__":
    run()
