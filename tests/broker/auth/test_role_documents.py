"""Role documents: the syntax of wire contract §9, and the texts of §6 for what is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sybline import limits
from sybline.api.error_texts import build_text
from sybline.auth.role_documents import BadRoleDocument, RoleDocument, parse_role_document
from sybline.state_machine.actions import ADMIN_ACTIONS, Action
from sybline.state_machine.commands import Permission


def document(actions: object, *, role: object = "narrow") -> str:
    return json.dumps({"role": role, "actions": actions})


def refusal(raw: str) -> str:
    with pytest.raises(BadRoleDocument) as refused:
        parse_role_document(raw)
    return build_text(refused.value.template, *refused.value.values)


def test_an_entity_action_takes_a_list_of_verdicts() -> None:
    parsed = parse_role_document(document({"GetMessages": "deny:q1,allow:*", "Ack": "allow:q2"}))
    assert parsed == RoleDocument(
        "narrow",
        (Permission("GetMessages", ("*",), ("q1",)), Permission("Ack", ("q2",), ())),
    )


def test_an_admin_action_is_allowed_or_denied_as_a_whole() -> None:
    parsed = parse_role_document(document({"CreateQueue": "allow", "DeleteUser": "deny"}))
    assert parsed.permissions == (
        Permission("CreateQueue", ("*",), ()),
        Permission("DeleteUser", (), ("*",)),
    )


def test_entries_are_trimmed_and_split_at_the_first_colon() -> None:
    parsed = parse_role_document(document({"SubmitMessage": " allow:a:b/c , deny: d ,allow:a:b/c"}))
    assert parsed.permissions == (Permission("SubmitMessage", ("a:b/c",), ("d",)),)


def test_other_keys_at_the_top_are_ignored() -> None:
    raw = '{"role": "ab", "note": [1, {"x": null}], "actions": {"Ack": "allow:q"}}'
    assert parse_role_document(raw).name == "ab"


def test_every_action_is_known() -> None:
    actions = {action.value: "allow" if action in ADMIN_ACTIONS else "allow:*" for action in Action}
    parsed = parse_role_document(document(actions))
    assert [permission.action for permission in parsed.permissions] == list(actions)
    assert all(permission.allow == ("*",) for permission in parsed.permissions)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ('{"actions": {"Ack": "allow:q"}}', "missing role name"),
        (document({"Ack": "allow:q"}, role=7), "missing role name"),
        (document({"Ack": "allow:q"}, role=None), "missing role name"),
        (document({"Ack": "allow:q"}, role=""), "role name must have length >1"),
        (document({"Ack": "allow:q"}, role="r"), "role name must have length >1"),
        ('{"role": "narrow"}', "missing actions"),
        (document("Ack"), "invalid actions"),
        (document([]), "invalid actions"),
        (document(None), "invalid actions"),
        (document({}), "no actions provided under actions"),
        (document({"Ack": True}), "invalid permission"),
        (document({"CreateQueue": None}), "invalid permission"),
        (document({"Fly": "allow"}), "invalid field found: 'Fly'"),
        (document({"ack": "allow:q"}), "invalid field found: 'ack'"),
        (document({"Nack": "allow:q"}), "invalid field found: 'Nack'"),
        (document({"Ack": ""}), "invalid number of parts"),
        (document({"Ack": "allow"}), "invalid number of parts"),
        (document({"Ack": "allow:q,"}), "invalid number of parts"),
        (document({"Ack": "allow:"}), "invalid entity length"),
        (document({"Ack": "allow: "}), "invalid entity length"),
        (document({"Ack": "allow:" + "q" * 256}), "invalid entity length"),
        (document({"Ack": "allow:a\tb"}), "invalid entity: 'a\\x09b' must not"),
        (document({"Ack": "permit:q"}), "action can only be: deny or allow"),
        (document({"Ack": "Allow:q"}), "action can only be: deny or allow"),
        (document({"CreateQueue": "yes"}), "action can only be: deny or allow"),
        (document({"CreateQueue": "allow "}), "action can only be: deny or allow"),
        (document({"CreateQueue": "allow:q"}), "action can only be: deny or allow"),
    ],
)
def test_a_bad_document_is_refused_in_the_words_old_clients_know(raw: str, text: str) -> None:
    assert refusal(raw).startswith(text)


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "ROOT",
        "[]",
        '"role"',
        "7",
        "null",
        "{",
        '{"role": "narrow",}',
        "{'role': 'narrow'}",
        '{"role": "narrow"} {}',
        '{"role": "narrow", "role": "wide"}',
        '{"role": "narrow", "actions": {"Ack": "allow:q", "Ack": "deny:q"}}',
        '{"role": "narrow", "x": NaN}',
        '{"role": "narrow", "x": -Infinity}',
        '{"role": "narrow", "x": ' + "9" * 5000 + "}",
        '{"role": "nar\\ud800row", "actions": {"Ack": "allow:q"}}',
        '{"role": "narrow", "actions": {"Ack": "allow:\\udfff"}}',
        "[" * limits.ROLE_DOCUMENT_BYTES_MAX,
        '{"a":' * (limits.ROLE_DOCUMENT_BYTES_MAX // 5),
    ],
)
def test_what_is_not_json_is_refused_as_such(raw: str) -> None:
    assert refusal(raw).startswith("role is not valid JSON: ")


def test_the_place_of_a_json_error_is_told() -> None:
    assert refusal('{"role":\n"narrow" x}').endswith("cannot be read at line 2 column 10")


@pytest.mark.parametrize("role", ["r" * 256, "a\nb", " ab", "ab "])
def test_a_role_name_is_short_and_plain(role: str) -> None:
    assert refusal(document({"Ack": "allow:q"}, role=role)).startswith("role name ")


def test_a_reserved_text_never_comes_back() -> None:
    reserved = "no valid auth token provided"
    assert reserved not in refusal(document({reserved: "allow"}))
    assert reserved not in refusal(document({"CreateQueue": reserved}))


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
_values = st.text() | st.sampled_from(["allow", "deny", "allow:*", "deny:q,allow:*", "allow:a:b"])
_documents = st.fixed_dictionaries(
    {},
    optional={
        "role": st.text() | _json,
        "actions": st.dictionaries(st.sampled_from(list(Action)) | st.text(), _values) | _json,
        "more": _json,
    },
).map(json.dumps)


@given(raw=st.text() | _json.map(json.dumps) | _documents)
def test_any_text_is_either_a_role_or_refused(raw: str) -> None:
    try:
        parsed = parse_role_document(raw)
    except BadRoleDocument as error:
        build_text(error.template, *error.values)
        return
    assert len(parsed.name) > 1
    assert parsed.permissions
    for permission in parsed.permissions:
        assert permission.allow or permission.deny
        for entity in (*permission.allow, *permission.deny):
            assert 1 <= len(entity.encode()) <= limits.QUEUE_NAME_BYTES_MAX
            assert "," not in entity
