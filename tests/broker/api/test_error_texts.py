"""The rules of every error text (wire contract §4.2; REG-W2)."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sybline.api.error_texts import (
    NO_LEADER_TEXT,
    NO_SESSION_TEXT,
    RESERVED_TEXTS,
    WITHHELD,
    Word,
    build_text,
    escape,
    no_leader,
    no_session,
    quote,
    refuse,
)

around = st.text(max_size=20)
reserved_names = st.builds(
    lambda before, text, after: before + text + after,
    around,
    st.sampled_from(RESERVED_TEXTS),
    around,
)
names = st.one_of(
    st.text(max_size=300),
    st.text(st.characters(codec=None), max_size=100),  # lone surrogates too
    reserved_names,
    reserved_names.map(str.upper),
    reserved_names.map(lambda name: name.replace(" ", "\t \n")),
)
values = st.one_of(names, st.integers(), names.map(lambda name: Word(escape(name))))


def assert_is_a_text(text: str) -> None:
    """Raise AssertionError unless this may be sent."""
    assert len(text.encode()) <= 1024
    assert not any(unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text)
    squeezed = " ".join(text.casefold().split())
    assert not any(reserved.casefold() in squeezed for reserved in RESERVED_TEXTS)


@given(st.lists(values, max_size=30), st.sampled_from(["{}", "no {} ", "'{}', ", "transport: {}"]))
def test_reg_w2_no_text_has_a_reserved_part_a_second_line_or_more_than_a_kibibyte(
    chosen: list[str | int], piece: str
) -> None:
    assert_is_a_text(build_text("queue " + piece * len(chosen), *chosen))


@given(names)
def test_a_quoted_name_is_one_line_of_at_most_64_characters(name: str) -> None:
    quoted = quote(name)
    assert quoted[0] == quoted[-1] == "'"
    assert len(quoted) <= 66
    assert_is_a_text(quoted)


@given(names)
def test_facts_for_programs_keep_the_same_rules(name: str) -> None:
    error = refuse("NOT_FOUND", "nothing", reason="R", facts={"name": name, "count": 3})
    assert_is_a_text(error.facts["name"])
    assert error.facts["count"] == "3"


@pytest.mark.parametrize("reserved", RESERVED_TEXTS)
def test_a_name_with_a_reserved_text_is_withheld(reserved: str) -> None:
    assert quote(reserved) == f"'{WITHHELD}'"
    assert quote(f"a {reserved.upper()} b") == f"'{WITHHELD}'"
    assert build_text("queue does not exist: {}", reserved) == f"queue does not exist: '{WITHHELD}'"


def test_a_reserved_text_put_together_from_parts_is_not_sent() -> None:
    parts = (Word("no valid auth"), Word("token provided"))
    assert build_text("{} {}", *parts) == "the request was refused"


def test_a_harmless_name_stays_as_it_is() -> None:
    assert quote("orders:eu/west %1") == "'orders:eu/west %1'"
    assert quote("größe") == "'größe'"
    assert quote("a\nb\x00\u2028") == r"'a\x0ab\x00\u2028'"
    assert quote("x" * 64) == f"'{'x' * 64}'"
    assert quote("x" * 65) == f"'{'x' * 63}…'"


def test_a_long_text_is_cut_at_a_whole_character() -> None:
    text = build_text(", ".join(["{}"] * 40), *["ü" * 40] * 40)
    assert len(text.encode()) <= 1024
    assert text.endswith("…")


def test_the_two_texts_old_clients_act_on_are_exactly_theirs() -> None:
    assert (no_session().code, no_session().text) == ("UNAUTHENTICATED", NO_SESSION_TEXT)
    assert (no_leader().code, no_leader().text) == ("UNAVAILABLE", NO_LEADER_TEXT)
    assert NO_SESSION_TEXT == "no valid auth token provided"
    assert NO_LEADER_TEXT == "cannot communicate with non-leader nodes"
