"""What a run says while it goes on, beside its results."""

import sys


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)
