import os

import pytest

from reliquant.images.walking import find_files, find_images, told

JPEG = b"\xff\xd8\xff\xe0"


def put(path, data=JPEG):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_images_of_any_suffix_are_found_and_everything_else_is_counted(tmp_path):
    for name in ("a.jfif", "b", "c.avif", "d.JPG", "e.download", "sub/f.img"):
        put(tmp_path / name)
    for name in ("x.txt", "y.TXT", "sub/z.json", "w"):
        put(tmp_path / name, b"words")
    found = find_images(tmp_path)
    assert found.names == ["a.jfif", "b", "c.avif", "d.JPG", "e.download", "sub/f.img"]
    assert found.passed_over == {".txt": 2, ".json": 1, "(no suffix)": 1}


def test_a_file_that_is_called_an_image_is_one_even_where_it_is_damaged(tmp_path):
    put(tmp_path / "a.jpg", b"")
    put(tmp_path / "b.png", b"<html>")
    assert find_images(tmp_path).names == ["a.jpg", "b.png"]


def test_hidden_files_and_folders_are_no_data_at_any_depth(tmp_path):
    for name in ("a/0.png", "a/.ipynb_checkpoints/0.png", "a/b/._1.png", "__MACOSX/a/2.png", "a/Thumbs.db", ".x/y/3"):
        put(tmp_path / name)
    found = find_images(tmp_path)
    assert found.names == ["a/0.png"]
    assert found.passed_over == {".png (hidden)": 3, ".db (hidden)": 1, "(no suffix) (hidden)": 1}


def test_a_hidden_folder_that_is_named_itself_is_read(tmp_path):
    put(tmp_path / ".cache" / "a" / "0.png")
    assert find_images(tmp_path / ".cache").names == ["a/0.png"]


def test_links_are_followed_but_not_in_circles(tmp_path):
    put(tmp_path / "elsewhere" / "1.png")
    put(tmp_path / "data" / "cat" / "0.png")
    os.symlink("../../elsewhere", tmp_path / "data" / "cat" / "more")
    os.symlink("../elsewhere", tmp_path / "data" / "dog")
    os.symlink("..", tmp_path / "data" / "cat" / "up")
    os.symlink(tmp_path / "elsewhere", tmp_path / "elsewhere" / "again")
    os.symlink("../cat/0.png", tmp_path / "data" / "cat" / "copy.png")
    os.symlink("nowhere", tmp_path / "data" / "cat" / "lost.png")
    os.symlink("nowhere", tmp_path / "data" / "cat" / "lost.txt")
    found = find_images(tmp_path / "data")
    # lost.png is an image that cannot be read, and is named when it is
    assert found.names == ["cat/0.png", "cat/copy.png", "cat/lost.png", "cat/more/1.png", "dog/1.png"]
    assert found.passed_over == {".txt (broken link)": 1, "(link to a folder above it)": 3}


def test_two_links_to_each_other_end(tmp_path):
    for a, b in ("xy", "yx"):
        put(tmp_path / a / f"{a}.png")
        os.symlink(f"../{b}", tmp_path / a / "other")
    assert find_images(tmp_path).names == ["x/other/y.png", "x/x.png", "y/other/x.png", "y/y.png"]


def test_what_is_no_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "pipe")
    put(tmp_path / "a.png")
    found = find_images(tmp_path)
    assert found.names == ["a.png"]
    assert found.passed_over == {".png (no file)": 1, "(no suffix) (no file)": 1}


def test_names_are_sorted_by_their_parts_and_need_be_no_text(tmp_path):
    for name in ("b/2.png", "b/10.png", "a.png", "B/1.png", "b-c/1.png", "b.png", "é.png"):
        put(tmp_path / name)
    put(tmp_path / os.fsdecode(b"\xff.png"))
    names = find_images(tmp_path).names
    assert names == sorted(names, key=lambda name: name.split("/"))
    assert names[:3] == ["B/1.png", "a.png", "b/10.png"]
    assert os.fsdecode(b"\xff.png") in names


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="none: no such folder"):
        find_images(tmp_path / "none")


def test_files_of_a_kind_lie_in_the_folder_itself(tmp_path):
    put(tmp_path / "a", b"PAR1")
    put(tmp_path / "b.parquet", b"")
    put(tmp_path / "._a", b"PAR1")
    put(tmp_path / "sub" / "c.parquet", b"PAR1")
    put(tmp_path / "classes.json", b"[]")
    put(tmp_path / "notes.md", b"words")
    found = find_files(tmp_path, "parquet", known=("classes.json",))
    assert found.names == ["a", "b.parquet"]
    assert found.passed_over == {"(folder)": 1, ".md": 1, "(no suffix) (hidden)": 1}


def test_many_kinds_are_told_by_the_most_frequent():
    others = {f".{letter}": 1 for letter in "abcdefghij"} | {".z": 5}
    assert told(3, others) == "3 read, 15 passed over: .z 5, .a 1, .b 1, .c 1, .d 1, .e 1, .f 1, .g 1, 3 other kinds 3"


def test_ten_thousand_files_are_listed_in_a_moment(tmp_path, at_most):
    for i in range(5000):
        put(tmp_path / str(i % 10) / f"{i}.jpg")
        (tmp_path / str(i % 10) / f"{i}.txt").write_bytes(b"a caption")
    with at_most(5):  # it takes a tenth of a second; a look into each image takes ten times as long
        assert len(find_images(tmp_path).names) == 5000
