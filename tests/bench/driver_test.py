"""The driver of scripts/bench.sh with contenders that pretend, and with two real ones.

driver_test.py PROGRAMS [UNITTEST ARGUMENT]...; PROGRAMS is the folder of the built programs.
"""

import glob
import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import types
import unittest
import unittest.mock
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.join(HERE, "..", "..", "bench")
sys.path[:0] = [BENCH, os.path.join(BENCH, "rivals")]
import baseline  # noqa: E402
import budget  # noqa: E402
import compare_rivals  # noqa: E402
import contender_process  # noqa: E402
import end_to_end  # noqa: E402
import html_page  # noqa: E402
import journal  # noqa: E402
import layer_text  # noqa: E402
import measurement  # noqa: E402
import processors  # noqa: E402
import protocol  # noqa: E402
import roof  # noqa: E402
import scaling  # noqa: E402
import summary  # noqa: E402

PROGRAMS = sys.argv.pop(1)


def fake(how, file=None):
    return shlex.join([sys.executable, os.path.join(HERE, "fake_rival.py"), how, *([file] if file else [])])


def state_of(process):
    """As /proc tells it; None for a process that is gone."""
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8") as file:
            return file.read().rsplit(")", 1)[1].split()[0]
    except OSError:
        return None


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.results = os.path.join(self.folder, "out", "results.json")
        self.journal = os.path.join(self.folder, "out", "rows.jsonl")

    def drive(self, *arguments, rivals=(), code=0, layer="up", threads="1", only=None):
        """Runs the driver on tiny.layers or `only`; its results, or what it said where it has none."""
        command = [
            sys.executable,
            os.path.join(BENCH, "compare_rivals.py"),
            "--programs",
            PROGRAMS,
            "--layers",
            only or os.path.join(HERE, "tiny.layers"),
            *(["--threads", threads] if threads else []),
            "--rounds",
            "2",
            "--samples",
            "2",
            "--min-ms",
            "0.1",
            "--out",
            os.path.join(self.folder, "out"),
            *arguments,
        ]
        if layer:
            command += ["--layer", layer]
        if rivals and "--rivals" not in arguments:
            command += ["--rivals", "naive"]  # always there, so that nothing is probed for
        for name, how in rivals:
            command += ["--rival", f"{name}={how}"]
        self.output = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
            env={**os.environ, "UNSTRIDE_CACHE_DIR": os.path.join(self.folder, "cache")},
        )
        self.assertEqual(self.output.returncode, code, self.output.stderr)
        if not os.path.exists(self.results):
            return self.output.stderr
        with open(self.results, encoding="utf-8") as file:
            return json.load(file)

    def rows(self, document):
        return {row["contender"]["name"]: row for row in document["rows"]}


