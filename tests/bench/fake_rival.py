"""A contender that only pretends: fake_rival.py HOW [FILE]. It knows the right numbers beforehand."""

import array
import os
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench", "rivals"))
from protocol import Unsupported, serve  # noqa: E402


class Fake:
    version, variants, library = "1", [""], None

    def __init__(self, how, file):
        self.name, self.how, self.file, self.calls = "fake " + how, how, file, 0

    def load(self, problem, form, variant, threads):
        if self.how == "unsupported":
            raise Unsupported("it never learned that")
        if self.how == "failing":
            raise ValueError("no such kernel")
        if self.how == "spinning":
            threading.Thread(target=self.spin, daemon=True).start()
        if self.how == "counting":
            self.note(time.monotonic_ns())
        expected = array.array("d")
        with open(problem["files"]["expected"], "rb") as file:
            expected.frombytes(file.read())
        self.result = array.array("f", expected)
        if self.how == "wrong":
            self.result[-1] += 1
        if self.how == "nan":
            self.result[len(self.result) // 2] = float("nan")
        if self.how == "short":
            self.result.pop()
        return "pretending"

    def spin(self):
        """Keeps a processor busy and writes down when it did."""
        while True:
            self.note(time.monotonic_ns())
            end = time.monotonic_ns() + 300_000
            while time.monotonic_ns() < end:
                pass

    def note(self, *numbers):
        with open(self.file, "a", encoding="ascii") as file:
            file.write(" ".join(map(str, numbers)) + "\n")

    def run(self):
        self.calls += 1
        if self.how == "crashing":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.how == "leaving":
            print("it had enough", file=sys.stderr)
            os._exit(3)
        if self.how == "hanging":
            time.sleep(600)
        if self.how == "crashing later" and self.calls > 1:
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.how == "wasteful":
            bytearray(b"\x01") * (64 << 20)
        start = time.monotonic_ns()
        time.sleep(0.0005)
        if self.how == "noting" and self.calls > 1:
            self.note(start, time.monotonic_ns())

    def output(self):
        return self.result.tobytes()


if __name__ == "__main__":
    print("libraries like to print")  # must not reach the driver
    serve(lambda: Fake(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
