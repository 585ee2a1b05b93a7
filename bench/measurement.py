"""One run: every layer's contenders, checked, then timed in turns, and the result file."""

import datetime
import hashlib
import json
import math
import os
import random
import shutil
import statistics
import subprocess
import time

import baseline as baselines
from budget import Budget
from contender_process import ContenderProcess, Failure
from journal import Journal
from processors import cache_sizes, distinct_cores, stolen_seconds
from progress import say
from rival_commands import UsageError, chosen_rivals
from unstride_library import UnstrideLibrary

SOURCE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

SLOW_CALL_NS = 0.25e9  # warm calls beyond this are timed once a round
SHORT_CALL_NS = 1e6  # calls of less have two speeds, by where the system places threads that it wakes
SHORT_CALL_ROUNDS = 4  # times as many rounds of them
BUSY_LOAD = 0.5  # average length of the run queue
STEADY_SHARE = 0.9  # of its multiply-adds a steady clock keeps
LEAST_FAR_BYTES = 128 << 20  # that are beyond all caches
LEAST_FLUSH_BYTES = 32 << 20  # that are read to empty the caches
MOST_FAR_BYTES = 1 << 30
LEAST_ROUNDS = 3  # that a budget leaves
SETTLING_MS = 25.0  # of calls before samples, in which the system gives each woken thread a processor of its own
DISTURBED_SHARE = 0.05  # of the processors' time that the host took away in a round
SEED = 1

KEPT_FACTS = (
    "build_s",
    "start_s",
    "load_s",
    "first_call_ns",
    "process_start_bytes",
    "process_peak_bytes",
    "library_bytes",
    "static_bytes",
    "shipped_bytes",
)


def public_path(file):
    """A file of the repository by its path there, another by its name alone."""
    path = os.path.relpath(os.path.abspath(file), SOURCE)
    return os.path.basename(file) if path.startswith(os.pardir) else path


class Contender:
    """One variant and form of one rival on one layer, and what came of it."""

    def __init__(self, rival, command, variant="", form=0, form_name="", twin=False):
        self.rival, self.command, self.variant, self.form, self.twin = rival, command, variant, form, twin
        parts = [rival, variant, f"({form_name})" if form_name else "", "again" if twin else ""]
        self.name = " ".join(part for part in parts if part)
        self.process, self.failure = None, None
        self.facts, self.rounds, self.cold, self.correct = {}, [], [], None
        self.slow = False  # a warm call takes so long that one a round is enough

    def close(self):
        if self.process:
            self.process.close()
            self.process = None

    def fail(self, failure):
        self.failure = failure
        self.close()