class FakeRivals(Folder):
    def test_a_right_answer_is_timed(self):
        rows = self.rows(self.drive(rivals=[("fake", fake("right"))]))
        row = rows["fake"]
        self.assertEqual(row["status"], "ok")
        self.assertEqual([len(samples) for samples in row["samples_ns"]], [2] * 8)  # rounds of a short call
        self.assertGreater(row["est_ns"], 0.5e6)  # it sleeps that long
        self.assertEqual(row["contender"]["implementation"], "pretending")
        self.assertGreater(row["process_peak_bytes"], 1 << 20)
        self.assertGreater(row["process_peak_bytes"], row["process_start_bytes"])
        self.assertGreater(row["first_call_ns"], 0)
        self.assertGreater(row["cold_ns"], 0.5e6)
        self.assertGreater(row["start_s"], 0)
        self.assertEqual(row["compile_s"], row["load_s"])
        self.assertEqual(rows["naive"]["status"], "ok")
        self.assertEqual(rows["naive"]["shipped_bytes"], rows["naive"]["library_bytes"])

    def test_what_a_layer_needs_beyond_its_tensors_shows_in_memory(self):
        rows = self.rows(self.drive(rivals=[("lean", fake("right")), ("wasteful", fake("wasteful"))]))
        more = summary.layer_bytes(rows["wasteful"]) - summary.layer_bytes(rows["lean"])
        self.assertGreater(more, 48 << 20)  # it holds 64 MiB while it is called

    def test_a_run_that_ends_early_loses_no_layer(self):
        counter = os.path.join(self.folder, "loads")
        rivals = [("counting", fake("counting", counter))]
        self.drive(rivals=rivals, layer="up")
        with open(self.results, encoding="utf-8") as file:
            before = json.load(file)["rows"]
        with open(self.journal, "a", encoding="utf-8") as file:
            file.write('{"text": "half a li')  # as if it had been killed while writing
        document = self.drive("--resume", "--layer", "near", rivals=rivals, layer="up")
        self.assertIn("1 are finished, 1 to go", self.output.stderr)
        rows = document["rows"]
        self.assertEqual({row["layer"] for row in rows}, {"up", "near"})
        kept = [row for row in rows if row["layer"] == "up"]
        self.assertEqual([row["samples_ns"] for row in kept], [row["samples_ns"] for row in before])
        with open(counter, encoding="ascii") as file:
            self.assertEqual(len(file.readlines()), 3)  # once a form, of which `near` has two

    def test_another_run_is_not_continued(self):
        self.drive("--rivals", "naive")
        os.remove(self.results)
        said = self.drive("--rivals", "naive", "--resume", "--min-ms", "0.2", code=2)
        self.assertIn("cannot be continued: min_ms was 0.1 and is 0.2", said)
        self.assertTrue(os.path.exists(self.journal))
        self.drive("--rivals", "naive", "--min-ms", "0.2")  # starts anew, and keeps what there was
        self.assertTrue(os.path.exists(f"{self.journal}.previous"))

    def test_what_does_not_fit_the_budget_is_named_and_can_be_continued(self):
        rivals = [("right", fake("right"))]
        document = self.drive("--budget", "0.0001s", "--layer", "near", "--rounds", "6", rivals=rivals)
        self.assertEqual({row["layer"] for row in document["rows"]}, {"up"})  # each run gets further
        self.assertEqual({len(row["samples_ns"]) for row in document["rows"]}, {3})
        self.assertEqual(document["sources"][0]["left_out"], ["near, 1 thread(s)"])
        self.assertIn("left out for lack of time", self.output.stderr)
        document = self.drive("--resume", "--layer", "near", "--rounds", "6", rivals=rivals)
        self.assertEqual({row["layer"] for row in document["rows"]}, {"up", "near"})
        self.assertNotIn("left_out", document["sources"][0])

    def test_failures_keep_their_row_and_their_reason(self):
        cases = [
            ("wrong", "wrong_answer", "1 of 1440 numbers are wrong; the first is number 1439"),
            ("nan", "wrong_answer", "1 of 1440 numbers are wrong"),
            ("short", "wrong_answer", "1439 numbers, expected 1440"),
            ("unsupported", "constraint", "unsupported: it never learned that"),
            ("failing", "generator_error", "ValueError: no such kernel"),
            ("crashing", "run_crash", "ended by SIGSEGV"),
            ("leaving", "run_crash", "ended with exit code 3: it had enough"),
            ("crashing later", "run_crash", "ended by SIGSEGV"),
            ("hanging", "run_timeout", "run_once took longer than 8 s"),
        ]
        document = self.drive("--timeout", "8", rivals=[(how, fake(how)) for how, _, _ in cases])
        rows = self.rows(document)
        for how, status, detail in cases:
            self.assertEqual(rows[how]["status"], status, how)
            self.assertIn(detail, rows[how]["detail"], how)
            self.assertNotIn("est_ns", rows[how])
        self.assertEqual(rows["naive"]["status"], "ok")
        with open(os.path.join(self.folder, "out", "summary.md"), encoding="utf-8") as file:
            text = file.read()
        for how, status, detail in cases:
            self.assertIn(f"| {how} | up | {status} |", text)
            self.assertIn(detail, text)

    def test_what_cannot_be_started_or_answers_nonsense_is_a_row(self):
        rows = self.rows(
            self.drive(
                rivals=[
                    ("absent", "/nonexistent/program"),
                    ("nonsense", "sh -c 'read request; echo {hello'"),
                    ("silent", "true"),
                ]
            )
        )
        self.assertIn("cannot be started", rows["absent"]["detail"])
        self.assertIn("answered no JSON", rows["nonsense"]["detail"])
        self.assertIn("ended with exit code 0", rows["silent"]["detail"])

    def test_all_others_stand_still_while_one_is_timed(self):
        beats, calls = (os.path.join(self.folder, name) for name in ("beats", "calls"))
        rows = self.rows(
            self.drive(
                "--min-ms", "20", rivals=[("a", fake("spinning", beats)), ("b", fake("noting", calls))]
            )
        )
        self.assertEqual((rows["a"]["status"], rows["b"]["status"]), ("ok", "ok"))
        with open(beats, encoding="ascii") as file:
            times = [int(line) for line in file]
        with open(calls, encoding="ascii") as file:
            intervals = [tuple(map(int, line.split())) for line in file]
        self.assertGreater(len(times), 1)
        self.assertGreaterEqual(len(intervals), 6)  # in each round one call to warm up and one a sample
        inside = [time for time in times if any(start < time < end for start, end in intervals)]
        self.assertEqual(inside, [])

    def test_contenders_end_with_the_driver(self):
        file = os.path.join(self.folder, "pid")
        driver = (
            "import sys; from contender_process import ContenderProcess as Process; "
            "process = Process(['sleep', '600'], '/dev/null'); process.stop(); "
            f"open({file!r}, 'w').write(str(process.process.pid)); import os; os.kill(os.getpid(), 9)"
        )
        subprocess.run([sys.executable, "-c", driver], cwd=BENCH, check=False)
        with open(file, encoding="ascii") as stream:
            process = int(stream.read())
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and state_of(process) not in (None, "Z"):
            time.sleep(0.01)
        self.assertIn(state_of(process), (None, "Z"))


