import doctest

import pytest

from reliquant import names

BAD = [
    "",
    " ",
    ".",
    "..",
    "a/..",
    "../a",
    "/a",
    "a//b",
    "-a",
    "--output",
    ".a",
    "a\n",
    "\na",
    "a\0",
    "a b",
    "a;b",
    "a$b",
    "a`b`",
]
BAD += [
    "a'b",
    'a"b',
    "a|b",
    "a&b",
    "a*",
    "a?",
    "~",
    "~root",
    "{a}",
    "a\\b",
    "a\tb",
    "a\r",
    "a\u2028",
    "a\u202eb",
    "\ud800",
]
BAD += ["a\uff0fb", "\uff0e\uff0e", "\u2024\u2024", "\u2025", "a\u2044b", "\u0661", "é", "a" * 65, "a" * 5000, "con:"]


def test_the_examples_run():
    assert doctest.testmod(names).failed == 0


@pytest.mark.parametrize("word", BAD, ids=ascii)
def test_no_other_word_is_a_name_a_folder_a_device_or_a_module(word):
    assert names.name_problem(word)
    assert names.folder_problem(word)
    assert names.device_problem(word)
    assert names.module_problem(word)


@pytest.mark.parametrize("word", ["A", "a__b", "a-", "a.", "_a", "a..b", "a/b"])
def test_names_are_in_small_letters_with_single_signs_between(word):
    assert names.name_problem(word)


@pytest.mark.parametrize("word", ["a", "vit-b-32", "w4a8", "a_b.c-d", "0", "a" * 64])
def test_plain_names_are_names_and_folders(word):
    assert names.name_problem(word) == names.folder_problem(word) == ""


def test_folders_lie_below_in_parts_of_plain_names():
    assert [bool(names.folder_problem(word)) for word in ("A/b_c.d", "a/" * 8 + "b", "a/-b", "a/.git", "a/")] == [
        0,
        1,
        1,
        1,
        1,
    ]
    assert names.folder_problem(f"a/{'b' * 65}")


@pytest.mark.parametrize(
    "word", ["", ".", "..", ".ssh", "-x", "a/b", "a\\b", "a\uff0fb", "\uff0e\uff0e", "a\0", "a\n", "é" * 101]
)
def test_no_such_name_is_a_downloaded_file(word):
    assert names.file_problem(word)


@pytest.mark.parametrize("word", ["a b (1).tar.gz", "train-00000-of-00009.parquet", "_a", "é.jpg", "a=b&c,d+e%20"])
def test_files_may_have_the_names_that_files_have(word):
    assert names.file_problem(word) == ""


@pytest.mark.parametrize("word", ["", "-", "--x/y", "a\nb", "a\0", "a\x1b[2J", "a" * 1025])
def test_no_such_text_is_a_path(word):
    assert names.path_problem(word)


def test_paths_may_be_anything_else():
    assert [names.path_problem(word) for word in ("/data", "../x", "~/y", "My photos; $(2024)", "é/ü")] == [""] * 5
