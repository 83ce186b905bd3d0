"""The only `@jit` of the house.

Numba's `cache=True` does not notice a change in a jitted callee of another file, so compiled code is kept in a folder
named by a hash of every source file of the package, outside the package (which may be read-only).
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

Function = TypeVar("Function", bound=Callable[..., Any])


# rooms that hold no compiled code and that none with compiled code imports: editing them need not recompile anything
_LATER_ROOMS = {"studies", "evidence", "report", "app", "_data"}


def _sources_hash() -> str:
    root = Path(__file__).parent
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root)
        if relative.parts[0] not in _LATER_ROOMS:
            digest.update(str(relative).encode() + path.read_bytes())
    return digest.hexdigest()


def cache_folder() -> Path:
    """Where compiled functions are kept: GAMBREL_CACHE, else the user's cache folder, else a temporary one."""
    chosen = os.environ.get("GAMBREL_CACHE")
    base = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gambrel"
    folder = base / f"jit-{_sources_hash()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        folder = Path(tempfile.gettempdir()) / f"gambrel-{os.getuid()}" / folder.name
        folder.mkdir(parents=True, exist_ok=True)
    return folder


vars(numba.config)["CACHE_DIR"] = str(cache_folder())


def jit(function: Function) -> Function:
    """Compile for arrays, scalars and NamedTuples; cached on disk, released from the GIL, IEEE arithmetic kept."""
    compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    compiled._cache.save_overload = _one_at_a_time(compiled._cache.save_overload)
    return cast(Function, compiled)


def _one_at_a_time(save: Callable[..., None]) -> Callable[..., None]:
    """Numba numbers the files of a function by what its index held; two processes that compile two of its signatures at once
    would give both the same number. On a full disk the code is compiled anew in the next process."""

    def saved(*arguments: Any) -> None:
        try:
            with (Path(vars(numba.config)["CACHE_DIR"]) / ".lock").open("w") as lock:
                if fcntl is not None:
                    fcntl.flock(lock, fcntl.LOCK_EX)
                save(*arguments)
        except OSError as error:
            print(f"gambrel: compiled code is not kept: {error}", file=sys.stderr)

    return saved


def inline(function: Function) -> Function:
    """A small inner helper, compiled into its callers; never called from Python, so never cached on its own."""
    compiled: Any = numba.njit(nogil=True, error_model="numpy")(function)
    return cast(Function, compiled)


def within(function: Function) -> Function:
    """As `inline`, and always part of the caller's own code: for the few formulas that a call would cost more than."""
    compiled: Any = numba.njit(nogil=True, error_model="numpy", forceinline=True)(function)
    return cast(Function, compiled)