class RealRivals(Folder):
    def test_unstride_and_plain_loops_on_every_form(self):
        document = self.drive("--rivals", "unstride,naive", layer=None)
        rows = document["rows"]
        self.assertEqual({row["status"] for row in rows}, {"ok"}, self.output.stderr)
        names = {(row["layer"], row["contender"]["name"]) for row in rows}
        for form in ("", " (by channel)", " (padded)", " (by channel, padded)"):
            self.assertIn(("fcn", "naive" + form), names)
        for layer in ("up", "fcn", "fade", "chw", "near"):
            self.assertIn((layer, "unstride"), names)
        self.assertNotIn("any", {row["layer"] for row in rows})
        self.assertIn("any has sizes known at run time only", self.output.stderr)
        source = document["sources"][0]
        self.assertIn("noise_floor", source)
        self.assertGreater(source["peaks"][0]["flops"], 1e8)
        self.assertGreater(source["bandwidths"][0]["bytes_per_s"], 1e6)
        self.assertEqual({entry["level"] for entry in source["bandwidths"]}, {"memory", *source["caches"]})
        own = next(row for row in rows if row["rival"] == "unstride" and row["layer"] == "up")
        self.assertGreater(own["build_s"], 0)
        self.assertGreater(own["static_bytes"], own["shipped_bytes"])
        self.assertLessEqual(own["products"], own["multiplications"])
        self.assertTrue(own["family"].startswith("cpu_"))
        for name in ("report.md", "report.html", "summary.md", "end_to_end.html"):
            self.assertTrue(os.path.exists(os.path.join(self.folder, "out", name)), name)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "out", "work")))

    def test_a_baseline_of_this_machine_is_kept_or_lost(self):
        folder = os.path.join(self.folder, "baselines")
        path = os.path.join(folder, "here.json")
        steady = ["--rivals", "unstride", "--rounds", "8", "--samples", "5", "--min-ms", "0.5"]
        self.drive(*steady, "--write-baseline", path, "--unsteady")
        with open(path, encoding="utf-8") as file:
            written = json.load(file)
        written["threshold"] = 0.05  # the verdict is tested, not how quiet this machine is
        with open(self.journal, encoding="utf-8") as file:
            lines = [json.loads(line) for line in file]
        with open(self.journal, "w", encoding="utf-8") as file:
            for line in lines:
                file.write(json.dumps({**line, "noise": 0.01} if "noise" in line else line) + "\n")
        for factor, code, said in ((0.01, 0, "0 fell"), (100, 1, "loss: input(f32, 1x5x6x8)")):
            changed = json.loads(json.dumps(written))
            for entry in changed["layers"]:
                entry["peak_share"] *= factor
            with open(path, "w", encoding="utf-8") as file:
                json.dump(changed, file)
            result = self.drive(*steady, "--resume", "--check", folder, code=code, threads=None)
            self.assertIn(said, self.output.stderr)
            self.assertEqual({row["threads"] for row in result["rows"]}, {1})
        self.assertTrue(os.path.exists(os.path.join(self.folder, "out", "again", "results.json")))
        written["machine"]["model"] = "another"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(written, file)
        self.drive(*steady, "--resume", "--check", folder, code=2)
        self.assertIn("write one with --write-baseline", self.output.stderr)

    def test_scaling_compares_with_the_prediction(self):
        layers = os.path.join(self.folder, "size.layers")
        with open(layers, "w", encoding="ascii") as file:
            for size in (4, 8):
                file.write(
                    f"dense_{size} = input(f32, 1x{size}x{size}x8) | transposed_conv(8, kernel=4, stride=2, pad=1)\n"
                )
        self.drive("--scaling", "--rivals", "unstride,naive", layer=None, only=layers)
        page = self.text_of("scaling.html")
        self.assertIn("input height and width", page)
        for size in (4, 8):
            self.assertIn(f"dense_{size}, unstride: ", page)
        self.assertIn("## Scaling", self.text_of("summary.md"))
        self.assertIn("Layer by layer", self.text_of("end_to_end.html"))

    def text_of(self, name):
        with open(os.path.join(self.folder, "out", name), encoding="utf-8") as file:
            return file.read()


class Installation(unittest.TestCase):
    """scripts/bench.sh in a tree of its own, with requirements that lie there."""

    REQUIREMENTS = "# comment\nthere-1.0-py3-none-any.whl\nabsent-1.0-py3-none-any.whl\n"

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = folder.name
        for name in ("scripts", "bench/rivals"):
            os.makedirs(os.path.join(self.root, name))
        shutil.copy(os.path.join(BENCH, "..", "scripts", "bench.sh"), os.path.join(self.root, "scripts"))
        self.write("bench/compare_rivals.py", "")
        self.write("bench/rivals/requirements.txt", self.REQUIREMENTS)
        self.write("bench/rivals/requirements-openmp.txt", "")
        for name in ("there", "more"):
            self.make_wheel(name)

    def write(self, name, text):
        with open(os.path.join(self.root, name), "w", encoding="ascii") as file:
            file.write(text)

    def make_wheel(self, name):
        with zipfile.ZipFile(os.path.join(self.root, f"{name}-1.0-py3-none-any.whl"), "w") as wheel:
            info = f"{name}-1.0.dist-info"
            wheel.writestr(f"{name}.py", "")
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")

    def bench(self):
        done = subprocess.run(
            ["bash", os.path.join(self.root, "scripts", "bench.sh")],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "UNSTRIDE_BENCH_BUILD": "build", "PIP_NO_INDEX": "1"},
        )
        if "cannot make .venv-bench" in done.stderr:
            self.skipTest("Python makes no environments here")
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stderr

    def modules(self):
        packages = glob.glob(os.path.join(self.root, ".venv-bench/lib/python*/site-packages"))[0]
        return {name for name in ("there", "more", "own") if os.path.exists(f"{packages}/{name}.py")}

    def test_what_is_missing_is_named_and_tried_again_only_for_other_requirements(self):
        self.assertIn("left out: absent-1.0-py3-none-any.whl", self.bench())
        self.assertEqual(self.modules(), {"there"})
        packages = glob.glob(os.path.join(self.root, ".venv-bench/lib/python*/site-packages"))[0]
        with open(os.path.join(packages, "own.py"), "w", encoding="ascii"):
            pass  # what a user installed there
        said = self.bench()
        self.assertNotIn("installing", said)
        self.assertIn("left out: absent-1.0-py3-none-any.whl", said)
        self.write("bench/rivals/requirements.txt", "there-1.0-py3-none-any.whl\nmore-1.0-py3-none-any.whl\n")
        said = self.bench()
        self.assertIn("installing", said)
        self.assertNotIn("left out", said)
        self.assertEqual(self.modules(), {"there", "more", "own"})


