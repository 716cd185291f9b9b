"""The line of a text table that is wrong."""

from reliquant.stored.text_lines import wrong_line


def test_the_line_is_counted_as_an_editor_counts_and_else_the_error_is_told(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes('\ufeffnote\te_0\r\n"a\r\nb"\t1\r\nc\tx\r\nd\t1\t2\r\n'.encode())
    told = "could not parse `{}` as dtype `f32` at column 'e_0' (column number 2)"
    assert wrong_line(path, told.format("x")) == "'x' in line 4 is no number, unlike others of e_0"
    assert wrong_line(path, "found more fields") == "line 5 has 3 fields, and the header 2"
    lost = told.format("y")
    assert wrong_line(path, lost) == f"truncated, damaged or no text table ({lost})"
    assert wrong_line(tmp_path / "none.csv", "gone") == "truncated, damaged or no text table (gone)"
