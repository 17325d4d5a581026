"""How these agents talk to Sluice: the step command as JSON on standard input, one JSON object on
standard output, the log on standard error.

An agent is a table of actions. `payload.action` chooses one; it gets a `Step` and returns a dict, or
raises `Failure`.
"""

import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass

from lib import files

MAX_COMMAND_BYTES = 8 * 1024 * 1024
# Answers are kept for as long as anybody could ask again.
KEEP_SECONDS = 14 * 24 * 3600


class Failure(Exception):
    """The step failed. `code` is for programs, the message for people."""

    def __init__(self, code, message, retryable=False):
        super().__init__(message)
        self.code, self.message, self.retryable = code, message, retryable


@dataclass
class Step:
    """What the agent was asked for."""

    key: str  # the same for every attempt of one visit
    workflow: str
    payload: dict
    context: dict

    def get(self, name, default=None):
        """A value of the payload; null counts as not there."""
        value = self.payload.get(name)
        return default if value is None else value

    def text(self, name, default="", limit=2000):
        """A value as text on one line."""
        value = self.get(name, default)
        return one_line(value if isinstance(value, str) else json.dumps(value), limit)


def one_line(text, limit=2000):
    """Text without line breaks and other control characters, not too long."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:limit]


def log(message):
    """One line for whoever watches."""
    print(one_line(message), file=sys.stderr, flush=True)


def serve(agent, actions):
    """Reads the command, does what it says once for each idempotency key, writes the answer."""
    # Asked to stop, it tidies up on its way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        step = read(sys.stdin.buffer)
        action = step.get("action")
        if action not in actions:
            raise Failure("unknown_action", f"{agent} can {', '.join(actions)}, not {action!r}")
        print(json.dumps(once(agent, step, actions[action])))
    except Failure as failure:
        log(f"{failure.code}: {failure.message}")
        error = {"code": failure.code, "message": failure.message, "retryable": failure.retryable}
        print(json.dumps({"error": error}))
        sys.exit(1)


def read(stream):
    """The step command, as far as these agents need it."""
    data = stream.read(MAX_COMMAND_BYTES + 1)
    if len(data) > MAX_COMMAND_BYTES:
        raise Failure("bad_command", "the step command is too large")
    try:
        command = json.loads(data)
        key, workflow = command["idempotency_key"], command["workflow_id"]
        payload, context = command["payload"], command.get("context") or {}
        fits = isinstance(key, str) and isinstance(workflow, str)
        fits = fits and isinstance(payload, dict) and isinstance(context, dict)
    except (ValueError, KeyError, TypeError) as error:
        raise Failure("bad_command", f"this is no step command: {error!r}") from error
    if not fits:
        raise Failure("bad_command", "this is no step command: a field has the wrong type")
    return Step(key=key, workflow=workflow, payload=payload, context=context)


def once(agent, step, action):
    """The answer recorded for the key, else the action's own, which is recorded.

    Only successes are: a failed attempt comes again under the same key, and is meant to work then.
    Between doing and recording this process may die, so actions bear being done again.
    """
    folder = files.home() / "answers" / agent
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / (hashlib.sha256(step.key.encode()).hexdigest() + ".json")
    # Whoever asks while the first is at work waits for its answer.
    with files.locked(record.with_suffix(".lock")):
        if record.exists():
            log(f"done before under {step.key}")
            return json.loads(record.read_text())
        answer = action(step)
        files.write_json(record, answer)
    forget_old(folder)
    return answer


def forget_old(folder):
    """Removes answers that nobody asks for any more."""
    before = time.time() - KEEP_SECONDS
    for entry in os.scandir(folder):
        with contextlib.suppress(FileNotFoundError):  # another agent tidies up too
            if entry.stat().st_mtime < before:
                os.unlink(entry.path)
