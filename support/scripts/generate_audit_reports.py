#!/usr/bin/env python3
"""Writes audit reports of workflow runs, for schedules that know this path.

Everything is done by `sluice audit`; this finds the program and hands the arguments on. It needs
nothing but Python's standard library, and the gateway that SLUICE_URL names.

Exit codes: 0 everything was written and is as it was recorded; 1 a report failed, a record was
tampered with, there is no such run, or nothing answers; 2 wrong arguments, or no sluice program.
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

FORMATS = ("pdf", "json", "csv")
ROOT = Path(__file__).resolve().parents[2]
USAGE = 2


def days(text):
    """A whole number of days that the program takes."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no whole number") from None
    if not 1 <= number <= 36_500:
        raise argparse.ArgumentTypeError(f"{number} is not in 1..36500")
    return number


def arguments(argv):
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description="Write audit reports of workflow runs, each with its verdict."
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--days", type=days, metavar="N", help="runs that ended in the last N days [7]")
    which.add_argument("--workflow-id", metavar="ID", help="one run, whether or not it has ended")
    parser.add_argument("--output-dir", metavar="DIR", help="folder of the files [workflow-audits]")
    parser.add_argument("--format", metavar="FORMATS", help="pdf, json, csv, or several with commas between")
    parser.add_argument("--archive", action="store_true", help="archive events of runs that ended 90 days ago")
    parser.add_argument("--archive-days", type=days, metavar="N", help="how long ago instead")
    parser.add_argument("--compress", action="store_true", help="write archived events into gzip files")
    asked = parser.parse_args(argv)
    unknown = [name for name in (asked.format or "").split(",") if name and name not in FORMATS]
    if unknown:
        parser.error(f"no format '{unknown[0]}'; expected {', '.join(FORMATS)}")
    if asked.archive_days is not None and not asked.archive:
        parser.error("--archive-days goes with --archive")
    return asked


def program():
    """Path of sluice: SLUICE_BIN, else on the PATH, else what was built here."""
    named = os.environ.get("SLUICE_BIN")
    if named:
        return shutil.which(named)
    built = (ROOT / "target" / kind / "sluice" for kind in ("release", "debug"))
    candidates = ["sluice", *map(str, built)]
    return next(filter(None, map(shutil.which, candidates)), None)


def command(sluice, asked):
    """The command line, one element an argument: no shell ever reads it."""
    line = [sluice, "audit"]
    options = {
        "--days": asked.days,
        "--workflow-id": asked.workflow_id,
        "--output-dir": asked.output_dir,
        "--format": asked.format,
        "--archive-days": asked.archive_days,
    }
    # Joined, so that a value which begins with a dash is still a value.
    line += [f"{name}={value}" for name, value in options.items() if value is not None]
    line += [f"--{name}" for name in ("archive", "compress") if getattr(asked, name)]
    return line


def main(argv):
    """Runs it and gives the exit code."""
    asked = arguments(argv)
    sluice = program()
    if sluice is None:
        print("error: there is no sluice program; build it, put it on the PATH or set SLUICE_BIN", file=sys.stderr)
        return USAGE
    try:
        code = subprocess.run(command(sluice, asked), check=False).returncode
    except OSError as error:
        print(f"error: {sluice} cannot be run: {error}", file=sys.stderr)
        return USAGE
    # That nothing answers, and that it was killed, are failures like others to a schedule.
    return code if code in (0, USAGE) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