class Usage(Folder):
    def test_wrong_usage_says_what_to_do(self):
        self.assertIn("there is no 'nobody'", self.drive("--rivals", "nobody", code=2))
        self.assertIn("expected NAME=COMMAND", self.drive("--rivals", "naive", "--rival", "x", code=2))
        self.assertIn("processors only", self.drive("--rivals", "naive", threads="4096", code=2))
        self.assertIn("expected numbers", self.drive(threads="two", code=2))
        self.assertIn("such as 90s, 30m or 2h", self.drive("--budget", "soon", code=2))
        self.assertIn("none stands twice", self.drive(threads="1,1", code=2))
        self.assertIn("no layer of fixed sizes", self.drive("--rivals", "naive", layer="any", code=2))
        self.assertIn("there is no file", self.drive("--layers", "/nonexistent.layers", code=2))


def row(name, text, nanoseconds, share=None, verdict="~", rival=None, status="ok"):
    result = {
        "layer": text,
        "text": text,
        "threads": 1,
        "status": status,
        "rival": rival or name,
        "contender": {"name": name},
        "derived": {"verdict": verdict},
    }
    if status == "ok":
        result["est_ns"] = nanoseconds
    if share:
        result["derived"]["peak_share"] = share
    return result


def document(*rows):
    machine = {"vendor": "V", "model": "M", "gpu": "", "l1d_bytes": 1, "l2_bytes": 1, "threads": 2}
    return {
        "sources": [
            {
                "machine": machine,
                "noise_floor": 0.01,
                "tool": {"unstride": "1"},
                "protocol": {"rounds": 2, "samples_per_round": 1, "sample_s": 0.001},
            }
        ],
        "rows": list(rows),
    }


class Summary(unittest.TestCase):
    def test_layers_behind_come_first_and_variants_count_once(self):
        rows = [
            row("unstride", "ahead", 100, 0.5),
            row("x a", "ahead", 300, rival="x", verdict="slower"),
            row("x b", "ahead", 200, rival="x", verdict="slower"),
            row("unstride", "behind", 100),
            row("x a", "behind", 50, rival="x", verdict="faster"),
            row("y", "behind", None, status="wrong_answer"),
        ]
        lines = summary.layer_rows(rows)
        self.assertEqual([ratio for ratio, _ in lines], [0.5, 2.0])
        self.assertEqual(lines[0][1][0], "behind")
        self.assertEqual(lines[0][1][-1], "behind")
        self.assertEqual(lines[1][1][4], "x b")
        self.assertEqual(lines[1][1][3], "50 %")
        rivals = {line[0]: line for line in summary.rival_rows(rows)}
        self.assertEqual(rivals["x"][2:4], [2, "1.00"])
        self.assertNotIn("y", rivals)
        text = summary.markdown(document(*rows))
        self.assertIn("1 of 2 lines", text)
        self.assertIn("| y | behind | wrong_answer |", text)

    def test_leaner_contenders_are_listed_and_frameworks_counted(self):
        def held(name, layer, mebibytes):
            return {**row(name, layer, 100), "process_peak_bytes": mebibytes << 20}

        rows = [
            *(held("unstride", "a", 10), held("naive", "a", 8), held("x", "a", 20)),
            *(held("unstride", "b", 10), held("naive", "b", 12), held("x", "b", 9)),
            *(held("unstride", "c", 10), held("naive", "c", 11), held("x", "c", 30)),
            *(held("unstride", "d", 10), row("x", "d", 100)),
        ]
        lines = summary.memory_rows(rows)
        self.assertEqual([line[2][0] for line in lines], ["a", "b", "c"])
        self.assertEqual([line[1] for line in lines], [False, True, False])
        text = summary.markdown(document(*rows))
        self.assertIn("On 2 of 3 lines", text)
        self.assertIn("on 1 of them a framework's", text)
        self.assertIn("| a | 1 | 10.0 MiB | naive | 8.0 MiB | x | 20.0 MiB |", text)
        self.assertNotIn("| c | 1 | 10.0 MiB |", text)


class Rounds(unittest.TestCase):
    """Rounds of contenders that note the number of each, with a host that takes processors away."""

    def rounds_kept(self, stolen, call_ns=2e6):
        run = object.__new__(measurement.Measurement)
        run.options = types.SimpleNamespace(rounds=3)
        run.processors, run.random, run.stolen = [0], random.Random(1), []
        run.budget = budget.Budget(None)
        run.start_support = lambda *_: unittest.mock.Mock()
        run.probe = lambda *_: None
        run.sample = lambda contender: contender.rounds.append([call_ns, call_ns + len(run.stolen)])
        contenders = [measurement.Contender(name, []) for name in ("a", "b")]
        for contender in contenders:
            contender.process = True
        shares = iter(stolen)
        run.sample_round = lambda alive, *_: ([run.sample(one) for one in alive], next(shares))[1]
        run.sample_rounds(contenders, 1, float("inf"))
        self.assertEqual(contenders[0].rounds, contenders[1].rounds)
        return [samples[1] - call_ns for samples in contenders[0].rounds]

    def test_quiet_rounds_are_all_there_are(self):
        self.assertEqual(self.rounds_kept([0, 0.04, 0]), [0, 1, 2])

    def test_disturbed_rounds_are_made_again(self):
        self.assertEqual(self.rounds_kept([0, 0.5, 0.06, 0, 0]), [0, 3, 4])

    def test_of_disturbed_rounds_the_quietest_are_kept(self):
        self.assertEqual(self.rounds_kept([0.3, 0.5, 0.2, 0.9, 0, 0.4]), [0, 2, 4])

    def test_short_calls_have_more_rounds(self):
        self.assertEqual(self.rounds_kept([0] * 12, call_ns=1e5), list(range(12)))
        self.assertEqual(len(self.rounds_kept([0.5] + [0] * 12, call_ns=1e5)), 12)

    def test_the_system_tells_what_was_stolen(self):
        self.assertGreaterEqual(processors.stolen_seconds([0]), 0)
        self.assertEqual(processors.stolen_seconds([]), 0)


