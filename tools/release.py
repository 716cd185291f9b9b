"""Check a release and build it into `dist/`, and publish nothing: `make release`; `make wheel` for what is built.

A line for each check; exit code 1 where one fails. What is built is a copy of the files that git knows, so that
nothing else of this folder can get into it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path

import yaml

import reliquant

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
VERSION = reliquant.__version__
OF_LAB = tomllib.loads((ROOT / "src" / "reliquant_lab" / "pyproject.toml").read_text())["project"]["version"]
CORE, LAB = f"reliquant-{VERSION}", f"reliquant_lab-{OF_LAB}"
WHEEL, SDIST = DIST / f"{CORE}-py3-none-any.whl", DIST / f"{CORE}.tar.gz"
LAB_WHEEL, LAB_SDIST = DIST / f"{LAB}-py3-none-any.whl", DIST / f"{LAB}.tar.gz"
BUILT = [WHEEL, SDIST, LAB_WHEEL, LAB_SDIST]
LARGEST = 2_000_000  # bytes of the wheel


class Failed(Exception):
    """A check does not hold: what is wrong, in a line."""


def main() -> None:
    """Run the checks in order; of a release say how it is published."""
    alone = sys.argv[1:] == ["wheel"]
    if sys.argv[1:] and not alone:
        sys.exit(f"{' '.join(sys.argv[1:])}: unknown; there is `wheel`, or nothing for all of a release")
    before = [] if alone else [clean, tagged, released]
    after = [] if alone else [docs]
    checks = [*before, versions, changelog, built, metadata, contents, weights, smoke_wheel, smoke_sdist, *after]
    require(checks)
    if not alone:
        print(f"\nNothing was published. These two commands publish {VERSION}:")
        models = sorted(yaml.safe_load((ROOT / "dvc.yaml").read_text())["artifacts"])
        tags = " ".join([f"v{VERSION}", *(f"{model}@v{VERSION}" for model in models)])
        print(f"    for tag in {tags}; do git tag -a -m $tag $tag && git push origin $tag; done")
        print(f"    .venv/bin/twine upload {' '.join(str(path.relative_to(ROOT)) for path in BUILT)}")


def require(checks: list[Callable[[], str]]) -> None:
    """Run all checks; end with exit code 1 where one does not hold."""
    failed = [check.__name__ for check in checks if not passed(check)]
    if failed:
        sys.exit(f"release {VERSION}: failed: {', '.join(failed)}")


def passed(check: Callable[[], str]) -> bool:
    """Run a check, and say in a line what it found."""
    try:
        told, holds = check(), True
    except (Failed, OSError, LookupError) as error:
        told, holds = str(error), False
    print(f"{'ok' if holds else 'FAILED':<7}{check.__name__.replace('_', ' ')}: {told}", flush=True)
    return holds


def ran(*words: str | Path, cwd: Path | None = None, **own: str) -> str:
    """Run a command; return what it prints, or fail with the end of what it says."""
    environment = {**os.environ, **own}
    done = subprocess.run(
        [str(word) for word in words], cwd=cwd or ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        said = " ".join((done.stdout + done.stderr).split())
        raise Failed(f"`{Path(words[0]).name} {' '.join(map(str, words[1:4]))} ...`: {said[-600:]}")
    return done.stdout


def clean() -> str:
    """Nothing is changed or added since the last commit."""
    if changed := ran("git", "status", "--porcelain").splitlines():
        raise Failed(f"{len(changed)} files differ from the last commit, such as {changed[0][3:]}")
    return f"every file is as in {ran('git', 'rev-parse', '--short', 'HEAD').strip()}"


def tagged() -> str:
    """The version's tag is not there yet, or names this very commit."""
    head, name = ran("git", "rev-parse", "HEAD").strip(), f"v{VERSION}"
    if not ran("git", "tag", "--list", name).strip():
        return f"{name} is not there yet"
    if ran("git", "rev-parse", f"{name}^{{commit}}").strip() != head:
        raise Failed(f"{name} names another commit: a published version is never made anew")
    return f"{name} is this commit"


def released() -> str:
    """The lab that is committed (dvc.lock, its report's small files, its table) is that of this tree, run here."""
    stage = json.loads(ran(sys.executable, "-m", "dvc", "status", "--json")).get("study", [])
    if stage:
        raise Failed(f"`dvc status` finds {json.dumps(stage)[:300]}; `dvc repro`, `tools/released.py keep lab`, commit")
    told = ran(sys.executable, "tools/released.py", "compare", "lab").splitlines()
    return f"`dvc status` finds nothing; {told[-1]}"


def versions() -> str:
    """Whatever tells the version tells that of `src/reliquant/__init__.py`."""
    told = {
        "CITATION.cff": yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"],
        "codemeta.json": json.loads((ROOT / "codemeta.json").read_text())["version"],
        "CHANGELOG.md": newest()[0],
    }
    for i, each in enumerate(re.findall(r"(?:==|\bv)(\d+\.\d+\.\d+)", (ROOT / "docs" / "module.md").read_text()), 1):
        told[f"docs/module.md ({i})"] = each
    if wrong := {name: each for name, each in told.items() if each != VERSION}:
        raise Failed(f"src/reliquant/__init__.py has {VERSION}, but {wrong}")
    return f"{VERSION} in src/reliquant/__init__.py, {', '.join(told)}"


