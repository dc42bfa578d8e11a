"""What lab hosts boot from: built once from Debian's packages, kept by a hash of its recipe outside of the source tree."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from . import LabError

TREE = Path(__file__).resolve().parents[3]
RECIPE = TREE / "tests/lab/image"
# The recipe is whatever decides what the image holds.
SOURCES = [RECIPE, TREE / "scripts/lib.sh", TREE / "scripts/lib-apt.sh", TREE / "scripts/setup-criu"]
# An image that nobody booted for this long goes when a new one is built.
UNUSED_SECONDS = 14 * 24 * 3600


def cache_directory():
    return Path(os.environ.get("HOLM_LAB_CACHE", "/var/cache/holm-lab"))


def suite():
    with open("/etc/os-release", encoding="utf-8") as lines:
        release = dict(line.rstrip().split("=", 1) for line in lines if "=" in line)
    return release.get("VERSION_CODENAME", "unknown").strip('"')


def recipe_hash():
    digest = hashlib.sha256(suite().encode())
    files = [file for source in SOURCES for file in (sorted(source.rglob("*")) if source.is_dir() else [source])]
    for file in files:
        if file.is_file():
            digest.update(f"{file.relative_to(TREE)} {file.stat().st_mode & 0o111}\n".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def find_or_build():
    """The directory with root.img, the kernels and the key; builds it where this recipe was not built yet."""
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    image = cache / recipe_hash()
    with open(cache / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several labs may want it at the same moment
        if not image.exists():
            build(image)
        os.utime(image)
    return image


def build(image):
    remove_unused(image.parent)
    new = image.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(mode=0o700)
    print(f"building the lab's image in {image}, once: takes about two minutes", file=sys.stderr, flush=True)
    try:
        # Its standard output is the caller's words about other things.
        subprocess.run([str(RECIPE / "build"), str(new)], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise LabError("cannot build the lab's image; its own words stand above") from error
    new.rename(image)


def remove_unused(cache):
    for path in cache.iterdir():
        if path.is_dir() and (path.suffix == ".new" or path.stat().st_mtime < time.time() - UNUSED_SECONDS):
            shutil.rmtree(path, ignore_errors=True)
