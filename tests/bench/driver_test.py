"""The driver of scripts/bench.sh with contenders that pretend, and with two real ones.

driver_test.py PROGRAMS [UNITTEST ARGUMENT]...; PROGRAMS is the folder of the built programs.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock

HERE = os.path.dirname(os.path.abspath(__file__))
BENCH = os.path.join(HERE, "..", "..", "bench")
sys.path[:0] = [BENCH, os.path.join(BENCH, "rivals")]
import baseline  # noqa: E402
import protocol  # noqa: E402
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

    def drive(self, *arguments, rivals=(), code=0, layer="up", threads="1"):
        """Runs the driver; its results, or what it said where it has none."""
        command = [
            sys.executable,
            os.path.join(BENCH, "compare_rivals.py"),
            "--programs",
            PROGRAMS,
            "--layers",
            os.path.join(HERE, "tiny.layers"),
            "--threads",
            threads,
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
        self.assertEqual([len(samples) for samples in row["samples_ns"]], [2, 2])
        self.assertGreater(row["est_ns"], 0.5e6)  # it sleeps that long
        self.assertEqual(row["contender"]["implementation"], "pretending")
        self.assertGreater(row["process_peak_bytes"], 1 << 20)
        self.assertGreater(row["first_call_ns"], 0)
        self.assertEqual(rows["naive"]["status"], "ok")

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
        for name in ("report.md", "report.html", "summary.md"):
            self.assertTrue(os.path.exists(os.path.join(self.folder, "out", name)), name)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "out", "work")))

    def test_a_baseline_of_this_machine_is_kept_or_lost(self):
        folder = os.path.join(self.folder, "baselines")
        path = os.path.join(folder, "here.json")
        steady = ["--rounds", "8", "--samples", "5", "--min-ms", "0.5"]
        self.drive("--rivals", "unstride", "--write-baseline", path, *steady)
        with open(path, encoding="utf-8") as file:
            written = json.load(file)
        for factor, code, said in ((0.01, 0, "0 lost"), (100, 1, "share of the peak fell from")):
            changed = json.loads(json.dumps(written))
            for entry in changed["layers"]:
                entry["peak_share"] *= factor
            with open(path, "w", encoding="utf-8") as file:
                json.dump(changed, file)
            self.drive("--rivals", "unstride", "--check", folder, *steady, code=code)
            self.assertIn(said, self.output.stderr)
        written["machine"]["model"] = "another"
        with open(path, "w", encoding="utf-8") as file:
            json.dump(written, file)
        self.drive("--rivals", "unstride", "--check", folder, code=2)
        self.assertIn("write one with --write-baseline", self.output.stderr)


class Usage(Folder):
    def test_wrong_usage_says_what_to_do(self):
        self.assertIn("there is no 'nobody'", self.drive("--rivals", "nobody", code=2))
        self.assertIn("expected NAME=COMMAND", self.drive("--rivals", "naive", "--rival", "x", code=2))
        self.assertIn("processors only", self.drive("--rivals", "naive", threads="4096", code=2))
        self.assertIn("expected numbers", self.drive(threads="two", code=2))
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


class Sampling(unittest.TestCase):
    def test_a_sample_is_the_mean_of_as_many_calls_as_take_that_long(self):
        now = [0]

        def run():
            now[0] += 300

        with unittest.mock.patch.object(protocol.time, "perf_counter_ns", lambda: now[0]):
            self.assertEqual(protocol.sample(run, 1000), (300, 4))
            self.assertEqual(protocol.sample(run, 0), (300, 1))


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

    def losses(self, *rows):
        return baseline.losses(document(*rows), self.before)

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

    def test_ratios_to_other_rivals_are_not_compared(self):
        compared, lost = self.losses(row("unstride", "a", 110, 0.5), row("onednn_openmp", "a", 60))
        self.assertEqual((compared, lost), (1, []))

    def test_a_machine_too_noisy_is_not_judged(self):
        noisy = document(row("unstride", "a", 100, 0.5))
        noisy["sources"][0]["noise_floor"] = 0.4
        with self.assertRaisesRegex(baseline.BaselineError, "too noisy"):
            baseline.losses(noisy, self.before)

    def test_a_failure_is_a_loss_and_an_unmeasured_layer_is_not(self):
        _, lost = self.losses(row("unstride", "a", None, status="wrong_answer"))
        self.assertEqual(len(lost), 1)
        self.assertEqual(self.losses(row("unstride", "b", 100, 0.5)), (0, []))


if __name__ == "__main__":
    unittest.main()