class Sampling(unittest.TestCase):
    def test_a_sample_is_the_mean_of_as_many_calls_as_take_that_long(self):
        now = [0]

        def run():
            now[0] += 300

        with unittest.mock.patch.object(protocol.time, "perf_counter_ns", lambda: now[0]):
            self.assertEqual(protocol.sample(run, 1000), (300, 4))
            self.assertEqual(protocol.sample(run, 0), (300, 1))

    def test_a_long_first_call_alone_makes_no_contender_slow(self):
        for first, later, slow in ((1e6, None, False), (1e9, 1e6, False), (1e9, 1e9, True)):
            run = object.__new__(measurement.Measurement)
            run.work, run.options = "", types.SimpleNamespace(timeout=1)
            contender = measurement.Contender("x", [])
            contender.facts["library"] = None
            contender.process = unittest.mock.Mock()
            replies = [{"implementation": "", "load_seconds": 0}, {"first_call_ns": first}, {"ns": [later]}]
            contender.process.request.side_effect = replies
            run.first_call(contender, {"path": ""}, 1)
            self.assertEqual(contender.slow, slow)


class Baseline(unittest.TestCase):
    def setUp(self):
        self.before = {
            "threshold": 0.05,
            "layers": list(
                baseline.figures_of(
                    document(
                        row("unstride", "a", 100, 0.5),
                        row("onednn nhwc", "a", 150, rival="onednn"),
                        row("onednn nchw", "a", 120, rival="onednn"),
                    )
                ).values()
            ),
        }

    def compared(self, *rows):
        return baseline.comparison(document(*rows), self.before)

    def losses(self, *rows):
        """How many figures were compared, and what fell."""
        comparison = self.compared(*rows)
        return len(comparison.compared), [str(loss) for loss in comparison.losses]

    def test_the_best_variant_is_the_anchor(self):
        self.assertAlmostEqual(self.before["layers"][0]["ratio"], 1.2)

    def test_noise_is_no_loss(self):
        compared, lost = self.losses(
            row("unstride", "a", 104, 0.48), row("onednn nchw", "a", 120, rival="onednn")
        )
        self.assertEqual((compared, lost), (2, []))

    def test_either_figure_can_be_lost(self):
        _, lost = self.losses(row("unstride", "a", 110, 0.5), row("onednn nchw", "a", 120, rival="onednn"))
        self.assertEqual(len(lost), 1)
        self.assertIn("oneDNN's time", lost[0])
        _, lost = self.losses(row("unstride", "a", 100, 0.4), row("onednn nchw", "a", 120, rival="onednn"))
        self.assertEqual(len(lost), 1)
        self.assertIn("share of the peak", lost[0])

    def test_ratios_to_other_rivals_are_named_and_do_not_pass(self):
        other = row("onednn nchw", "a", 60, rival="onednn")
        other["contender"]["version"] = "9.9"
        cases = [
            (row("onednn_openmp", "a", 60), "the baseline's ratio is to onednn, the run's to onednn_openmp"),
            (other, "the baseline's ratio is to onednn, the run's to onednn 9.9"),
            (row("x", "a", 60), "the run has no oneDNN's time over unstride's"),
        ]
        for rival, why in cases:
            comparison = self.compared(row("unstride", "a", 110, 0.5), rival)
            self.assertEqual((len(comparison.compared), comparison.losses), (1, []))
            self.assertIn(f"1 figures of the baseline not compared: {why}", comparison.said())
            with self.assertRaisesRegex(baseline.BaselineError, "no ratio to oneDNN could be compared"):
                comparison.require_figures()

    def test_one_ratio_is_enough_and_layers_without_any_need_none(self):
        self.before["layers"].append({**self.before["layers"][0], "text": "b"})
        rows = [
            row("unstride", "a", 100, 0.5),
            row("onednn nchw", "a", 120, rival="onednn"),
            row("unstride", "b", 100, 0.5),
        ]
        self.compared(*rows).require_figures()
        del self.before["layers"][1]["ratio"]
        self.compared(rows[2]).require_figures()

    def test_a_machine_too_noisy_is_not_judged(self):
        noisy = document(row("unstride", "a", 100, 0.5))
        noisy["sources"][0]["noise_floor"] = 0.4
        with self.assertRaisesRegex(baseline.BaselineError, "too noisy"):
            baseline.comparison(noisy, self.before)

    def test_a_failure_is_a_loss_and_an_unmeasured_layer_is_not(self):
        self.assertEqual(self.compared(row("unstride", "a", None, status="wrong_answer")).failed, ["a @ 1"])
        comparison = self.compared(row("unstride", "b", 100, 0.5))
        self.assertEqual((comparison.compared, comparison.losses), ({}, []))
        self.assertIn("2 figures of the baseline not compared: the layer or thread", comparison.said()[1])
        with self.assertRaisesRegex(baseline.BaselineError, "nothing could be compared"):
            comparison.require_figures()

    def test_a_file_is_checked_by_a_part_of_its_layers_and_threads(self):
        whole = document(
            *(
                {**line, "threads": threads}
                for threads in (1, 2)
                for text in ("a", "b")
                for line in (row("unstride", text, 100, 0.5), row("onednn nchw", text, 120, rival="onednn"))
            )
        )
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "here.json")
            code, said = self.verdict(whole, write_baseline=path)
            self.assertEqual(code, 0)
            self.assertIn("4 layers and thread counts, 4 with oneDNN's ratio", said)
            part = {**whole, "rows": [line for line in whole["rows"] if line["text"] == "b"]}
            part["rows"] = [line for line in part["rows"] if line["threads"] == 2]
            code, said = self.verdict(part, folder)
            self.assertEqual(code, 0)
            self.assertIn("2 figures compared with the baseline, 0 fell by more than 5 %", said)
            self.assertIn(
                "6 figures of the baseline not compared: the layer or thread count is no part", said
            )
            slower = {**part, "rows": [{**part["rows"][0], "est_ns": 110}, part["rows"][1]]}
            fell = "b @ 2: oneDNN's time over unstride's fell from 1.200 to 1.091"
            code, said = self.verdict(slower, folder, again=slower)
            self.assertEqual(code, 1)
            self.assertIn("measuring again what fell: b @ 2", said)
            self.assertIn(f"\nloss: {fell}, measured again 1.091", said)
            code, said = self.verdict(slower, folder, again=part)
            self.assertEqual(code, 0)
            self.assertIn(f"no loss: {fell}, measured again 1.200", said)
            code, said = self.verdict(slower, folder, again={**part, "rows": part["rows"][:1]})
            self.assertEqual(code, 1)
            self.assertIn(f"\nloss: {fell}, measured again without a figure", said)
            with self.assertRaisesRegex(baseline.BaselineError, "nothing could be compared"):
                self.verdict(document(row("unstride", "c", 100, 0.5)), folder)

    def verdict(self, result, check=None, write_baseline=None, again=None, unsteady=False):
        """The exit code and what was said; `again` is the second measurement."""
        options = types.SimpleNamespace(write_baseline=write_baseline, unsteady=unsteady)
        known = baseline.read_for(result["sources"][0]["machine"], check) if check else None

        def measure_again(layers):
            self.assertEqual(layers, {("b", 2)})
            return again

        with unittest.mock.patch.object(compare_rivals, "say") as say:
            code = compare_rivals.verdict(options, result, known, measure_again)
        return code, "\n".join(call.args[0] for call in say.call_args_list)

    def test_a_run_that_is_not_steady_is_no_baseline_unless_allowed(self):
        shaky = document(row("unstride", "a", 100, 0.5))
        shaky["sources"][0]["unsteady"] = "half of the probes"
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "here.json")
            with self.assertRaisesRegex(
                baseline.BaselineError, "not steady: half of the probes; .*--unsteady"
            ):
                self.verdict(shaky, write_baseline=path)
            self.assertFalse(os.path.exists(path))
            self.verdict(shaky, write_baseline=path, unsteady=True)
            code, said = self.verdict(shaky, folder)
            self.assertEqual(code, 0)
            self.assertIn("the baseline was written of a run that was not steady", said)

    def test_the_thread_counts_of_a_check_are_those_of_the_baseline(self):
        self.assertIsNone(compare_rivals.parse_arguments(["--check"]).threads)
        self.assertEqual(compare_rivals.parse_arguments(["--check", "--threads", "1"]).threads, [1])
        self.before["layers"].append({**self.before["layers"][0], "threads": 4})
        self.assertEqual(baseline.threads_of(self.before), [1, 4])

    def test_a_layer_without_multiplications_is_guarded_by_the_rate_of_copying(self):
        moved = row("unstride", "pixel_shuffle(2)", 100)
        moved["compulsory_bytes"] = 1000
        now = document(moved)
        now["sources"][0]["bandwidths"] = [{"level": "memory", "threads": 1, "bytes_per_s": 2e10}]
        figures = baseline.figures_of(now)["pixel_shuffle(2) @ 1"]
        self.assertAlmostEqual(figures["copy_share"], 0.5)
        moved["est_ns"] = 200
        before = {"threshold": 0.05, "layers": [figures]}
        [loss] = baseline.comparison(now, before).losses
        self.assertIn("rate of copying fell from 0.500 to 0.250", str(loss))


