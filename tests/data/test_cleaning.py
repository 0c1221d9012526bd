"""Cleaning steps one by one: exact by hand, and what holds for any text."""

from __future__ import annotations

import unicodedata
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keras_lm.data.cleaning import (
    fold_case,
    has_length,
    is_script,
    lower_case,
    normalize_unicode,
    remove_stop_words,
    squeeze_white_space,
    strip_control_characters,
    strip_html,
    strip_punctuation,
)

MARKUP = st.lists(st.sampled_from([*"<>&;/!-='\" ab#x1\n", "script", "<p>", "&lt;", "<!--"]))
WORDS = st.lists(st.sampled_from([*" '’-.\tx", "the", "The", "to", "it's", "not", " of", "é"]))


@given(st.text())
@pytest.mark.parametrize(
    "step",
    [
        *(partial(normalize_unicode, form=form) for form in ("NFC", "NFD", "NFKC", "NFKD")),
        *(strip_control_characters, squeeze_white_space, lower_case, strip_punctuation),
        partial(strip_punctuation, symbols=True),
    ],
)
def test_a_second_time_changes_nothing(step, text):
    once = step(text)
    assert step(once) == once


def test_normal_forms():
    assert normalize_unicode("ﬁ Å e\u0301") == "ﬁ Å é"
    assert normalize_unicode("ﬁ ｱ", form="NFKC") == "fi ア"
    assert normalize_unicode("é", form="NFD") == "e\u0301"
    with pytest.raises(ValueError, match="form is 'nfc'; it must be one of 'NFC', 'NFD'"):
        normalize_unicode("a", form="nfc")


@given(st.text())
def test_no_control_character_is_left(text):
    left = {c for c in strip_control_characters(text) if unicodedata.category(c) == "Cc"}
    assert left <= set("\t\n\r")


def test_control_characters():
    assert strip_control_characters("a\x00\x7f\x9bb\tc\r\n") == "ab\tc\r\n"
    assert strip_control_characters("a\x0cb\x85c\x1cd") == "a b c d"
    assert strip_control_characters("👩\u200d💻 می\u200cخواهم") == "👩\u200d💻 می\u200cخواهم"


def test_white_space():
    assert squeeze_white_space("\ufeff a") == "\ufeff a"
    assert squeeze_white_space("\u3000a\xa0\u2009b ") == "a b"
    assert squeeze_white_space("a \r\n b\r\n\r\nc\u2029\n\n\nd") == "a\nb\n\nc\n\nd"
    assert squeeze_white_space(" \n ") == ""


def test_case():
    assert lower_case("ÀΣ ß ẞ") == "àς ß ß"
    assert fold_case("ÀΣ ß ẞ") == "àσ ss ss"


def test_punctuation():
    assert strip_punctuation("«¿Qué?» – it's_50%… 《书》、") == "Qué  its50 书"
    assert strip_punctuation("a+b=€5 😀 ^") == "a+b=€5 😀 ^"
    assert strip_punctuation("a+b=€5 😀 ^", symbols=True) == "ab5  "


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text & 1 < 2 > 0", "plain text & 1 < 2 > 0"),
        ("<b>bo</b>ld <i class='a>b'>it</i>", "bold it"),
        ("<p>one</p><p>two<br/>three</p>", "\none\n\ntwo\nthree\n"),
        ("<td>1</td><td>2</td>", " 1  2 "),
        ("&lt;b&gt; &amp;amp; &eacute;&#233;&#xE9;&nbsp;&hellip;", "<b> &amp; ééé\xa0…"),
        (
            "&#0; &#xD800; &#99999999; &unknown; AT&T &#",
            "\ufffd \ufffd &#99999999; &unknown; AT&T &#",
        ),
        ("a<script>if (a<b) '</p>'</SCRIPT >b<style>p{}</style>c", "abc"),
        ("a<script>never closed <b>", "a"),
        ("a<!-- <b> -- > -->b<!-->c<!doctype html><?xml v?>d<!-- open", "abcd"),
        ('<a href=x\n title="y > z"\n>link</a', "link</a"),
        ("a <b and <c>d", "a <b and d"),
        ("<![CDATA[x]]> <![ <", " <![ <"),
        ("<İ> <scrıpt>", "<İ> "),
    ],
)
def test_html(text, expected):
    assert strip_html(text) == expected


@given(MARKUP.map("".join))
def test_no_tag_is_left_of_any_markup(markup):
    text = strip_html(markup.replace("&", ""))
    assert "<p>" not in text
    assert "<!--" not in text


@given(st.text().filter(lambda text: not set(text) & set("<&")))
def test_text_without_markup_stays(text):
    assert strip_html(text) == text


def test_english_stop_words():
    assert remove_stop_words("The cat sat on the mat, and THE end of it.") == "cat sat mat, end ."
    assert remove_stop_words("I'm told it’s not a to-do; don't!") == "told not to-do; don't!"
    assert remove_stop_words("a\tthe\nthen") == "\n".rstrip(" ")
    assert remove_stop_words("other theory Them") == "theory"
    assert remove_stop_words("no change ") == "no change "


@given(WORDS.map("".join))
def test_no_english_stop_word_is_left(text):
    once = remove_stop_words(text)
    assert remove_stop_words(once) == once
    assert not {"the", "it's", "to"} & set(once.lower().split())


def test_chinese_stop_words():
    remove = partial(remove_stop_words, language="zh")
    assert remove("他们的目的是和平，但是我不知道。") == "目的和平，不知道。"
    assert remove("因為我們在現在的首都。") == "現在首都。"
    assert remove("他了解了这些规则") == "了解规则"
    assert remove("The end 的") == "The end "
    with pytest.raises(ValueError, match="language is 'de'; it must be 'en' or 'zh'"):
        remove_stop_words("der", language="de")


def test_length():
    assert [has_length(text, 2, 3) for text in ("a", "ab", "圆圆圆", "abcd")] == [0, 1, 1, 0]
    assert has_length("", minimum=0)
    with pytest.raises(ValueError, match="minimum is 3 and maximum 2"):
        has_length("a", 3, 2)
    with pytest.raises(ValueError, match="minimum is -1"):
        has_length("a", -1)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Größe, naïve, ＡＢＣ", "Latin"),
        ("深度学习々〆", "Han"),
        ("Привет, мир 2024", "Cyrillic"),
        ("Καλημέρα", "Greek"),
        ("ﾊﾝｶｸ カタカナ", "Katakana"),
        ("ひらがな", "Hiragana"),
        ("한국어", "Hangul"),
        ("مرحبا", "Arabic"),
        ("नमस्ते", "Devanagari"),
        ("สวัสดี", "Thai"),
    ],
)
def test_scripts(text, script):
    assert is_script(text, script, share=1)
    assert not is_script(text, "Hebrew", share=0.01)


def test_shares_of_scripts():
    assert is_script("ab圆圆", "Han")
    assert not is_script("abc圆圆", "Han")
    assert is_script("abc圆圆 1 2 3 !!!", "Latin", share=0.6)
    assert not any(is_script(text, "Latin", share=0) for text in ("", "123", "!"))
    with pytest.raises(ValueError, match="script is 'latin'; it must be one of Arabic"):
        is_script("a", "latin")
    with pytest.raises(ValueError, match=r"share is 1\.5; it must be from 0 to 1"):
        is_script("a", "Latin", share=1.5)
