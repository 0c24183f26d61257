"""The jobs of continuous integration, to be run here: `nox -l` lists them, `nox -s lint types` runs two.

Each job has an environment of its own. `nox --no-venv --no-install -s lint types imports` uses the one that is active.
"""

from pathlib import Path

import nox

PYTHONS = ("3.11", "3.12", "3.13")
# A file stays in one process, so that its fixtures are made once; tests/conftest.py puts the longest files first.
PYTEST = ("pytest", "-n", "auto", "--dist", "loadfile", "--no-loadscope-reorder")
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "imports", "tests-3.11"]


@nox.session
def lint(session: nox.Session) -> None:
    """Check format and style."""
    session.install("ruff>=0.14")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Check types, those of tests and scripts too."""
    session.install("--editable", ".[dev]")
    session.run("ty", "check")


@nox.session
def imports(session: nox.Session) -> None:
    """Check that imports run downwards."""
    session.install("--editable", ".[dev]")
    session.run("lint-imports")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the tests with the newest dependencies; arguments go to pytest."""
    session.install("--editable", ".[dev]")
    session.run(*PYTEST, *session.posargs)


@nox.session(python="3.12")
def thorough(session: nox.Session) -> None:
    """Try every property on 500 random examples instead of 30."""
    session.install("--editable", ".[dev]")
    session.run(*PYTEST, "--hypothesis-profile=thorough", "--timeout=3000", *session.posargs)


@nox.session(python="3.12")
def coverage(session: nox.Session) -> None:
    """Run the tests, and report the lines and branches that they do not reach."""
    session.install("--editable", ".[dev]")
    reports = ("--cov", "--cov-report=term", "--cov-report=xml:build/coverage.xml")
    session.run(*PYTEST, *reports, *session.posargs)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """Run the tests with the lowest version of every dependency; arguments go to the script."""
    session.install("uv", "packaging")
    session.run("python", "scripts/check_lowest_versions.py", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel, install it away from the checkout, and import and start what is in it."""
    folder = Path(session.create_tmp())
    for old in folder.glob("*.whl"):
        old.unlink()
    session.install("build")
    session.run("python", "-m", "build", "--wheel", "--outdir", str(folder))
    session.install(*map(str, folder.glob("*.whl")))
    with session.chdir(folder):  # so that what is imported is not the checkout
        session.run("python", "-c", "import descriptors, reconstruction, repdiff; print(repdiff.__version__)")
        session.run("repdiff", "backends", silent=True)
        session.run("repdiff", "--version")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, warnings being errors; check its links, its figures, its tutorials and notebooks."""
    session.install("--editable", ".[dev]")
    session.run("mkdocs", "build", "--strict")
    session.run(
        *PYTEST,
        *(f"tests/test_{name}.py" for name in ("documents", "figures", "site", "tutorials", "notebooks")),
    )
