#!/usr/bin/env python3
"""table.py DIRECTORY COLUMN...: what the witness saw of each roll, side by side; fails where rollgate misses a limit."""

import json
import os
import pathlib
import sys

NAMES = {
    "ansible": "ansible-playbook",
    "rollgate-next": "rollgate",
    "rollgate-any": "rollgate, random clients",
}


def seen(directory, column):
    report = json.loads((directory / f"{column}.json").read_text())
    publisher, requests, clients = report["publisher"], report["requests"], report["clients"]
    return {
        "whole roll, s": int((directory / f"{column}.ms").read_text()) / 1000,
        "not ready in sum, s": sum(server["not_ready_ms"] for server in report["servers"]) / 1000,
        "most not ready at once": report["most_not_ready_at_once"],
        "publishes failed for good": publisher["failed"],
        "publishes lost": 0 if publisher["verified"] else publisher["problem"],
        "publish attempts repeated": publisher["attempts_failed"],
        "longest without a publish, ms": publisher["worst_gap_ms"],
        "requests failed for good": requests["failed"],
        "request attempts repeated": requests["attempts_failed"],
        "longest without an answer, ms": requests["worst_gap_ms"],
        "client disconnects": clients["disconnects"],
        "clients cut more than once in a turn": clients["more_than_once_in_a_turn"],
        "clients connected at the end": f"{clients['connected_at_end']}/{clients['opened']}",
        "restarts": sum(server["restarts"] for server in report["servers"]),
    }


LIMITS = {
    "whole roll, s": 15,
    "not ready in sum, s": 4,
    "most not ready at once": 1,
    "publishes failed for good": 0,
    "publishes lost": 0,
    "requests failed for good": 0,
    "clients cut more than once in a turn": 0,
}


def main():
    directory, columns = pathlib.Path(sys.argv[1]), sys.argv[2:]
    table = {column: seen(directory, column) for column in columns}
    widths = [max(len(NAMES[column]), 8) + 2 for column in columns]
    cores, busy = os.cpu_count(), os.getloadavg()[1]
    print(f"three servers, 40 clients each, lame duck by default, looks every 20 ms; {cores} cores, load {busy:.1f}")
    print(f"{'':38}" + "".join(NAMES[c].rjust(w) for c, w in zip(columns, widths)) + "   limit")
    missed = []
    for row in next(iter(table.values())):
        cells = [table[column][row] for column in columns]
        words = [f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in cells]
        limit = LIMITS.get(row)
        print(f"{row:38}" + "".join(x.rjust(w) for x, w in zip(words, widths)) + (f"   {limit}" if limit is not None else ""))
        # Random clients come back to where they were: for them the last limit is out of anybody's reach.
        value = table["rollgate-next"][row]
        if limit is not None and (not isinstance(value, (int, float)) or value > limit):
            missed.append(row)
    for row in missed:
        print(f"missed: {row}", file=sys.stderr)
    return 1 if missed else 0


sys.exit(main())
