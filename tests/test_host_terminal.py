"""What a file said, made safe for a terminal."""

from __future__ import annotations

import string
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ckptop.host.terminal import clean

VISIBLE_FORMAT_CHARACTERS = {*range(0x0600, 0x0606), 0x06DD, 0x070F, 0x0890, 0x0891, 0x08E2, 0x110BD, 0x110CD}
"""Of category Cf, and yet drawn: signs that span Arabic, Syriac and Kaithi numbers."""

ANY_CHARACTER = st.characters(codec=None, categories=None)
INTRODUCERS = ["\x1b", "\x1b[", "\x1b]", "\x1bP", "\x1b\\", "\x9b", "\x9c", "\x9d", "\x07", "\x00", "\x7f"]
INVISIBLE = ["\u202e", "\u200b", "\ufe0f", "\ud800", "\udc00", "\U000e0041"]
ORDINARY = ["\r\n", "\t", "[31m", "52;c;AAAA", "8;;http://x", ";", "m", "é"]
TERMINAL_PIECES = st.sampled_from(INTRODUCERS + INVISIBLE + ORDINARY)
HOSTILE_TEXT = st.lists(st.one_of(TERMINAL_PIECES, st.text(ANY_CHARACTER, max_size=4)), max_size=20).map("".join)


def is_unsafe(character: str) -> bool:
    """By Unicode's own tables, not by the ranges of the module."""
    if unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}:
        return True
    if unicodedata.category(character) == "Cf":
        return ord(character) not in VISIBLE_FORMAT_CHARACTERS
    name = unicodedata.name(character, "")
    return (
        "VARIATION SELECTOR" in name
        or ("HANGUL" in name and name.endswith("FILLER"))
        or name == "COMBINING GRAPHEME JOINER"
    )


def test_every_unsafe_character_of_unicode_is_removed() -> None:
    survivors = [f"U+{code:04X}" for code in range(0x110000) if is_unsafe(chr(code)) and clean(chr(code)).strip()]

    assert survivors == []


def test_ordinary_characters_of_unicode_are_kept() -> None:
    """All that is assigned and shows: letters, accents, emoji, also private use (icons of terminal fonts)."""
    shown = [chr(code) for code in range(0x110000) if unicodedata.category(chr(code)) != "Cn"]
    lost = [
        f"U+{ord(character):04X}" for character in shown if not is_unsafe(character) and clean(character) != character
    ]

    assert lost == ["U+17B4", "U+17B5"]  # vowels that Khmer writes without any ink


@settings(deadline=None)  # a busy machine is no failure
@given(HOSTILE_TEXT)
def test_nothing_unsafe_is_left_and_cleaning_twice_changes_nothing(text: str) -> None:
    cleaned = clean(text)

    assert not any(map(is_unsafe, cleaned))
    assert clean(cleaned) == cleaned
    cleaned.encode()  # a lone surrogate would raise


@settings(deadline=None)  # a busy machine is no failure
@given(st.text(string.printable[:95]))
def test_printable_ascii_is_unchanged(text: str) -> None:
    assert clean(text) == text


@settings(deadline=None)  # a busy machine is no failure
@given(HOSTILE_TEXT, st.integers(min_value=0, max_value=30))
def test_a_limit_holds_and_keeps_the_beginning(text: str, limit: int) -> None:
    cut, whole = clean(text, limit), clean(text)

    assert len(cut) <= limit
    assert cut == whole or limit == 0 or (cut[-1] == "…" and whole.startswith(cut[:-1]))
    assert (cut == whole) is (len(whole) <= limit)
    assert clean(cut, limit) == cut


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("a\x1b[2J\x1b[Hb", "ab"),
        ("a\x1b]52;c;cm0gLXJm\x07b", "ab"),
        ("a\x1b]52;c;cm0gLXJm\x1b\\b", "ab"),
        ("\x1b]8;;https://evil.example\x1b\\digits\x1b]8;;\x1b\\", "digits"),
        ("a\x1bP1$r0m\x1b\\b", "ab"),
        ("a\x1b_Gf=100;AAAA\x1b\\b\x1b^x\x1b\\\x1bXy\x1b\\", "ab"),
        ("a\x9b31mb\x9d52;c;AA\x9cc\x90q\x9cd", "abcd"),
        ("a\x1b(0b\x1b=c\x1bcd", "abcd"),
        ("a\x1bPtmux;\x1b\x1b]52;c;AA\x07\x1b\\b", "a b"),
        ("\x1b\x1b[0m[31mx", " [31mx"),
        ("a\x1b]52;c;AAAA\nnext", "a next"),
        ("a\x1b", "a "),
        ("a\x1b[", "a"),
        ("one\r\n\ttwo\x00\x7fthree", "one two three"),
        ("a\u2028b\x85c", "a b c"),
        ("val\u202egnp.exe", "valgnp.exe"),
        ("lo\u200bss\ufeff", "loss"),
        ("ok\U000e0069\U000e0067", "ok"),
        ("x\ud83dy", "xy"),
        ("café 漢字 Привет ½ → ★", "café 漢字 Привет ½ → ★"),
        ("👩\u200d🔬❤\ufe0f", "👩🔬❤"),
    ],
)
def test_known_attacks_and_ordinary_words(text: str, cleaned: str) -> None:
    assert clean(text) == cleaned


def test_a_long_hostile_string_takes_linear_time() -> None:
    """Half a million introducers without an end: a quadratic scan would take hours and fail by timeout."""
    for piece in ("\x1b]", "\x1b[", "\x1bP", "\x9d", "\x1b[1;", "\x1b ", "\n", "\u200b"):
        assert not clean(piece * 500_000).strip(" [];P1")
