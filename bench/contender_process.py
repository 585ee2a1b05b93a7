"""A program that answers JSON lines, in a process group of its own that can be stopped and continued."""

import ctypes
import json
import os
import select
import signal
import subprocess
import time


class Failure(Exception):
    """Why a contender has no time: a status of the result format, and the reason."""

    def __init__(self, status, detail):
        super().__init__(detail)
        self.status, self.detail = status, detail


def tail_of(path, most=300):
    """The last line of a log that says something."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
    except OSError:
        return ""
    return lines[-1][:most] if lines else ""


def package_of(library):
    """The folder whose files belong to a library: its package of a Python environment, or where it lies."""
    environment, packages, inside = library.rpartition("/site-packages/")
    return environment + packages + inside.split("/")[0] if packages else os.path.dirname(library)


def ships_with(file, library):
    """Whether a mapped file comes with a library; wheels put what they bring along into NAME.libs."""
    brought = "/site-packages/" in library and ".libs/" in file and "/numpy.libs/" not in file
    return file.startswith(package_of(library) + os.sep) or brought


LIBC = ctypes.CDLL(None)
PR_SET_PDEATHSIG = 1


def settle(processors):
    """In the new process: it ends when the driver does, however that ends, and keeps to its processors."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if processors:
        os.sched_setaffinity(0, processors)


class ContenderProcess:
    """Pinned to `processors` where these are given. What it prints to standard error goes to `log`."""

    def __init__(self, command, log, processors=None, environment=None):
        self.log = log
        with open(log, "wb") as errors:
            try:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    start_new_session=True,
                    env={**os.environ, **(environment or {})},
                    preexec_fn=lambda: settle(processors),
                )
            except OSError as error:
                raise Failure("run_crash", f"cannot be started: {error}") from error
        self.pending = b""

    def request(self, message, seconds):
        """The answer, or Failure: it ended, took too long, or said what is wrong."""
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except OSError:
            raise self._ended() from None
        deadline = time.monotonic() + seconds
        line = b""
        while not line.startswith(b"{"):  # frameworks print when they are loaded
            line = self._read_line(deadline, message["command"], seconds)
        try:
            reply = json.loads(line)
        except ValueError:
            raise Failure("run_crash", f"answered no JSON: {line[:80]!r}") from None
        if "error" in reply:
            raise Failure("generator_error", f"{message['command']}: {reply['error']}")
        return reply

    def _read_line(self, deadline, command, seconds):
        output = self.process.stdout.fileno()
        while b"\n" not in self.pending:
            ready, _, _ = select.select([output], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                self.close()
                raise Failure("run_timeout", f"{command} took longer than {seconds:g} s")
            piece = os.read(output, 1 << 16)
            if not piece:
                raise self._ended()
            self.pending += piece
        line, self.pending = self.pending.split(b"\n", 1)
        return line

    def _ended(self):
        code = self.process.wait()
        how = f"ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        said = tail_of(self.log)
        return Failure("run_crash", f"{how}: {said}" if said else how)

    def _signal(self, number):
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass

    def stop(self):
        """Keeps its threads, spinning ones too, off the processors; returns when all have stopped."""
        self._signal(signal.SIGSTOP)
        deadline = time.monotonic() + 1
        while self._has_running_threads() and time.monotonic() < deadline:
            time.sleep(1e-4)

    def _has_running_threads(self):
        folder = f"/proc/{self.process.pid}/task"
        try:
            for thread in os.listdir(folder):
                with open(f"{folder}/{thread}/stat", encoding="utf-8", errors="replace") as file:
                    if file.read().rsplit(")", 1)[1].split()[0] not in "TtZX":
                        return True
        except OSError:  # one has ended meanwhile
            return os.path.isdir(folder)
        return False

    def resume(self):
        self._signal(signal.SIGCONT)

    def peak_bytes(self):
        """The most memory that it ever held at once, or None."""
        try:
            with open(f"/proc/{self.process.pid}/status", encoding="ascii") as file:
                sizes = [line.split()[1] for line in file if line.startswith("VmHWM:")]
        except OSError:
            return None
        return int(sizes[0]) * 1024 if sizes else None

    def shipped_bytes(self, library):
        """The size of all files that it has mapped and that come with `library`, or None."""
        try:
            with open(f"/proc/{self.process.pid}/maps", encoding="utf-8", errors="replace") as file:
                mapped = {line.split(maxsplit=5)[5].rstrip("\n") for line in file if line.count("/") > 0}
        except OSError:
            return None
        return sum(
            os.path.getsize(path) for path in mapped if ships_with(path, library) and os.path.isfile(path)
        )

    def close(self):
        self._signal(signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            try:
                stream.close()
            except OSError:
                pass
