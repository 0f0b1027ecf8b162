"""What the figures were measured on: versions and hardware, without names of people, machines or folders."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("datasets", "fastokens", "gigatoken", "ismpack", "numpy", "pyarrow", "tokenizers", "transformers", "trl")


def versions() -> dict[str, str | None]:
    """Library -> version, None if it is not installed; and Python's."""
    return {"python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}


def machine(folder: Path) -> dict[str, object]:
    """Hardware and system.

    Args:
        folder: Where datasets are written; the kind of its file system is told, as some need no time to sync.
    """
    return {
        "cpu": _cpu(),
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "file_system": _file_system(folder),
        "load_before": round(os.getloadavg()[0], 2),
    }


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        if name != "ismpack":
            return None
        from ismpack import __version__  # a clone that is run without being installed

        return __version__


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = (line.partition(":") for line in info.read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == "model name"), platform.processor())


def _file_system(folder: Path) -> str | None:
    """Kind of the file system that holds a folder: the one with the longest mount point above it."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return None
    place = folder.resolve()
    kinds = {Path(line.split()[1]): line.split()[2] for line in mounts.read_text().splitlines()}
    above = [point for point in kinds if point == place or point in place.parents]
    return kinds[max(above, key=lambda point: len(point.parts))] if above else None
