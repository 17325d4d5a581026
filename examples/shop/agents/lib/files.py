"""Files that several processes share: locks, and writes that are there wholly or not at all."""

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
import time
from pathlib import Path

DAY_SECONDS = 24 * 3600
SHOP = Path(__file__).resolve().parent.parent.parent


def home():
    """Where everything lives that the agents make: SHOP_HOME, else `.shop` beside `agents.yaml`."""
    folder = Path(os.environ.get("SHOP_HOME") or SHOP / ".shop").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder.resolve()


@contextlib.contextmanager
def locked(path, wait=True):
    """Holds the lock for as long as the block runs; the kernel frees it when the process dies.
    Without `wait`, raises BlockingIOError if somebody else has it."""
    with open(path, "a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield file


@contextlib.contextmanager
def scratch():
    """A folder for the length of the block. What a process that was killed left is removed a day later."""
    parent = home() / "scratch"
    parent.mkdir(exist_ok=True)
    for entry in os.scandir(parent):
        with contextlib.suppress(FileNotFoundError):
            if entry.stat().st_mtime < time.time() - DAY_SECONDS:
                shutil.rmtree(entry.path, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        yield Path(folder)


def write_json(path, value):
    """Replaces the file in one step; a crash leaves the old one."""
    path = Path(path)
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    with open(scratch, "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)


def read_json(path, default):
    """The content of a file, or the default if there is none."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default


def note(**entry):
    """Adds a line to `log.jsonl`, the agents' own record of what they did and when."""
    line = json.dumps({"at": time.time(), **entry}) + "\n"
    descriptor = os.open(home() / "log.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)