def newest() -> tuple[str, str]:
    """Return the version and the date of the first heading of the change log; "" for the date where it has none."""
    heading = re.search(r"^## (\S+)(?: \((\d{4}-\d\d-\d\d)\))?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    return (heading[1], heading[2] or "") if heading else ("", "")


def changelog() -> str:
    """The change log begins with this version and a date, which the citation has, too."""
    version, date = newest()
    cited = str(yaml.safe_load((ROOT / "CITATION.cff").read_text())["date-released"])
    if not date:
        raise Failed(
            f"the first heading of CHANGELOG.md, {version or 'none'}, has no date: `## {VERSION} (2026-01-31)`"
        )
    if date != cited:
        raise Failed(f"CHANGELOG.md says {date}, CITATION.cff {cited}")
    return f"{version} of {date}"


def built() -> str:
    """Both distributions are built, each wheel from its source distribution, and the core's is small."""
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in ran("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0"):
            if name and (ROOT / name).is_file() and not name.startswith("tests/"):
                target = Path(folder, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, target)
        for source in (Path(folder), Path(folder, "src", "reliquant_lab")):
            ran(sys.executable, "-m", "build", "--outdir", DIST, source, PYTHONPATH="")
    if missing := [path.name for path in BUILT if not path.is_file()]:
        raise Failed(f"dist/ lacks {', '.join(missing)}; it holds {', '.join(sorted(p.name for p in DIST.iterdir()))}")
    sizes = {path.name: path.stat().st_size for path in BUILT}
    if sizes[WHEEL.name] > LARGEST:
        raise Failed(f"{WHEEL.name} has {sizes[WHEEL.name]:,} bytes; at most {LARGEST:,}")
    return ", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in sizes.items())


def metadata() -> str:
    """Twine takes what an index would show, and the wheel's own version is the package's."""
    ran(sys.executable, "-m", "twine", "check", "--strict", *BUILT, PYTHONPATH="")
    with zipfile.ZipFile(WHEEL) as archive:
        told = Parser().parsestr(archive.read(f"{CORE}.dist-info/METADATA").decode())
    if told["Version"] != VERSION:
        raise Failed(f"the wheel says version {told['Version']}")
    return f"twine finds nothing; extras {', '.join(told.get_all('Provides-Extra'))}"


def contents() -> str:
    """The wheel has all files of the package and no weights; the source distribution all that the wheel needs."""
    with zipfile.ZipFile(WHEEL) as archive:
        names = {name for name in archive.namelist() if name.startswith("reliquant/")}
        others = {name for name in archive.namelist() if not name.startswith(("reliquant/", f"{CORE}.dist-info/"))}
    with tarfile.open(SDIST) as archive:
        source = {name.partition("/src/")[2] for name in archive.getnames()}
    known = ran("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "src/reliquant").split("\0")
    wanted = {name.removeprefix("src/") for name in known if name and (ROOT / name).is_file()}
    if others or names != wanted or not wanted <= source:
        raise Failed(f"beside the package: {others}; differs: {sorted(names ^ wanted)}, {sorted(wanted - source)}")
    return f"{len(names)} files, those of src/reliquant"


def weights() -> str:
    """The weights of the lab's distribution are those that the core's table vouches for."""
    table = json.loads((ROOT / "src" / "reliquant" / "models" / "shipped" / "table.json").read_text())
    with zipfile.ZipFile(LAB_WHEEL) as archive:
        found = {name: hashlib.sha256(archive.read(f"reliquant_lab/{name}.safetensors")).hexdigest() for name in table}
    if wrong := [name for name in table if found[name] != table[name]["sha256"]]:
        raise Failed(f"not as in table.json: {', '.join(wrong)}")
    return f"sha256 of {', '.join(sorted(table))} as in table.json"


def smoke_wheel() -> str:
    """The wheel runs in a fresh environment."""
    return smoke(WHEEL, LAB_WHEEL)


def smoke_sdist() -> str:
    """The source distribution, installed as such, runs in a fresh environment."""
    return smoke(SDIST, LAB_SDIST)


def smoke(core: Path, lab: Path) -> str:
    """Install a distribution in a fresh environment, try it without and then with the lab's, outside this folder."""
    with tempfile.TemporaryDirectory(prefix="reliquant-release-") as folder:
        python = Path(folder, "venv", "bin", "python")
        ran("bash", ROOT / "workflow" / "make_env.sh", python.parents[1], core, PYTHONPATH="")
        script = shutil.copy(ROOT / "tools" / "smoke.py", folder)
        ran(python, script, cwd=Path(folder), PYTHONPATH="")
        ran(python, "-m", "pip", "install", "--quiet", "--no-deps", lab, PYTHONPATH="")
        lines = ran(python, script, cwd=Path(folder), PYTHONPATH="").splitlines()
    return f"{len(lines)} steps; {lines[0].removeprefix('smoke: ')}"


def docs() -> str:
    """The documentation is built without a warning."""
    ran("make", "docs")
    return "built"


if __name__ == "__main__":
    main()