class Measurement:
    """All that one run shares."""

    def __init__(self, options):
        self.options = options
        self.folder = os.path.abspath(options.out)
        self.work = os.path.join(self.folder, "work")
        os.makedirs(self.work, exist_ok=True)
        self.rivals = chosen_rivals(options)
        self.support = self.start_support("support")
        self.machine = self.ask({"command": "machine"})
        load = self.machine["source"].get("load", 0)
        if load > BUSY_LOAD:
            say(f"other programs are running (load {load:.1f}); times will scatter, those of threads most")
        self.processors = distinct_cores(os.sched_getaffinity(0))
        self.baseline = None
        if options.check:
            self.baseline = baselines.read_for(self.machine["source"]["machine"], options.check)
        self.threads = options.threads or baselines.threads_of(self.baseline)
        if max(self.threads) > len(self.processors):
            raise UsageError(f"--threads: this process may use {len(self.processors)} processors only")
        self.random = random.Random(SEED)
        self.caches = cache_sizes()
        self.identities, self.left_out, self.progressed = {}, [], False
        self.probes, self.stolen = [], []  # of each round of the layer at hand
        self.commit = commit_of_source()
        self.journal = Journal(os.path.join(self.folder, "rows.jsonl"), self.protocol(), options.resume)
        self.budget = Budget(options.budget)

    def protocol(self):
        """What all layers of a run have in common, also where it is continued."""
        source = self.machine["source"]
        return {
            "machine": source["machine"],
            "tool": source["tool"],
            "commit": self.commit,
            "changes": changes_of_source() if self.commit.endswith("-dirty") else "",
            "contenders": sorted(self.rivals),
            "versions": self.versions(),
            "rounds": self.options.rounds,
            "samples": self.options.samples,
            "min_ms": self.options.min_ms,
        }

    def versions(self):
        """Of each rival, or why it has none; Unstride's is the commit's."""
        versions = {}
        for rival in sorted(self.rivals.keys() - {"unstride"}):
            identity = self.identity(rival, self.rivals[rival])
            versions[rival] = identity.detail if isinstance(identity, Failure) else identity.get("version")
        return versions

    @property
    def rows(self):
        return [row for entry in self.journal.entries for row in entry["rows"]]

    def start_support(self, name, processors=None):
        program = os.path.join(self.options.programs, "unstride_bench_support")
        if not os.access(program, os.X_OK):
            raise UsageError(f"{program} is missing; build the target unstride_bench_rivals")
        return ContenderProcess([program], os.path.join(self.work, f"{name}.log"), processors)

    def ask(self, message):
        return self.support.request(message, 3600)

    def chosen_layers(self):
        """(file, layer), each text once."""
        chosen, seen = [], set()
        for file in self.options.layers:
            for layer in self.ask({"command": "layers", "file": file})["layers"]:
                if self.options.layer and layer["name"] not in self.options.layer:
                    continue
                if not layer["fixed"]:
                    say(f"{layer['name']} has sizes known at run time only and is left out")
                elif layer["text"] not in seen:
                    seen.add(layer["text"])
                    chosen.append((file, layer))
        return chosen

    def run(self, only=None):
        """Measures every layer at every thread count, or those of `only`, (text, threads) each."""
        done = {(entry["text"], entry["threads"]) for entry in self.journal.entries}
        work = [
            (
                file,
                layer["name"],
                [
                    count
                    for count in self.threads
                    if (layer["text"], count) not in done and (only is None or (layer["text"], count) in only)
                ],
            )
            for file, layer in self.chosen_layers()
        ]
        remaining = sum(len(counts) for _, _, counts in work)
        if done:
            say(f"{len(done)} are finished, {remaining} to go")
        for file, name, counts in work:
            if counts and self.must_stop():
                self.left_out += [f"{name}, {count} thread(s)" for count in counts]
            elif counts:
                self.measure_layer(file, name, counts, remaining)
            remaining -= len(counts)
        if self.left_out:
            say(f"left out for lack of time, --resume continues: {'; '.join(self.left_out)}")
        if not self.rows:
            raise UsageError("no layer of fixed sizes was found")
        self.write_results()

    def must_stop(self):
        """A run gets one step further whatever its budget, so that the next may continue there."""
        return self.progressed and self.budget.spent()

    def measure_layer(self, file, name, counts, remaining):
        folder = os.path.join(self.work, os.path.splitext(os.path.basename(file))[0])
        os.makedirs(folder, exist_ok=True)
        problem = self.ask({"command": "prepare", "file": file, "layer": name, "folder": folder})
        library = self.library_of(file, problem, folder)
        for number, threads in enumerate(counts):
            if self.must_stop():
                self.left_out.append(f"{name}, {threads} thread(s)")
                continue
            say(f"{name}, {threads} thread(s)")
            self.progressed = True
            until = self.budget.share(remaining - number)
            contenders = self.contenders_of(problem, library)
            self.probes, self.stolen = [], []
            try:
                for contender in contenders:
                    self.prepare(contender, problem, threads)
                self.sample_rounds(contenders, threads, until)
                self.keep(contenders, problem, file, threads)
            finally:
                for contender in contenders:
                    contender.close()
        shutil.rmtree(folder, ignore_errors=True)

    def library_of(self, file, problem, folder):
        """Unstride's library of the layer, the Failure to build it, or None where it is not measured."""
        if "unstride" not in self.rivals:
            return None
        compiler = os.path.join(self.options.programs, "unstride")
        try:
            library = UnstrideLibrary(compiler, file, problem["name"], self.machine["target"], folder)
        except Failure as failure:
            return failure
        schedule = library.schedule(self.machine["instruction_set"])
        if schedule:
            message = {"command": "products", "file": file, "layer": problem["name"], "schedule": schedule}
            problem.update(products=self.ask(message)["products"], family=schedule["family"])
        return library

    def identity(self, rival, command):
        """What a rival says of itself, asked once; a Failure if it cannot."""
        if rival not in self.identities:
            try:
                process = ContenderProcess(command, os.path.join(self.work, f"{rival}.log"))
                try:
                    self.identities[rival] = process.request({"command": "describe"}, self.options.timeout)
                finally:
                    process.close()
            except Failure as failure:
                self.identities[rival] = failure
        return self.identities[rival]

    def contenders_of(self, problem, library):
        contenders = []
        for rival, command in self.rivals.items():
            if rival == "unstride":
                contenders += self.own_contenders(command, library)
                continue
            identity = self.identity(rival, command)
            if isinstance(identity, Failure):
                contenders.append(Contender(rival, command))
                contenders[-1].failure = identity
                continue
            contenders += [
                Contender(rival, command, variant, number, form["name"])
                for variant in identity["variants"]
                for number, form in enumerate(problem["forms"])
            ]
        return contenders

    @staticmethod
    def own_contenders(command, library):
        """Unstride in the layer's own form, twice: how far both differ is noise."""
        if isinstance(library, Failure):
            failed = Contender("unstride", command)
            failed.failure = library
            return [failed]
        own = [Contender("unstride", [*command, library.shared], twin=twin) for twin in (False, True)]
        for contender in own:
            contender.facts.update(build_s=library.build_s, static_bytes=library.static_bytes)
        return own

    def prepare(self, contender, problem, threads):
        """Starts, loads, runs once, checks; leaves the process stopped."""
        if contender.failure:
            return
        try:
            self.start(contender, threads)
            self.first_call(contender, problem, threads)
            contender.process.stop()
            output = os.path.join(self.work, "output")
            checked = self.ask({"command": "check", "problem": problem["path"], "output": output})
            os.remove(output)
            if "wrong" in checked:
                raise Failure("wrong_answer", checked["wrong"])
            contender.correct = checked["max_relative"]
        except Failure as failure:
            contender.fail(failure)

    def start(self, contender, threads):
        environment = {
            name: str(threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "DPCPP_CPU_NUM_CUS")
        }
        start = time.monotonic()
        log = os.path.join(self.work, f"{contender.rival}.log")
        contender.process = ContenderProcess(contender.command, log, self.processors[:threads], environment)
        identity = contender.process.request({"command": "describe"}, self.options.timeout)
        contender.facts.update(
            start_s=time.monotonic() - start,
            process_start_bytes=contender.process.peak_bytes(),
            version=identity["version"],
            library=identity.get("library"),
            library_bytes=identity.get("library_bytes"),
        )

    def first_call(self, contender, problem, threads):
        process, facts, seconds = contender.process, contender.facts, self.options.timeout
        message = {"command": "load", "problem": problem["path"], "form": contender.form}
        reply = process.request({**message, "variant": contender.variant, "threads": threads}, seconds)
        if "unsupported" in reply:
            raise Failure("constraint", f"unsupported: {reply['unsupported']}")
        facts.update(implementation=reply["implementation"], load_s=reply["load_seconds"])
        output = os.path.join(self.work, "output")
        reply = process.request({"command": "run_once", "output": output}, seconds)
        facts.update(first_call_ns=reply["first_call_ns"], process_peak_bytes=process.peak_bytes())
        if facts["library"]:
            facts["shipped_bytes"] = process.shipped_bytes(facts["library"])
        contender.slow = facts["first_call_ns"] > SLOW_CALL_NS and self.warm_call(process) > SLOW_CALL_NS

    def warm_call(self, process):
        """Nanoseconds of a call after the first, which also touches new memory and sets up what is left to it."""
        message = {"command": "sample", "min_ms": 0.0, "warm_ms": 0.0, "count": 1}
        return process.request(message, self.options.timeout)["ns"][0]

    def sample_rounds(self, contenders, threads, until):
        """As many rounds as are asked for, and more where calls are short; those in which the host took
        processors away are made again, at most once each, and then the least disturbed ones are kept, the
        same of all contenders."""
        probe = self.start_support("probe", self.processors[:threads])
        wanted = self.options.rounds
        try:
            probe.stop()
            while len(self.stolen) < 2 * wanted:
                if sum(share <= DISTURBED_SHARE for share in self.stolen) >= wanted:
                    break
                if len(self.stolen) >= LEAST_ROUNDS and not self.budget.before(until):
                    break
                alive = [contender for contender in contenders if contender.process]
                if not alive:
                    break
                self.stolen.append(self.sample_round(alive, probe, threads))
                if len(self.stolen) == 1 and self.has_short_calls(alive):
                    wanted *= SHORT_CALL_ROUNDS
        finally:
            probe.close()
        quietest = sorted(sorted(range(len(self.stolen)), key=self.stolen.__getitem__)[:wanted])
        for contender in contenders:
            if contender.process:
                contender.rounds = [contender.rounds[number] for number in quietest]

    @staticmethod
    def has_short_calls(contenders):
        """Whether the first round was of short calls of any contender."""
        rounds = [contender.rounds[0] for contender in contenders if contender.process]
        return any(statistics.median(samples) < SHORT_CALL_NS for samples in rounds)

    def sample_round(self, contenders, probe, threads):
        """Answers which share of the processors' time the host took away meanwhile."""
        processors = self.processors[:threads]
        begin, stolen = time.monotonic(), stolen_seconds(processors)
        turns = [*contenders, None]
        self.random.shuffle(turns)
        for contender in turns:
            if contender is None:
                self.probe(probe, threads)
            else:
                self.sample(contender)
        return (stolen_seconds(processors) - stolen) / (threads * (time.monotonic() - begin))

    def probe(self, process, threads):
        process.resume()
        # Half of what a level holds; beyond all of them, but not beyond a machine's means.
        levels = {"memory": self.beyond_caches(LEAST_FAR_BYTES)}
        for level, size in self.caches.items():
            levels[level] = size // 2 * (threads if level == "L2" else 1)
        message = {"command": "probe", "instruction_set": self.machine["instruction_set"], "threads": threads}
        self.probes.append(process.request({**message, "levels": levels}, self.options.timeout))
        process.stop()

    def beyond_caches(self, least):
        return min(max(2 * max(self.caches.values(), default=0), least), MOST_FAR_BYTES)

    def sample(self, contender):
        message = {
            "command": "sample",
            "min_ms": self.options.min_ms,
            "warm_ms": 0.0 if contender.slow else max(3 * self.options.min_ms, SETTLING_MS),
            "count": 1 if contender.slow else self.options.samples,
        }
        try:
            contender.process.resume()
            contender.rounds.append(contender.process.request(message, self.options.timeout)["ns"])
            if not contender.slow or not contender.cold:  # beside so long a call caches do not matter
                message = {
                    "command": "cold",
                    "count": 1,
                    "flush_bytes": self.beyond_caches(LEAST_FLUSH_BYTES),
                }
                contender.cold += contender.process.request(message, self.options.timeout)["ns"]
            contender.process.stop()
        except Failure as failure:
            contender.fail(failure)

    def keep(self, contenders, problem, file, threads):
        shared = {
            "source": 0,
            "layer": problem["name"],
            "file": public_path(file),
            "text": problem["text"],
            "input_shape": problem["input_shape"],
            "instruction_set": self.machine["instruction_set"],
            "threads": threads,
            "multiplications": problem["multiplications"],
            "compulsory_bytes": problem["compulsory_bytes"],
            "static": {},
        }
        rows, estimates = [], {}
        for contender in contenders:
            row = self.row(contender, shared, file)
            if contender.rival == "unstride":
                row.update({key: problem[key] for key in ("products", "family") if key in problem})
            if row["status"] == "ok":
                estimates[contender.name] = row["est_ns"]
            if not contender.twin:
                rows.append(row)
        entry = {"text": problem["text"], "threads": threads, "rows": rows, "probes": self.probes}
        entry["stolen"] = self.stolen
        if "unstride" in estimates and "unstride again" in estimates:
            entry["noise"] = abs(math.log(estimates["unstride again"] / estimates["unstride"]))
        self.journal.append(entry)
        self.write_results()

    def row(self, contender, shared, file):
        facts = contender.facts
        identity = {
            "name": contender.name,
            "version": facts.get("version", ""),
            "implementation": facts.get("implementation", ""),
        }
        row = {
            **shared,
            "rival": contender.rival,
            "contender": {key: text for key, text in identity.items() if text},
            "reproduce": f"scripts/bench.sh --layers {public_path(file)} --layer {shared['layer']} "
            f"--rivals {contender.rival} --threads {shared['threads']}",
        }
        for key in KEPT_FACTS:
            if facts.get(key) is not None:
                row[key] = facts[key]
        if "load_s" in facts:  # what turns a layer into code: built before, or made while loading
            row["compile_s"] = facts.get("build_s", facts["load_s"])
        if contender.correct is not None:
            row["correct"] = {
                "reference": "double precision",
                "shapes": 1,
                "max_relative": contender.correct,
                "max_ulp": 0,
            }
        if contender.failure:
            return {**row, "status": contender.failure.status, "detail": contender.failure.detail}
        return {
            **row,
            "status": "ok",
            "samples_ns": contender.rounds,
            "cold_ns": statistics.median(contender.cold),
            **self.ask({"command": "estimate", "rounds": contender.rounds}),
        }

    def source(self):
        options = self.options
        source = {
            **self.machine["source"],
            "peaks": [],
            "bandwidths": [],
            "caches": self.caches,
            "when": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "command": "scripts/bench.sh --threads "
            + ",".join(map(str, self.threads))
            + (" --scaling" if options.scaling else "")
            + (" --quick" if options.quick else ""),
            "protocol": {
                "rounds": options.rounds,
                "rounds_of_short_calls": options.rounds * SHORT_CALL_ROUNDS,
                "samples_per_round": options.samples,
                "sample_s": options.min_ms * 1e-3,
                "interleaved": True,
                "cold": False,
                "seed": SEED,
            },
        }
        if self.commit:
            source["commit"] = self.commit
        if self.left_out:
            source["left_out"] = self.left_out
        probes = {}
        for entry in self.journal.entries:
            probes.setdefault(entry["threads"], []).extend(entry["probes"])
        unsteady = [
            text for threads in sorted(probes) for text in self.add_limits(source, threads, probes[threads])
        ]
        if unsteady:
            source["unsteady"] = "; ".join(unsteady)
        stolen = [share for entry in self.journal.entries for share in entry.get("stolen", [])]
        if stolen:
            source["stolen"] = {
                "rounds": len(stolen),
                "disturbed": sum(share > DISTURBED_SHARE for share in stolen),
                "mean": statistics.fmean(stolen),
            }
        noise = [entry["noise"] for entry in self.journal.entries if "noise" in entry]
        if noise:
            source["noise_floor"] = statistics.median(noise)
        return source

    def add_limits(self, source, threads, probes):
        """The best of all probes, for other programs only ever take away; says if that was rarely reached."""
        if not probes:
            return []
        flops = [probe["flops"] for probe in probes]
        source["peaks"].append(
            {"instruction_set": self.machine["instruction_set"], "threads": threads, "flops": max(flops)}
        )
        for level in sorted(probes[0]["bytes_per_s"]):
            rate = max(probe["bytes_per_s"][level] for probe in probes)
            source["bandwidths"].append({"level": level, "threads": threads, "bytes_per_s": rate})
        if statistics.median(flops) >= STEADY_SHARE * max(flops):
            return []
        return [
            f"with {threads} thread(s) half of the probes reached less than "
            f"{100 * STEADY_SHARE:.0f} % of the peak"
        ]

    def write_results(self):
        write_text(
            os.path.join(self.folder, "results.json"),
            json.dumps(
                {"schema": 1, "sources": [self.source()], "rows": self.rows, "searches": []}, indent=1
            ),
        )

    def close(self):
        self.support.close()


def commit_of_source():
    command = ["git", "-C", SOURCE, "describe", "--always", "--dirty", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def changes_of_source():
    """Tells trees apart that differ from the same commit."""
    command = ["git", "-C", SOURCE, "diff", "HEAD"]
    difference = subprocess.run(command, capture_output=True, check=False).stdout
    return hashlib.sha256(difference).hexdigest()[:12]


def write_text(path, text):
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(temporary, path)
