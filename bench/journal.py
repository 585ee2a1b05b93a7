"""Finished layers of a run, a JSON line each as soon as there is one: a run that ends early loses none.

The first line holds what all lines of a run have in common; a run that has not the same cannot continue it.
"""

import json
import os


class JournalError(Exception):
    """A journal that cannot be continued; the text says what to do."""


def finished_lines(path):
    """The lines that were written to the end."""
    with open(path, "rb") as file:
        return [json.loads(line) for line in file if line.endswith(b"\n")]


def differences(before, now, of=""):
    """What two runs do not have in common, in words; of a table only the entries that differ."""
    texts = []
    for key in {**before, **now}:
        was, is_now = before.get(key), now.get(key)
        if isinstance(was, dict) and isinstance(is_now, dict):
            texts += differences(was, is_now, f"{of}{key} of ")
        elif was != is_now:
            texts.append(f"{of}{key} was {was} and is {is_now}")
    return texts


class Journal:
    """`entries` holds the finished layers of the run that is continued."""

    def __init__(self, path, identity, resume):
        self.path, self.entries = path, []
        if os.path.exists(path):
            if resume:
                self.entries = self._entries_of(identity)
            else:
                os.replace(path, f"{path}.previous")
        with open(f"{path}.new", "w", encoding="utf-8") as file:
            for line in ({"run": identity}, *self.entries):
                file.write(json.dumps(line) + "\n")
        os.replace(f"{path}.new", path)

    def _entries_of(self, identity):
        try:
            lines = finished_lines(self.path)
            before = lines[0]["run"] if lines else identity
        except (ValueError, KeyError, TypeError):
            raise JournalError(f"{self.path} is no journal of a run; remove it") from None
        if changed := differences(before, identity):
            raise JournalError(
                f"{self.path} cannot be continued: {', '.join(changed)}; start anew without --resume, or "
                "choose another --out"
            )
        return lines[1:]

    def append(self, entry):
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.entries.append(entry)
