"""Settings of the environment the shop runs in: config/<environment>.json."""

import json
import os
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "config"
REQUIRED = ("currency", "contact", "tax_per_cent")


def environment():
    """staging or production; staging where nobody says."""
    return os.environ.get("SHOP_ENV", "staging")


def load():
    """The settings of this environment."""
    return json.loads((FOLDER / f"{environment()}.json").read_text())


def missing():
    """Required settings that this environment does not have."""
    settings = load()
    return [name for name in REQUIRED if name not in settings]
