"""The conformance harness' books: lists, ratchet and EXPECTED.md agree (no test of OpenStack is run)."""

import json
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "conformance"))

import suites
from tempest_runs import judge

RESULTS = Path(__file__).parent / "conformance" / "results.json"
BOTH = [(s, real) for s in suites.SUITES for real in (False, True) if not real or s.name in suites.REAL]


@pytest.mark.parametrize(("suite", "real"), BOTH, ids=lambda v: v.name if isinstance(v, suites.Suite) else str(v))
def test_what_passed_is_not_said_to_be_impossible(suite: suites.Suite, real: bool) -> None:
    ids, passed, reasons = suite.ids(), suites.ratchet(suite.name, real), suites.expected(suite.name, real)
    assert [i for i, times in Counter(ids).items() if times > 1] == []
    assert sorted(passed - set(ids)) == [], "in the ratchet, not in the list"
    assert [i for i in sorted(passed) if suites.reason_of(i, reasons)] == []


def test_the_figures_are_of_suites_there_are() -> None:
    runs = json.loads(RESULTS.read_text())
    assert {run["suite"] for run in runs} <= {s.name for s in suites.SUITES}
    assert len({(run["suite"], run["where"]) for run in runs}) == len(runs)


def test_every_reason_is_about_some_test() -> None:
    ids = {i for s in suites.SUITES for i in s.ids()}
    said = {p for s in suites.SUITES for real in (False, True) for p in suites.expected(s.name, real)}
    assert [p for p in sorted(said) if not any(suites.reason_of(i, {p: "x"}) for i in ids)] == []


@pytest.mark.parametrize("run", json.loads(RESULTS.read_text()), ids=lambda run: f"{run['suite']}-{run['where']}")
def test_whatever_did_not_pass_in_a_recorded_run_has_its_reason(run: dict[str, object]) -> None:
    _, _, still = suites.standing(suites.find(str(run["suite"])), run["where"] == "real")
    assert still == [], "neither in passing/ nor in EXPECTED.md"


def test_every_test_run_for_each_change_has_passed_in_its_suite() -> None:
    passed = {i for s in suites.SUITES if s.name != suites.REFERENCE for i in suites.ratchet(s.name, False)}
    assert [i for i in suites.find(suites.REFERENCE).ids() if i not in passed] == []


def test_a_class_that_failed_or_was_skipped_stands_for_its_tests() -> None:
    found = [
        ("setUpClass (a.b.Broken)", "failure"),
        ("setUpClass (a.b.Left)", "skip"),
        ("a.b.Good.test_x[id-1]", "success"),
        ("a.b.Good.test_y[id-2]", "success"),
        ("a.b.Good.test_y[id-2]", "failure"),
    ]
    ids = ["a.b.Broken.t[id-3]", "a.b.Left.t", "a.b.Good.test_x[id-1]", "a.b.Good.test_y[id-2]", "a.b.Gone.t"]
    assert list(judge(ids, found).values()) == ["failed", "skipped", "passed", "failed", "not run"]
