"""kill -9 at random moments: the step that runs again gives the same bytes, and nothing is left over."""

import os
import signal
import time
from functools import partial

import pytest
from harmed import differing, of_session, popen, said, strike, tree, without

RULES = ["quantize_snapshots", "evaluate", "report", "prepare", "measure", "explain", "collect", "corrupt", "quantize"]
RULES += ["pretrain", "facts", "inventory"]
# of steps that start as everybody's do, and run again forked; as many more are of steps that are forked both times
KILLS = int(os.environ.get("CHAOS_KILLS", 12))
FETCHES = max(2, KILLS // 10)


@pytest.fixture(scope="module")
def startup(study, tmp_path_factory):
    """The seconds that imports take, from a run in the real form that nobody disturbs."""
    step = study.step("evaluate")
    folder = study.copy(tmp_path_factory.mktemp("whole") / "study", step)
    start = time.monotonic()
    assert popen(step, folder).wait() == 0, said(folder)
    assert differing(tree(folder), study.tree) == []
    return max(0.5, time.monotonic() - start - study.seconds[step])


def survived(folder, wanted, again):
    """Run a step again after it was killed; return what is wrong then."""
    code, told = again()
    if code:
        return f"refused: {told}"
    other = differing(tree(folder), wanted)
    return f"other or left over: {other}" if other else ""


@pytest.mark.parametrize("number", range(KILLS))
def test_a_step_that_was_killed_gives_the_same_bytes_when_it_runs_again(
    study, startup, forked, tally, rng, tmp_path, number
):
    step = study.step(RULES[number % len(RULES)], rng.randrange(2) - 1)
    folder = study.copy(tmp_path / "study", step)
    usual = startup + study.seconds[step]
    moment = rng.uniform(0.05, 0.95) * usual if number % 2 else -rng.uniform(0, 0.03)
    child = popen(step, folder)
    strike(child.pid, step, folder, moment)
    code = child.wait()
    last = time.monotonic() + 20
    while (left := of_session(child.pid)) and time.monotonic() < last:
        time.sleep(0.05)
    wrong = survived(folder, study.tree, partial(forked.run, step, folder))
    wrong = wrong or (f"{len(left)} processes of the killed run live on" if left else "")
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    tally("kill", step.rule, "wrong" if wrong else "survived")
    assert not wrong, f"{step.rule}, {'killed' if code else 'ended before the kill'} at {moment:.3f} s: {wrong}"


@pytest.mark.parametrize("rule", RULES)
def test_a_step_that_was_killed_at_work_gives_the_same_bytes_when_it_runs_again(
    study, forked, tally, rng, tmp_path, rule
):
    """The same without the imports, in which most of the others die: here every one is struck as it works."""
    folder, faults = None, []
    for _ in range(max(1, KILLS // len(RULES))):
        step = study.step(rule, rng.randrange(2) - 1)
        if folder is None:
            folder = study.copy(tmp_path / "study", step)
        without(folder, step.outputs)
        moment = -rng.uniform(0, 0.03) if rng.random() < 0.5 else rng.uniform(0.02, 0.98) * study.seconds[step]
        running = forked.start(step, folder)
        strike(running[0], step, folder, moment)
        code, _ = forked.end(*running)
        wrong = survived(folder, study.tree, partial(forked.run, step, folder))
        tally("kill", rule, "wrong" if wrong else "survived")
        if wrong:
            faults.append(f"{'killed' if code else 'ended before the kill'} at {moment:.3f} s: {wrong}")
            study.mend(folder)
    assert not faults, "\n".join(faults)


def test_a_download_that_was_killed_as_the_server_stalled_is_whole_when_it_runs_again(served, tally, rng, tmp_path):
    server, step = served
    whole = tmp_path / "whole"
    whole.mkdir()
    start = time.monotonic()
    assert popen(step, whole).wait() == 0, said(whole)
    usual, wanted, faults = time.monotonic() - start, tree(whole), []
    for number in range(FETCHES):
        folder = tmp_path / f"study{number}"
        (folder / "data" / "raw" / "pets").mkdir(parents=True)
        server.stalls = 1 if number % 2 == 0 else 0
        child = popen(step, folder)
        strike(child.pid, step, folder, -rng.uniform(0, 0.3) if number % 2 == 0 else rng.uniform(0.3, 1) * usual)
        child.wait()
        server.stalls = 0
        wrong = survived(folder, wanted, lambda folder=folder: (popen(step, folder).wait(), said(folder)))
        tally("kill", "fetch", "wrong" if wrong else "survived")
        faults += [wrong] if wrong else []
    assert not faults, "\n".join(faults)
