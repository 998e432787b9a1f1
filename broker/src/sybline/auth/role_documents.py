"""Role documents (wire contract §9): from the JSON text a client sends to permissions, or a refusal in old words (§6).

Owns the syntax of documents only. What a permission means is decided in `state_machine/access.py`. Pure.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from sybline import limits
from sybline.state_machine.actions import ADMIN_ACTIONS, ANY, Action
from sybline.state_machine.commands import Permission

_ALLOW: Final = "allow"
_DENY: Final = "deny"
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ACTIONS: Final = {action.value: action for action in Action}


class BadRoleDocument(Exception):
    """A document that is refused: a template and the values for its `{}`, for whoever builds error texts."""

    def __init__(self, template: str, *values: str | int) -> None:
        super().__init__(template, *values)
        self.template = template
        self.values = values


@dataclass(frozen=True, slots=True)
class RoleDocument:
    """What a document says."""

    name: str
    permissions: tuple[Permission, ...]  # in the document's order


def parse_role_document(raw: str) -> RoleDocument:
    """Return name and permissions of a role document; other keys at its top are ignored.

    Raises:
        BadRoleDocument: the text is not one.
    """
    document = _parse_json(raw)
    name = _parse_name(document)
    if "actions" not in document:
        raise BadRoleDocument("missing actions")
    actions = document["actions"]
    if not isinstance(actions, dict):
        raise BadRoleDocument("invalid actions: must be a JSON object")
    if not actions:
        raise BadRoleDocument("no actions provided under actions")
    permissions = tuple(_parse_permission(*each) for each in actions.items())
    return RoleDocument(name, permissions)


# --- JSON, strictly ---
def _parse_json(raw: str) -> Mapping[str, Any]:
    try:
        document = json.loads(raw, object_pairs_hook=_build_object, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise BadRoleDocument(
            "role is not valid JSON: cannot be read at line {} column {}",
            error.lineno,
            error.colno,
        ) from error
    except RecursionError as error:
        raise BadRoleDocument("role is not valid JSON: nested too deeply") from error
    except ValueError as error:  # of more digits than Python converts
        raise BadRoleDocument("role is not valid JSON: a number is too long") from error
    if not isinstance(document, dict):
        raise BadRoleDocument("role is not valid JSON: must be an object")
    return document


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object whose keys are all different: of two permissions for one action, which would count?"""
    built = dict(pairs)
    if len(built) < len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise BadRoleDocument("role is not valid JSON: key {} is given twice", key)
            seen.add(key)
    return built


def _refuse_constant(constant: str) -> NoReturn:
    raise BadRoleDocument("role is not valid JSON: {} is not a JSON value", constant)


# --- names ---
def _parse_name(document: Mapping[str, Any]) -> str:
    name = document.get("role")
    if not isinstance(name, str):
        raise BadRoleDocument("missing role name")
    if len(name) <= 1:
        raise BadRoleDocument("role name must have length >1")
    size = _utf8_bytes(name)
    if size > limits.ROLE_NAME_BYTES_MAX:
        most = limits.ROLE_NAME_BYTES_MAX
        raise BadRoleDocument("role name of {} bytes exceeds the limit of {} bytes", size, most)
    if _CONTROL.search(name):
        raise BadRoleDocument("role name must not contain control characters: {}", name)
    if name != name.strip():
        raise BadRoleDocument("role name must not begin or end with white space: {}", name)
    return name


def _utf8_bytes(text: str) -> int:
    """Return the encoded size of a text; JSON can spell halves of characters, which have none."""
    try:
        return len(text.encode())
    except UnicodeEncodeError as error:
        raise BadRoleDocument("role is not valid JSON: {} is not Unicode text", text) from error


# --- permissions ---
def _parse_permission(field: str, value: object) -> Permission:
    action = _ACTIONS.get(field)
    if action is None:
        raise BadRoleDocument("invalid field found: {}", field)
    if not isinstance(value, str):
        raise BadRoleDocument("invalid permission: {} must be a string", field)
    if action in ADMIN_ACTIONS:
        return _build_permission(action, [(_check_verdict(value, action), ANY)])
    return _build_permission(action, [_parse_entry(each, action) for each in value.split(",")])


def _build_permission(action: Action, entries: list[tuple[str, str]]) -> Permission:
    # as keys of a dict: each entity once, in the document's order
    allow = dict.fromkeys(entity for verdict, entity in entries if verdict == _ALLOW)
    deny = dict.fromkeys(entity for verdict, entity in entries if verdict == _DENY)
    return Permission(action=action.value, allow=tuple(allow), deny=tuple(deny))


def _parse_entry(entry: str, action: Action) -> tuple[str, str]:
    """Return verdict and entity of `allow:<entity>` or `deny:<entity>`; the entity may contain `:`."""
    verdict, separator, entity = entry.strip().partition(":")
    if not separator:
        raise BadRoleDocument(
            "invalid number of parts: {} of {} is not allow:<name> or deny:<name>", entry, action
        )
    entity = entity.strip()
    size = _utf8_bytes(entity)
    if not 1 <= size <= limits.QUEUE_NAME_BYTES_MAX:
        raise BadRoleDocument(
            "invalid entity length: {} has a name of {} bytes, allowed are 1 to {}",
            action,
            size,
            limits.QUEUE_NAME_BYTES_MAX,
        )
    if _CONTROL.search(entity):
        raise BadRoleDocument("invalid entity: {} must not contain control characters", entity)
    return _check_verdict(verdict.strip(), action), entity


def _check_verdict(verdict: str, action: Action) -> str:
    if verdict not in (_ALLOW, _DENY):
        raise BadRoleDocument("action can only be: deny or allow, for {} it is {}", action, verdict)
    return verdict
