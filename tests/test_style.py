"""What docs/design.md asks of every file, as far as a program can tell."""

import ast

import pytest

from reliquant import plugins

ROOT = plugins.PACKAGE.parents[1]
FILES = [*plugins.PACKAGE.rglob("*.py"), *(ROOT / "benchmarks").glob("*.py"), *(ROOT / "tools").glob("*.py")]
FILES += [ROOT / "docs" / "conf.py", *(ROOT / "docs" / "_ext").glob("*.py")]
COMPREHENSIONS = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
LONGEST_FILE = 310  # lines


@pytest.mark.parametrize("path", sorted(FILES), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_comprehension_has_more_than_two_clauses_or_names_anything(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, COMPREHENSIONS):
            clauses = sum(1 + len(each.ifs) for each in node.generators)
            assert clauses <= 2, f"{path.name}:{node.lineno}: {clauses} clauses; write a loop"
            named = [inner for inner in ast.walk(node) if isinstance(inner, ast.NamedExpr)]
            assert not named, f"{path.name}:{node.lineno}: a name is assigned inside; write a loop"


def test_no_file_is_too_long_to_read_at_once():
    lengths = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > LONGEST_FILE} == {}


def test_the_files_that_the_fast_tests_leave_out_are_there():
    slow = (ROOT / "tests" / "slow.txt").read_text().splitlines()
    assert slow == sorted(set(slow))
    assert [name for name in slow if not (ROOT / name).is_file()] == []
