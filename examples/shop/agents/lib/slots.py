"""Slots: the places where a release runs. Each is a folder with releases, a link to the current one,
and a process that serves it on a loopback port.

    <home>/slots/<environment>/
        releases/<commit>/   what was deployed, with release.json beside the code
        current              link to one of them
        state.json           the current release and the one before, and which run brought them
        service.lock         held by the service for as long as it lives; its number is in there
        service.log          what it says
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from lib import files, probe, repository
from lib.protocol import Failure, log

ENVIRONMENTS = {"staging": 9201, "production": 9202}
REQUESTS = 20
KEPT_RELEASES = 6
START_SECONDS = 10
START_TRIES = 3
STOP_SECONDS = 5
MAX_LOG_BYTES = 1024 * 1024


class Slot:
    """One of them."""

    def __init__(self, name):
        if name not in ENVIRONMENTS:
            raise Failure("environment", f"environments are {', '.join(ENVIRONMENTS)}, not {name!r}")
        self.name = name
        self.folder = files.home() / "slots" / name
        (self.folder / "releases").mkdir(parents=True, exist_ok=True)
        self.port = port_of(name)
        self.url = f"http://127.0.0.1:{self.port}"

    # What is deployed.

    def state(self):
        return files.read_json(self.folder / "state.json", {"current": None, "previous": None})

    @contextlib.contextmanager
    def working(self, action, step):
        """Only one may work on a slot. The workflow's lock sees to that; who comes here all the same
        is told, instead of being let in or made to wait where nobody sees it. `log.jsonl` says when
        each began and ended."""
        facts = {"slot": self.name, "action": action, "workflow": step.workflow, "key": step.key}
        try:
            with files.locked(self.folder / "slot.lock", wait=False):
                files.note(event="begin", **facts)
                try:
                    yield
                finally:
                    files.note(event="end", **facts)
        except BlockingIOError:
            files.note(event="refused", **facts)
            raise Failure("slot_busy", f"somebody else works on {self.name}", retryable=True) from None

    def add_release(self, work, remark):
        """Puts what is checked out among the releases, and says which it is."""
        commit = repository.commit_id(work)
        # Keeps the merge commit from being tidied away, and lets people look at it.
        repository.push(work, None, to=f"refs/releases/{commit}")
        release = {"commit": commit, "version": repository.version(work), "remark": remark}
        folder = self.release_folder(commit)
        if not folder.exists():
            scratch = folder.with_name(f".{folder.name}.{os.getpid()}")
            repository.git(work, "checkout-index", "--all", f"--prefix={scratch}/")
            files.write_json(scratch / "release.json", release)
            scratch.rename(folder)
        return release

    def release_folder(self, commit):
        return self.folder / "releases" / commit[:12]

    def switch(self, release, previous):
        """Makes a release the current one. Doing it twice is doing it once."""
        files.write_json(self.folder / "state.json", {"current": release, "previous": previous})
        link = self.folder / f".current.{os.getpid()}"
        link.unlink(missing_ok=True)
        link.symlink_to(Path("releases") / release["commit"][:12])
        link.replace(self.folder / "current")

    def tidy(self):
        """Removes old releases, never the current one or the one before."""
        state = self.state()
        keep = {entry["commit"][:12] for entry in state.values() if entry}
        old = sorted((self.folder / "releases").iterdir(), key=lambda path: path.stat().st_mtime)
        for folder in [path for path in old if path.name not in keep][:-KEPT_RELEASES]:
            shutil.rmtree(folder, ignore_errors=True)

    # The process.

    def restart(self):
        """Stops what runs and starts the current release; returns milliseconds without service."""
        began = time.monotonic()
        self.stop()
        for _ in range(START_TRIES):
            if is_taken(self.port):
                self.move()
            if self.start(began) or not is_taken(self.port):
                break  # the check that follows says what is wrong
        return round((time.monotonic() - began) * 1000)

    def move(self):
        """Takes another port: somebody else has come to the usual one."""
        self.port = port_of(self.name, instead_of=self.port)
        self.url = f"http://127.0.0.1:{self.port}"

    def start(self, began):
        """Starts the current release; False if it ended at once."""
        said = self.folder / "service.log"
        if said.exists() and said.stat().st_size > MAX_LOG_BYTES:
            said.replace(said.with_suffix(".log.1"))
        with open(said, "ab") as output:
            # A session of its own: the service outlives this agent and whoever started it.
            service = subprocess.Popen(
                [sys.executable, str(files.SHOP / "agents" / "infrastructure"), "serve", self.name],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                cwd=self.folder, env={**bare_environment(), "SHOP_HOME": str(files.home())},
            )
        commit = self.state()["current"]["commit"]
        settings = repository.settings(self.release_folder(commit))
        report = {}
        # Somebody else may answer, who took the port a moment ago; then ours is about to end.
        while report.get("commit") != commit and service.poll() is None and time.monotonic() - began < START_SECONDS:
            time.sleep(0.02)
            _, report = probe.get(self.url + settings["health"])
        return service.poll() is None

    def become(self):
        """Turns this process into the service: takes the lock, notes the number, runs the program."""
        with files.locked(self.folder / "service.lock", wait=False) as lock:
            lock.truncate(0)
            lock.write(str(os.getpid()).encode())
            lock.flush()
            os.set_inheritable(lock.fileno(), True)
            release = (self.folder / "current").resolve()
            start = repository.settings(release)["start"]
            os.chdir(release)
            environment = {**bare_environment(), "SHOP_ENV": self.name, "SHOP_PORT": str(self.port)}
            os.execvpe(start[0], start, environment)

    def pid(self):
        """Number of the running service, or None. While the lock is held, the number in it is right."""
        try:
            with files.locked(self.folder / "service.lock", wait=False):
                return None
        except BlockingIOError:
            text = (self.folder / "service.lock").read_text()
            return int(text) if text.isdigit() else None

    def is_running(self):
        try:
            with files.locked(self.folder / "service.lock", wait=False):
                return False
        except BlockingIOError:
            return True

    def stop(self):
        """Ends the service, if one runs."""
        end = time.monotonic() + STOP_SECONDS
        sign = signal.SIGTERM
        while self.is_running():
            pid = self.pid()
            if time.monotonic() > end:
                sign = signal.SIGKILL
            if time.monotonic() > end + STOP_SECONDS:
                raise Failure("stop", f"the service in {self.name} does not end")
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sign)
            time.sleep(0.02)

    def check(self, release):
        """How the current release feels: its own report, and the share of bad answers."""
        settings = repository.settings(self.release_folder(release["commit"]))
        seconds = min(float(settings.get("health_seconds", 5)), 60)
        healthy, health = probe.wait_healthy(self.url + settings["health"], release["commit"], seconds)
        rate, failures = probe.error_rate(self.url, settings["probes"], REQUESTS)
        return {"healthy": healthy, "health": health, "error_rate": rate, "requests": REQUESTS,
                "failures": failures}


def bare_environment():
    """What a service sees of this machine."""
    return {"PATH": os.environ.get("PATH", os.defpath), "PYTHONDONTWRITEBYTECODE": "1", "LANG": "C.UTF-8"}


def port_of(name, instead_of=None):
    """The slot's port: the usual one, or another where that is taken. It stays the same until somebody
    else has it when a service is to be started."""
    path = files.home() / "ports.json"
    with files.locked(path.with_suffix(".lock")):
        ports = files.read_json(path, {})
        if ports.get(name) in (None, instead_of):
            ports[name] = free_port(ENVIRONMENTS[name])
            files.write_json(path, ports)
            log(f"{name} is http://127.0.0.1:{ports[name]}")
        return ports[name]


def free_port(wanted):
    """The wanted port if nobody listens there, else any."""
    port = bound(wanted) or bound(0)
    if port is None:
        raise Failure("port", "there is no free port")
    return port


def is_taken(port):
    """Whether somebody listens there."""
    return bound(port) is None


def bound(port):
    """The number of a port that could be bound; 0 stands for any."""
    with socket.socket() as probe_socket:
        probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe_socket.bind(("127.0.0.1", port))
            return probe_socket.getsockname()[1]
        except OSError:
            return None


def all_slots():
    """Every slot that was used."""
    return [Slot(name) for name in ENVIRONMENTS if (files.home() / "slots" / name).exists()]
