from __future__ import annotations

import pytest

from reliquant.models.tokenizer import WordTokenizer, read_words

WORDS = ("a", "photo", "of", "red", "star")


def test_words_become_their_line_numbers_after_the_special_tokens():
    assert WordTokenizer(WORDS, context=8)(["A photo, of a RED star!"]).tolist() == [[2, 3, 4, 5, 3, 6, 7, 8]]


def test_an_unknown_word_becomes_unk_and_the_rest_stays():
    assert WordTokenizer(WORDS, context=6)(["red zebra star"]).tolist() == [[2, 6, 1, 7, 8, 0]]


def test_a_long_caption_is_cut_but_keeps_its_end():
    assert WordTokenizer(WORDS, context=4)(["a photo of a red star"]).tolist() == [[2, 3, 4, 8]]


def test_end_is_the_highest_id_where_clip_pools():
    tokens = WordTokenizer(WORDS, context=8)(["", "star", "a red star of a star"])
    assert tokens.argmax(dim=1).tolist() == [1, 2, 7]


def test_a_vocabulary_with_a_repeated_word_is_refused(tmp_path):
    (tmp_path / "words.txt").write_text("# colours\nred\n\nblue\nred\n")
    with pytest.raises(ValueError, match="repeated words: red"):
        read_words(tmp_path / "words.txt")
