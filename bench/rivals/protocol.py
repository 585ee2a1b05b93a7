"""The side of the protocol that a contender written in Python shows to the driver; see docs/benchmarks.md.

Needs the standard library only. A contender is an object with

    name, version      of the framework
    variants           ways to compute a layer that are timed apart; [""] if there is one
    library            file whose size is reported, or None
    load(problem, form, variant, threads)
                       everything that a network does once; returns the name of the kernel, or "";
                       raises Unsupported
    run()              one call: what is timed; input and output stay where they are
    output()           the last result as bytes of float32, dense, in the layer's own layout
"""

import ctypes
import json
import mmap
import os
import sys
import time


class Unsupported(Exception):
    """A layer that a framework cannot compute; the text says why."""


def describe(rival):
    reply = {"name": rival.name, "version": rival.version, "variants": rival.variants}
    if rival.library and os.path.exists(rival.library):
        reply["library"] = os.path.realpath(rival.library)
        reply["library_bytes"] = os.path.getsize(rival.library)
    return reply


def load(rival, request):
    with open(request["problem"], encoding="utf-8") as file:
        problem = json.load(file)
    form = problem["forms"][request["form"]]
    start = time.perf_counter()
    try:
        implementation = rival.load(problem, form, request["variant"], request["threads"])
    except Unsupported as reason:
        return {"unsupported": str(reason)}
    return {"implementation": implementation or "", "load_seconds": time.perf_counter() - start}


def run_once(rival, request):
    start = time.perf_counter_ns()
    rival.run()
    first_call = time.perf_counter_ns() - start
    with open(request["output"], "wb") as file:
        file.write(rival.output())
    return {"first_call_ns": first_call}


def sample(run, least_ns):
    """As many calls in a row as take that long, at least one: nanoseconds of one, and how many."""
    clock = time.perf_counter_ns
    calls = 0
    start = clock()
    while True:
        run()
        calls += 1
        elapsed = clock() - start
        if elapsed >= least_ns:
            return elapsed / calls, calls


def samples(rival, request):
    sample(rival.run, request["warm_ms"] * 1e6)
    taken = [sample(rival.run, request["min_ms"] * 1e6) for _ in range(request["count"])]
    return {"ns": [ns for ns, _ in taken], "calls": [calls for _, calls in taken]}


LIBC = ctypes.CDLL(None)
LIBC.memchr.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]


def empty_caches(size):
    """Reads that many bytes on every processor that this process may use: some caches belong to one of them.

    Pages of its own: memory that malloc gives back changes how malloc serves a framework from then on.
    """
    with mmap.mmap(-1, size) as pages:
        pages.madvise(mmap.MADV_HUGEPAGE)  # or most of the time goes into faults
        bytes_of = (ctypes.c_char * size).from_buffer(pages)
        ctypes.memset(bytes_of, 1, size)  # unwritten, all pages are one
        allowed = os.sched_getaffinity(0)
        for processor in allowed:
            os.sched_setaffinity(0, {processor})
            LIBC.memchr(ctypes.addressof(bytes_of), 2, size)
        os.sched_setaffinity(0, allowed)
        del bytes_of


def cold_calls(rival, request):
    taken = []
    for _ in range(request["count"]):
        empty_caches(request["flush_bytes"])
        start = time.perf_counter_ns()
        rival.run()
        taken.append(time.perf_counter_ns() - start)
    return {"ns": taken}


def answer(rival, request):
    command = request["command"]
    if command == "describe":
        return describe(rival)
    if command == "load":
        return load(rival, request)
    if command == "run_once":
        return run_once(rival, request)
    if command == "sample":
        return samples(rival, request)
    if command == "cold":
        return cold_calls(rival, request)
    return {"error": f"unknown command '{command}'"}


def serve(make_rival):
    """Answers until standard input ends. What frameworks print goes to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    rival = make_rival()
    for line in sys.stdin:
        try:
            reply = answer(rival, json.loads(line))
        except Exception as error:  # whatever a framework throws is a row of the result
            text = " ".join(str(error).split())
            reply = {"error": f"{type(error).__name__}: {text}"[:400]}
        out.write(json.dumps(reply) + "\n")
        out.flush()
