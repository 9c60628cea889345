# SPDX-License-Identifier: LGPL-2.1-or-later
"""The lab's cache directory, and running the programs that fill it."""

import contextlib
import fcntl
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
TREE = os.path.dirname(os.path.dirname(HERE))


class ImageError(Exception):
    """The image cannot be built; the text says what to do."""


def cache_dir(*below: str) -> str:
    """A directory in the cache, made if needed."""
    path = os.environ.get("XL_ALIGNED_LAB_CACHE",
                          os.path.join(TREE, "build", "lab"))
    path = os.path.abspath(os.path.join(path, *below))
    os.makedirs(path, exist_ok=True)
    return path


def say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


def command(*args: str, cwd: str | None = None) -> str:
    """Run a program; its output, or an ImageError that shows it all."""
    env = dict(os.environ, LC_ALL="C")
    done = subprocess.run(args, cwd=cwd, env=env, text=True,
                          capture_output=True)
    if done.returncode:
        raise ImageError(f"{' '.join(args)}: status {done.returncode}\n"
                         f"{done.stdout}{done.stderr}")
    return done.stdout


@contextlib.contextmanager
def locked(name: str):
    """Keep other processes from building the same thing at once."""
    with open(os.path.join(cache_dir(), f".{name}.lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_whole(path: str, text: str) -> None:
    with open(path + ".new", "w") as file:
        file.write(text)
    os.rename(path + ".new", path)


def ssh_key() -> str:
    key = os.path.join(cache_dir(), "id_ed25519")
    if not os.path.exists(key):
        fresh = f"{key}.new"
        for name in (fresh, fresh + ".pub"):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
        command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab",
                "-f", fresh)
        os.rename(fresh + ".pub", key + ".pub")
        os.rename(fresh, key)
    return key
