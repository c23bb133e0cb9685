"""Addresses of files elsewhere (``s3://``, ``https://``): how they are shown, opened, and what their requests raise."""

from __future__ import annotations

import asyncio
import re
import sys
from typing import Any

from motive.errors import MissingExtra, OptionError
from motive.extras import require

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_BROKEN = re.compile(r"[a-z][a-z0-9+.-]+:/[^/]", re.IGNORECASE)
_SECRET = re.compile(r"(?<=[^\s?])\?[^\s'\")>,]+|(?<=://)[^/\s@]+@")
"""In a text: the query of an address, which may hold a signature or a token, and a user with a password."""
_FOREIGN_FAULTS = (
    "aiohttp.ClientError",
    "azure.core.exceptions.AzureError",
    "botocore.exceptions.BotoCoreError",
    "botocore.exceptions.ClientError",
    "httpx.HTTPError",
    "requests.RequestException",
)
"""What packages behind fsspec raise beside OSError."""
FINAL = (FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, NotADirectoryError)
"""Answers of a server, which asking again does not change."""


def scheme_of(text: str) -> str:
    """The scheme of an address in lower case; empty for a path."""
    found = _ADDRESS.match(text)
    return "" if found is None else found[1].lower()


def is_broken(text: str) -> bool:
    """Whether a text is an address that was made a Path, which takes one of its slashes."""
    return _BROKEN.match(text) is not None


def public(address: str) -> str:
    """An address without user, password, query and fragment: what may be written down."""
    scheme, mark, rest = address.partition("://")
    rest = rest.partition("?")[0]
    if scheme.lower() in ("http", "https"):
        rest = rest.partition("#")[0]
    host, slash, path = rest.partition("/")
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}"


def without_secrets(text: str) -> str:
    """A message of another package with the addresses in it made public."""
    return _SECRET.sub(lambda found: "?..." if found[0].startswith("?") else "", text)


def file_system(address: str, where: str) -> tuple[Any, str]:
    """(fsspec's file system, the path in it) that an address names.

    Args:
        address: with its credentials, if it has any.
        where: what needs it, for messages.

    Raises:
        OptionError: no file system of that kind. MissingExtra: its package is not installed.
    """
    core = require("fsspec.core", where, extra="remote")
    try:
        return core.url_to_fs(address)
    except ImportError as error:
        raise MissingExtra(f"{where} {public(address)}", str(error), "remote") from error
    except ValueError as error:
        why = without_secrets(str(error))
        raise OptionError(
            f"{where}: the address must be one that fsspec knows, got {public(address)} ({why})"
        ) from None


def faults() -> tuple[type[BaseException], ...]:
    """Classes of errors that a request can end in, of the packages that are loaded."""
    found: list[type[BaseException]] = [OSError, EOFError, asyncio.TimeoutError]
    for name in _FOREIGN_FAULTS:
        module, _, kind = name.rpartition(".")
        if module in sys.modules:
            found.append(getattr(sys.modules[module], kind))
    return tuple(found)


def one_line(error: BaseException) -> str:
    """An error of another package for a message."""
    return without_secrets(" ".join(str(error).split()))[:200] or type(error).__name__
