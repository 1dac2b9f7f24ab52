"""Modules that lie where Python looks for modules and that no worker needs: val and holdout are taken from these."""

from __future__ import annotations

from collections.abc import Collection

#: Modules of the standard library that neither torch nor anything that it imports, however late, asks for, and of
#: which no other module holds a copy.
UNUSED = frozenset(
    "cgi cgitb compileall dbm ensurepip filecmp imaplib mailbox modulefinder nntplib poplib pyclbr smtpd smtplib "
    "tabnanny telnetlib trace turtle venv wsgiref xmlrpc".split()
)
#: Installed packages that torch, looper or a candidate may import, by the beginning of their names.
NEEDED = tuple(
    "torch functorch triton nvidia cuda numpy numba llvmlite sympy mpmath isympy networkx jinja2 markupsafe filelock "
    "fsspec typing_extensions safetensors packaging einops setuptools pkg_resources pip wheel looper pluggy click rich "
    "markdown_it mdurl pygments psutil tqdm yaml _".split()
)
#: No worker imports the tests of a package.
TESTS = frozenset(("test", "tests"))


def of_stdlib(parts: tuple[str, ...]) -> str | None:
    """The module to withhold so that the file ``parts`` of the standard library is not seen; None if it is needed."""
    top = parts[0].removesuffix(".py")
    return top if top in UNUSED else None


def of_packages(parts: tuple[str, ...], vendored: Collection[str]) -> str | None:
    """The same for an installed file: a package or a folder of tests, relative to site-packages.

    Args:
        vendored: packages of which others carry a copy, which could be read instead.
    """
    inner = next((depth for depth, part in enumerate(parts[:-1]) if depth and part in TESTS), None)
    if inner is not None:
        return "/".join(parts[: inner + 1])
    top = parts[0].removesuffix(".py")
    return None if top in vendored or top.lower().startswith(NEEDED) else top
