"""Which release this is. Whoever deploys leaves release.json beside the code."""

import json
from pathlib import Path

FILE = Path(__file__).resolve().parent.parent / "release.json"


def read():
    """Version and commit, as far as they are known."""
    try:
        known = json.loads(FILE.read_text())
    except FileNotFoundError:
        known = {}
    return {"version": known.get("version", "unreleased"), "commit": known.get("commit")}
