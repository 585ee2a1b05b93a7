"""How long a run may take, shared out among what is still to be measured."""

import math
import re
import time

UNITS = {"s": 1, "m": 60, "h": 3600}


def seconds_of(text):
    """Of "90s", "30m" or "1.5h"; ValueError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if not match or float(match[1]) == 0:
        raise ValueError(text)
    return float(match[1]) * UNITS[match[2]]


class Budget:
    """`seconds` from now; None never ends."""

    def __init__(self, seconds, clock=time.monotonic):
        self.clock = clock
        self.end = math.inf if seconds is None else clock() + seconds

    def spent(self):
        return self.clock() >= self.end

    def share(self, parts):
        """The moment at which the next of so many equal parts has had its share."""
        now = self.clock()
        return now + max(self.end - now, 0) / max(parts, 1)

    def before(self, moment):
        return self.clock() < moment