class Classes(unittest.TestCase):
    def test_layers_belong_where_their_text_says(self):
        cases = {
            "input(f32, 1x224x1026) | transposed_conv(1, kernel=1024, stride=256)": "ISTFT",
            "input(f32, 1x70x70x21) | transposed_conv(21, kernel=16, stride=8, weights=bilinear) | crop(from=31, "
            "size=500)": "FCN bilinear",
            "input(f32, 1x16x16x256) | transposed_conv(256, kernel=4, stride=2, pad=1, groups=256, "
            "weights=bilinear) | add": "depthwise",
            "input(f32, 1x64x64x512) | nearest_upsample(2) | conv(512, kernel=3, pad=1) | bias": "nearest + conv",
            "input(f32, 1x360x640x32) | conv(9, kernel=3, pad=1) | bias | pixel_shuffle(3)": "conv + shuffle",
            "input(f32, 100x14x14x256) | transposed_conv(256, kernel=2, stride=2) | bias | relu": (
                "batch of 32 and more"
            ),
            "input(f32, 1x86x512) | leaky_relu(0.1) | transposed_conv(256, kernel=16, stride=8, pad=4)": "1-D",
            "input(f32, 1x7x7x5x320) | transposed_conv(320, kernel=2, stride=2)": "3-D",
            "input(f32, 1x128x128x128) | transposed_conv(3, kernel=4, stride=2, pad=1) | tanh": "1–4 output channels",
            "input(f32, 1x256x64x64, layout=nchw) | transposed_conv(64, kernel=4, stride=2, pad=1)": (
                "dense, 64 and more output channels"
            ),
            "input(f32, 1x128x128x256) | pixel_shuffle(2)": "other",
        }
        for text, expected in cases.items():
            self.assertEqual(layer_text.classes_of(text)[0], expected, text)
        both = layer_text.classes_of("input(f32, 100x14x14x256) | transposed_conv(256, kernel=2, stride=2)")
        self.assertIn("dense, 64 and more output channels", both)

    def test_the_layout_says_which_size_is_channels(self):
        self.assertEqual(layer_text.LayerText("input(f32, 1x3x64x48, layout=nchw) | relu").channels, 3)
        self.assertEqual(layer_text.LayerText("input(f32, 1x3x64x48) | relu").channels, 48)

    def test_the_table_has_losses_first_and_means_over_classes(self):
        dense = "input(f32, 1x8x8x64) | transposed_conv(64, kernel=2, stride=2)"
        few = "input(f32, 1x8x8x64) | transposed_conv(3, kernel=2, stride=2)"
        rows = [
            row("unstride", dense, 1000),
            row("x", dense, 2000),
            row("unstride", few, 1000),
            row("x", few, 500),
        ]
        for line, name in zip(rows, ("second", "second", "first", "first")):
            line["layer"] = name
        rows[0].update(multiplications=1e4, products=5e3, compulsory_bytes=10)
        whole = document(*rows)
        whole["sources"][0]["peaks"] = [{"threads": 1, "flops": 2e10}]
        text = summary.measured_table(whole)
        self.assertLess(text.index("| first |"), text.index("| second |"))
        self.assertIn("| all | 2 | 1.00 | 0.50 | 1 |", text)
        self.assertIn("| dense, 64 and more output channels | 1 | 2.00 | 2.00 | 0 |", text)
        self.assertIn("| 1–4 output channels | 1 | 0.50 | 0.50 | 1 |", text)
        self.assertIn("| 1.0 | x, 2.0 | 2.00 | 50 % multiply-adds |", text)
        self.assertNotIn("3 thread(s)", summary.measured_table(whole, 1))

    def test_rivals_that_run_the_layer_as_written_have_a_mean_of_their_own(self):
        diagonal = "input(f32, 1x8x8x21) | transposed_conv(21, kernel=4, stride=2, weights=bilinear)"
        rows = [
            row("unstride", diagonal, 1000),
            row("x (by channel)", diagonal, 5000),
            row("x", diagonal, 40000),
            row("y (padded)", diagonal, 20000),
        ]
        text = summary.measured_table(document(*rows))
        self.assertIn("| all | 1 | 5.00 | 5.00 | 0 |", text)
        self.assertIn("| FCN bilinear, rivals as written | 1 | 20.00 | 20.00 | 0 |", text)
        self.assertIn("| FCN bilinear | 1 | 5.00 | 5.00 | 0 |", text)
        self.assertEqual(text.count("x (by channel)"), 1)

    def test_the_table_is_printed_by_a_command(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "results.json")
            text = "input(f32, 1x8x8x64) | transposed_conv(64, kernel=2, stride=2)"
            with open(path, "w", encoding="utf-8") as file:
                json.dump(document(row("unstride", text, 1000), row("x", text, 1500)), file)
            command = [sys.executable, os.path.join(BENCH, "summary.py"), "--table"]
            printed = subprocess.run([*command, path], capture_output=True, text=True, check=True).stdout
            self.assertIn("| x, 1.5 | 1.50 |", printed)
            failed = subprocess.run([*command, os.devnull], capture_output=True, text=True, check=False)
            self.assertEqual(failed.returncode, 1)
            self.assertIn("no result of scripts/bench.sh", failed.stderr)


