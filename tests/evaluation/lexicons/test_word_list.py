import pytest

from reliquant import plugins


def read(root, **words):
    return plugins.load("lexicon", {"lexicon": "word_list", **words})(root)


def test_words_come_from_the_config_or_from_a_file(tmp_path):
    assert read(tmp_path, words=["sky", "snow"]) == ["sky", "snow"]
    file = tmp_path / "words.txt"
    file.write_text("# weather\nsky\n\n snow \n")
    assert read(tmp_path, file=str(file)) == ["sky", "snow"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "give either words"),
        ({"words": ["a"], "file": "b"}, "give either words"),
        ({"words": []}, "there is no word"),
        ({"words": ["sky", "snow", "sky"]}, "'sky' comes twice"),
    ],
)
def test_what_is_wrong_with_a_list_is_said(tmp_path, words, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, **words)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read(tmp_path, file=str(tmp_path / "nowhere"))
