"""Files that were changed, cut, deleted, or that are others': whoever reads one notices, or gives the same bytes."""

import functools
import os
import re

import pytest
from harmed import KINDS, Step, left_behind, without

FLIPS = int(os.environ.get("CHAOS_FLIPS", 72)) // len(KINDS)  # of each kind
SWAPS = int(os.environ.get("CHAOS_SWAPS", 36)) // len(KINDS)
ENDS = 2048  # bytes at either end of a file, where its header or footer lies


TAKEN = {  # (rule, kind): what lies there is what the step works on, and its output is of that, as it says
    ("inventory", kind) for kind in ("images", "labels", "photographs", "meta", "corrupted")
} | {
    ("facts", "meta"),
    ("evaluate", "variant"),
}


def reader(study, name, rng, others=()):
    """One of the steps that read a file, but `others`; what Snakemake or people alone read is for `verify`."""
    steps = [step for step in study.readers(name) if step.rule not in others]
    if steps and not re.fullmatch(KINDS["inventory"], name):
        return rng.choice(steps)
    return Step("verify", "main", ("verify", str(study.folder.with_suffix(".yaml"))), (name,), ())


def outcome(study, forked, folder, step, name):
    """Run a step that reads a harmed file: "noticed", "harmless", or what is wrong."""
    without(folder, step.outputs)
    code, told = forked.run(step, folder)
    others = {n: (folder / n).read_bytes() for n in study.tree if n != name and (folder / n).is_file()}
    strange = [str(path) for path in folder.rglob("*.part")] + left_behind(folder)
    if strange:
        return f"leaves {strange}"
    other = [n for n, content in others.items() if content != study.tree[n]]
    if other:
        return f"silently different: {other}: {told}"
    if code == 0:
        missing = [n for n in study.tree if n != name and n not in others and study.tree[n] is not None]
        return f"did not make {missing}" if missing else "harmless"
    place, file = name.rsplit("/", 1)
    named = name in told or (place in told and file in told) or (step.rule == "verify" and name in told)
    if code < 0 or "--debug" in told or "Traceback" in told or not named:
        return f"refused with {code}, not by name: {told[-600:]}"
    return "noticed"


def judged(study, forked, tally, tmp_path, harm, kind, changed):
    """Harm a copy of the study again and again; return all that is wrong.

    `changed` yields the step that reads, the file, what is done to it, and a function that does it in a folder.
    """
    folder, faults = None, []
    for step, name, what, change in changed:
        if folder is None:
            folder = study.copy(tmp_path / "study", step)
        study.mend(folder)
        change(folder)
        found = outcome(study, forked, folder, step, name)
        tally(harm, kind, found if found in ("noticed", "harmless") else "wrong")
        if found not in ("noticed", "harmless"):
            faults.append(f"{step.rule} of {step.outputs}: {name}: {what}: {found}")
    return faults


def flipped(name, at, bit, folder):
    content = bytearray((folder / name).read_bytes())
    content[at] ^= 1 << bit
    (folder / name).write_bytes(content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_noticed_or_harmless_to_the_byte(study, forked, tally, rng, tmp_path, kind):
    def changed():
        for _ in range(FLIPS):
            name = rng.choice(study.files(KINDS[kind]))
            size = len(study.tree[name])
            near = rng.randrange(min(ENDS, size))
            at = rng.choice([near, size - 1 - near, rng.randrange(size)])
            bit = rng.randrange(8)
            yield reader(study, name, rng), name, f"bit {bit} of {at}", functools.partial(flipped, name, at, bit)

    faults = judged(study, forked, tally, tmp_path, "flip", kind, changed())
    assert not faults, "\n".join(faults)


def replaced(name, content, folder):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_gone_empty_or_cut_short_is_named(study, forked, tally, rng, tmp_path, kind):
    def changed():
        for what in ("deleted", "emptied", "cut short"):
            name = rng.choice(study.files(KINDS[kind]))
            length = rng.randrange(1, len(study.tree[name]))
            content = {"deleted": None, "emptied": b"", "cut short": study.tree[name][:length]}[what]
            yield reader(study, name, rng), name, what, functools.partial(replaced, name, content)

    faults = judged(study, forked, tally, tmp_path, "lost", kind, changed())
    assert not faults, "\n".join(faults)


def places(study, stranger, kind):
    """List each file of a kind with every other that might be put in its place: (name, whose, other name)."""
    found = []
    for name in study.files(KINDS[kind]):
        others = [(study, other) for other in study.files(KINDS[kind])]
        for other in stranger.files(KINDS[kind]):
            if re.sub(r"\bother\b", "chaos", other) == name:
                others.append((stranger, other))
        found += [(name, whose, other) for whose, other in others if whose.tree[other] != study.tree[name]]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_in_its_place_is_noticed(study, stranger, forked, tally, rng, tmp_path, kind):
    def changed():
        every = places(study, stranger, kind)
        foreign = [place for place in every if place[1] is stranger]
        chosen = rng.sample(foreign, min(len(foreign), 1)) + rng.sample(every, min(len(every), SWAPS))
        for name, whose, other in chosen[:SWAPS]:
            what = f"{whose.folder.name}: {other}"
            taken = [rule for rule, of in TAKEN if of == kind]
            yield reader(study, name, rng, taken), name, what, functools.partial(replaced, name, whose.tree[other])

    faults = judged(study, forked, tally, tmp_path, "swap", kind, changed())
    assert not faults, "\n".join(faults)