class Roof(unittest.TestCase):
    source = {
        "caches": {"L2": 1000, "L3": 4000},
        "peaks": [{"threads": 2, "flops": 1e12}],
        "bandwidths": [
            {"level": level, "threads": 2, "bytes_per_s": rate}
            for level, rate in (("L2", 8e10), ("L3", 4e10), ("memory", 1e10))
        ],
    }

    def of(self, size, products=0):
        result = roof.roof_of(
            {"threads": 2, "multiplications": 9e9, "products": products, "compulsory_bytes": size},
            self.source,
        )
        return result.limit, result.nanoseconds

    def test_bytes_move_at_the_rate_of_the_level_that_holds_them(self):
        self.assertEqual(self.of(1600), ("L2", 20))  # one for each of two threads
        self.assertEqual(self.of(4000), ("L3", 100))
        self.assertEqual(self.of(5000), ("memory", 500))

    def test_the_longest_part_limits(self):
        self.assertEqual(self.of(5000, 1000000), ("multiply-adds", 2000))

    def test_nothing_is_predicted_without_measurements(self):
        self.assertIsNone(
            roof.roof_of({"threads": 1, "multiplications": 1, "compulsory_bytes": 1}, self.source)
        )


class Scaling(unittest.TestCase):
    def test_far_from_the_prediction_is_flagged(self):
        rows = []
        for size, nanoseconds in ((8, 120), (16, 480), (32, 3000)):
            own = row("unstride", f"dense_{size}", nanoseconds)
            own.update(file="bench/scaling/size.layers", multiplications=size * size, compulsory_bytes=1)
            rows += [own, row("x", f"dense_{size}", 2 * nanoseconds)]
        whole = document(*rows)
        whole["sources"][0]["peaks"] = [{"threads": 1, "flops": 1.28e9}]  # 100, 400 and 1600 ns
        series = scaling.series_of(whole)
        self.assertEqual([point.number for point in series["size", "dense", 1]], [8, 16, 32])
        text = scaling.markdown(whole)
        self.assertIn("| dense_32 |", text)
        self.assertIn("+88 %", text)
        self.assertNotIn("dense_16", text)
        page = scaling.page(whole)
        self.assertIn('class="n failed">+88 %<', page)
        self.assertIn('class="n">+20 %<', page)
        self.assertNotIn("<script", page)

    def test_threads_are_compared_with_the_fewest(self):
        rows = [row("unstride", "a", 100), row("unstride", "a", 40)]
        rows[1]["threads"] = 4
        [(name, times)] = scaling.thread_rows(document(*rows))
        self.assertEqual((name, times), ("a", {1: 100, 4: 40}))
        self.assertIn(">62 %<", scaling.page(document(*rows)))


