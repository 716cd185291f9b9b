"""What a step meets on its machine: it ends well with the same bytes, or in one line, and runs well afterwards."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from harmed import ALONE, differing, left_behind, popen, said, strike, tree
from small_disk import fill, mounted

RULES = ["prepare", "corrupt", "pretrain", "quantize_snapshots", "evaluate", "measure", "explain", "collect", "facts"]
RULES += ["inventory", "report"]
ALL = os.environ.get("CHAOS_HARDSHIPS") == "all"


def several(first):
    """Give a test rules to be tried with: all where that is asked for, else every third of the fast ones."""
    return pytest.mark.parametrize("rule", RULES if ALL else RULES[:-1][first::3])


def strange_files(study, folder):
    """Name the files that are not of the study, but the checkpoints, from which the next run goes on."""
    files = [name for name, content in tree(folder).items() if content is not None and name not in study.tree]
    return [name for name in files if ".checkpoints/" not in name]


def after(study, forked, folder, step, code, told, *, words=(), mute=False):
    """Return what is wrong after a step met a hardship: with how it ended, what it left, or how it runs afterwards.

    `mute`: a library may abort the process without a word, as polars does where it gets no memory.
    """
    if code == 0:
        other = differing(tree(folder), study.tree)
        return f"silently different or left over: {other}" if other else ""
    aborted = code == -signal.SIGABRT and not told and mute  # threads of a library ended it, faster than any word
    if not aborted and ("Traceback" in told or not told or not all(word in told for word in words)):
        return f"ended with {code}: {told[-600:]}"
    if code > 0:
        strange = strange_files(study, folder)
        if strange or left_behind(folder):
            return f"leaves {strange or left_behind(folder)}"
    code, told = forked.run(step, folder)
    other = differing(tree(folder), study.tree)
    return f"afterwards {code}: {told}: {other}" if code or other else ""


@several(1)
def test_a_disk_that_takes_no_more_is_named(study, forked, tally, rng, tmp_path, rule):
    """No file may be larger than a part of what the step is to write."""
    step = study.step(rule)
    folder = study.copy(tmp_path / "study", step)
    sizes = [len(study.tree[name]) for name in step.outputs if name in study.tree]
    code, told = forked.run(step, folder, file_bytes=rng.randrange(max(sizes) // 2, max(sizes)))
    wrong = after(study, forked, folder, step, code, told) if code else "ended well"
    tally("full", rule, "wrong" if wrong else "survived")
    assert not wrong, f"{step.outputs}: {told}\n{wrong}"
    assert len(told.splitlines()) == 1, told


def on_a_full_disk(forked, step, folder, mount, spare, whole):
    """Run a step where so many bytes are left; return what is wrong. `whole` has the right bytes of every file."""
    rest = fill(folder, mount, spare)
    code, told = forked.run(step, folder)
    rest.unlink()
    mount("size=200m")
    there = {name: content for name, content in whole.items() if (folder / name).is_file()}
    half = [name for name, content in there.items() if content != (folder / name).read_bytes()]
    if code <= 0 or len(told.splitlines()) != 1:
        return f"ended with {code}: {told[-600:]}"
    if half or left_behind(folder):
        return f"leaves {half or left_behind(folder)}"
    advised = "make room, then run the same again" in told
    named = any(os.path.dirname(name) in told for name in step.outputs) or f"{folder}/tmp" in told
    return "" if advised and named else f"names no path or no advice: {told}"


@pytest.mark.parametrize("rule", [*RULES, "quantize"])
def test_a_full_disk_is_named_by_every_step_and_nothing_half_is_left(study, forked, tally, tmp_path, rule):
    """There is room for half of the largest file that the step makes."""
    step, folder = study.step(rule), tmp_path / "study"
    with mounted(folder, "size=200m") as mount:
        study.copy(folder, step)
        (folder / "tmp").mkdir()
        largest = max(len(study.tree[name]) for name in step.outputs if study.tree.get(name))
        wrong = on_a_full_disk(forked, step, folder, mount, largest // 8192 * 4096, study.tree)
        wrong = wrong or "".join(strange_files(study, folder))
        if not wrong and (ALL or rule != "report"):  # the longest
            code, told = forked.run(step, folder)
            other = differing(tree(folder), study.tree)
            wrong = f"afterwards {code}: {told}: {other}" if code or other else ""
    tally("full", rule, "wrong" if wrong else "survived")
    assert not wrong, wrong


@pytest.mark.parametrize("spare", [0, 40_960], ids=["for the note", "for a part"])
def test_a_full_disk_is_named_by_a_download_which_goes_on_once_there_is_room(served, forked, tally, tmp_path, spare):
    _, step = served
    folder = tmp_path / "study"
    with mounted(folder, "size=200m") as mount:
        (folder / "data" / "raw" / "pets").mkdir(parents=True)
        (folder / "tmp").mkdir()
        wrong = on_a_full_disk(forked, step, folder, mount, spare, {})
        code, told = forked.run(step, folder)
        there = sorted(path.name for path in (folder / "data" / "raw" / "pets").iterdir())
        wrong = wrong or (f"afterwards {code}: {told}: {there}" if there != ["0.parquet", "fetched.json"] else "")
    tally("full", "fetch", "wrong" if wrong else "survived")
    assert not wrong, wrong


@several(2)
def test_a_folder_that_may_not_be_written_is_named(study, forked, tally, tmp_path, rule):
    step = study.step(rule)
    folder = study.copy(tmp_path / "study", step)
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o777)
    for path in [path for path in folder.rglob("*") if path.is_dir() and path.name != "tmp"]:
        path.chmod(0o555)
    bare = {"bare": True} if os.getuid() == 0 else {}  # root may write anywhere
    code, told = forked.run(step, folder, **bare)
    for path in folder.rglob("*"):
        path.chmod(0o777 if path.is_dir() else 0o644)
    place = os.path.dirname(step.outputs[0])
    wrong = after(study, forked, folder, step, code, told, words=["Permission denied"]) if code else "ended well"
    wrong = wrong or ("" if place in told else f"{place} is not named: {told}")
    tally("read-only", rule, "wrong" if wrong else "survived")
    assert not wrong, wrong


def faults_under(limits, kind, study, forked, tally, folder, rule):
    """Run a step anew under each limit, told in words; return what went wrong under which."""
    step, faults = study.step(rule), []
    for words, limit in limits.items():
        study.copy(folder, step)
        code, told = forked.run(step, folder, **limit)
        wrong = after(study, forked, folder, step, code, told, mute=kind == "memory")
        tally(kind, rule, "wrong" if wrong else "survived")
        faults += [f"{words}: {wrong}"] if wrong else []
        shutil.rmtree(folder)
    return faults


@several(0)
def test_few_descriptors_are_enough_or_named(study, forked, tally, rng, tmp_path, rule):
    numbers = (4, rng.randrange(5, 9), rng.randrange(9, 30))
    limits = {f"{number} descriptors": {"descriptors": number} for number in numbers}
    faults = faults_under(limits, "few files", study, forked, tally, tmp_path / "study", rule)
    assert not faults, "\n".join(faults)


@several(2)
def test_little_memory_is_enough_or_named(study, forked, tally, rng, tmp_path, rule):
    limits = {f"{number} MB more": {"more_memory": number * 2**20} for number in (1, rng.randrange(8, 60))}
    faults = faults_under(limits, "memory", study, forked, tally, tmp_path / "study", rule)
    assert not faults, "\n".join(faults)


@several(1)
def test_two_of_the_same_step_at_once_give_the_same_bytes(study, forked, tally, tmp_path, rule):
    step = study.step(rule)
    folder = study.copy(tmp_path / "study", step)
    both = [forked.start(step, folder, told=f"told{number}") for number in range(2)]
    ended = [forked.end(*one) for one in both]
    refused = [told for code, told in ended if code]
    other = differing(tree(folder), study.tree)
    wrong = f"{refused}, {other}" if other or len(refused) == 2 or any("Traceback" in told for told in refused) else ""
    tally("two", rule, "wrong" if wrong else "survived")
    assert not wrong, wrong


@several(2)
def test_a_clock_that_was_set_back_changes_nothing(study, forked, tally, tmp_path, rule):
    step = study.step(rule)
    folder = study.copy(tmp_path / "study", step)
    tomorrow = time.time() + 86_400
    for path in folder.rglob("*"):
        os.utime(path, (tomorrow, tomorrow))
    code, told = forked.run(step, folder)
    other = differing(tree(folder), study.tree)
    tally("clock", rule, "wrong" if code or other else "survived")
    assert (code, other) == (0, []), told


@pytest.mark.skipif(not shutil.which("faketime"), reason="faketime is not installed")
@pytest.mark.parametrize("rule", ["prepare", "quantize_snapshots"])
def test_a_clock_of_another_year_changes_nothing(study, tally, tmp_path, rule):
    step = study.step(rule)
    folder = study.copy(tmp_path / "study", step)
    code = popen(step, folder, "faketime", "-f", "2001-01-01 00:00:00").wait()
    other = differing(tree(folder), study.tree)
    tally("clock", rule, "wrong" if code or other else "survived")
    assert (code, other) == (0, []), said(folder)


@several(0)
def test_a_step_that_is_asked_to_end_leaves_nothing(study, forked, tally, rng, tmp_path, rule):
    step, faults = study.step(rule), []
    folder = study.copy(tmp_path / "study", step)
    for moment in (-rng.uniform(0, 0.02), rng.uniform(0.05, 0.9) * study.seconds[step]):
        running = forked.start(step, folder)
        strike(running[0], step, folder, moment, signal.SIGTERM)
        code, told = forked.end(*running)
        wrong = "" if code in (0, 143) else f"exit code {code}"
        wrong = wrong or ("" if "Traceback" not in told else told)
        strange = strange_files(study, folder) + left_behind(folder)
        wrong = wrong or (f"leaves {strange}" if strange else "")
        again, told = forked.run(step, folder)
        other = differing(tree(folder), study.tree)
        wrong = wrong or (f"afterwards {again}: {told}: {other}" if again or other else "")
        tally("SIGTERM", rule, "wrong" if wrong else "survived")
        faults += [f"at {moment:.3f} s: {wrong}"] if wrong else []
        shutil.rmtree(folder)
        study.copy(folder, step)
    assert not faults, "\n".join(faults)


def test_a_job_that_slurm_preempts_gives_the_same_bytes_when_it_is_started_again(study, tally, tmp_path):
    if not shutil.which("sbatch") or subprocess.run(["sinfo"], capture_output=True).returncode:
        pytest.skip("no Slurm answers")
    if (Path("/etc/slurm/slurm.conf").resolve().parent / "of-tests").exists():
        pytest.skip("the Slurm that answers is that of tests/workflow/test_slurm.py, whose nodes die")
    step = study.step("quantize_snapshots")
    folder = study.copy(tmp_path / "study", step)
    (folder / "tmp").mkdir()
    line = shlex.join([sys.executable, "-m", f"reliquant.steps.{step.module}", *step.words])
    words = ["--requeue", "--parsable", "-D", folder, "-o", tmp_path / "told", "--wrap", f"exec {line}"]
    job = subprocess.run(["sbatch", *words], capture_output=True, text=True, env=ALONE, check=True).stdout.strip()
    time.sleep(4)
    subprocess.run(["scontrol", "requeue", job], capture_output=True)  # what preemption does: SIGTERM, later SIGKILL
    last = time.monotonic() + 240
    while time.monotonic() < last:
        if not subprocess.run(["squeue", "-h", "-j", job], capture_output=True, text=True).stdout.strip():
            break
        time.sleep(1)
    other = differing(tree(folder), study.tree)
    tally("preempted", step.rule, "wrong" if other else "survived")
    assert not other, (tmp_path / "told").read_text()