class Pages(unittest.TestCase):
    def test_texts_are_escaped_and_nothing_is_loaded(self):
        rows = [row("unstride", "a<b", 100), row("x & <y>", "a<b", 300)]
        page = end_to_end.page(document(*rows))
        self.assertIn("x &amp; &lt;y&gt;", page)
        self.assertNotIn("<y>", page)
        self.assertNotRegex(page, r"<script|<link|src=|url\(")
        self.assertIn("prefers-color-scheme:dark", page)

    def test_an_axis_names_round_numbers_inside_it(self):
        axis = html_page.Axis([3, 700], 0, 100)
        self.assertEqual([f"{tick:g}" for tick in axis.ticks()], "5 10 20 50 100 200 500".split())
        self.assertAlmostEqual(axis(3), 0)
        self.assertAlmostEqual(axis(700), 100)
        self.assertLess(html_page.Axis([5], 0, 1)(5), 1)  # one number alone has a place too


class Budget(unittest.TestCase):
    def test_time_is_shared_among_what_is_left(self):
        now = [100.0]
        left = budget.Budget(60, clock=lambda: now[0])
        self.assertEqual(left.share(3), 120)
        now[0] = 140
        self.assertEqual(left.share(2), 150)
        self.assertFalse(left.spent())
        now[0] = 160
        self.assertTrue(left.spent())
        self.assertFalse(budget.Budget(None).spent())

    def test_times_have_units(self):
        self.assertEqual([budget.seconds_of(text) for text in ("90s", "30m", "1.5h")], [90, 1800, 5400])
        for text in ("30", "m", "0s", "-1s", "1d"):
            with self.assertRaises(ValueError, msg=text):
                budget.seconds_of(text)


class Journal(unittest.TestCase):
    def test_a_file_that_is_no_journal_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rows.jsonl")
            for text in ("[]\n", "{}\n", "nonsense\n"):
                with open(path, "w", encoding="ascii") as file:
                    file.write(text)
                with self.assertRaisesRegex(journal.JournalError, "is no journal of a run; remove it"):
                    journal.Journal(path, {"rounds": 8}, resume=True)

    def test_what_differs_is_named(self):
        before = {"commit": "a-dirty", "changes": "1", "versions": {"x": "1", "y": "2"}}
        now = {"commit": "a-dirty", "changes": "3", "versions": {"x": "1", "z": "2"}}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "rows.jsonl")
            journal.Journal(path, before, resume=False)
            journal.Journal(path, before, resume=True)
            with self.assertRaises(journal.JournalError) as caught:
                journal.Journal(path, now, resume=True)
            self.assertIn(
                "changes was 1 and is 3, versions of y was 2 and is None, versions of z",
                str(caught.exception),
            )
            self.assertNotIn("versions of x", str(caught.exception))


class Machine(unittest.TestCase):
    def test_thread_counts_fit_the_machine(self):
        cases = [
            (1, False, "1"),
            (8, False, "1,2"),
            (1, True, "1"),
            (2, True, "1,2"),
            (12, True, "1,2,4,8,12"),
        ]
        for count, scaling_too, expected in cases:
            self.assertEqual(compare_rivals.default_threads(count, scaling_too), expected)

    def test_what_comes_with_a_library_is_told_from_what_was_there(self):
        packages = "/e/lib/python3.11/site-packages"
        library = f"{packages}/cv2/cv2.abi3.so"
        for file in ("cv2/data.so", "opencv_python_headless.libs/libavcodec.so"):
            self.assertTrue(contender_process.ships_with(f"{packages}/{file}", library), file)
        for file in ("numpy.libs/libopenblas.so", "numpy/core.so", "cv2extra/a.so"):
            self.assertFalse(contender_process.ships_with(f"{packages}/{file}", library), file)
        self.assertTrue(contender_process.ships_with("/e/lib/libtbb.so.12", "/e/lib/libdnnl.so"))
        self.assertFalse(contender_process.ships_with("/usr/lib/libc.so.6", "/e/lib/libdnnl.so"))


if __name__ == "__main__":
    unittest.main()
