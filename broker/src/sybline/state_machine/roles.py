"""Roles and what they add up to: the built-in ones, and the rights that all roles of a user give together (A-1).

A role never changes: it is created, perhaps deleted once nobody has it, and the built-in ones are neither.
"""

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from sybline.state_machine.actions import ADMIN_ACTIONS, ANY, ENTITY_ACTIONS, Action
from sybline.state_machine.commands import Permission


class Role:
    """A named set of permissions and how many users have it."""

    __slots__ = ("holders", "is_built_in", "name", "permissions", "raw", "sets")

    def __init__(
        self, name: str, raw: str, permissions: tuple[Permission, ...], *, is_built_in: bool = False
    ) -> None:
        self.name = name
        self.raw = raw  # the document as it was given
        self.permissions = permissions
        self.is_built_in = is_built_in
        self.holders = 0
        # For asking only, never iterated: action, what is allowed, what is denied.
        self.sets = tuple(
            (permission.action, frozenset(permission.allow), frozenset(permission.deny))
            for permission in permissions
        )


class Grant:
    """What the roles of a user say about one action that they do not deny altogether."""

    __slots__ = ("allows", "allows_any", "denies", "is_unlimited")

    def __init__(self, allows: list[frozenset[str]], denies: list[frozenset[str]]) -> None:
        self.allows_any = any(ANY in names for names in allows)
        self.allows = () if self.allows_any else tuple(allows)
        self.denies = tuple(denies)
        self.is_unlimited = self.allows_any and not denies

    def permits(self, entity: str) -> bool:
        """Return whether the action may be done to the entity: a deny beats every allow."""
        for names in self.denies:
            if entity in names:
                return False
        if self.allows_any:
            return True
        for names in self.allows:  # noqa: SIM110 - on the way of every publish
            if entity in names:
                return True
        return False


Rights: TypeAlias = dict[str, Grant]  # by action; what is not here is denied for every entity


def rights_of(roles: Iterable[Role]) -> Rights:
    """Return what roles permit together. Shares their sets, so that it stays small for a user with many large roles."""
    allows: dict[str, list[frozenset[str]]] = {}
    denies: dict[str, list[frozenset[str]]] = {}
    for role in roles:
        for action, allowed, denied in role.sets:
            if allowed:
                allows.setdefault(action, []).append(allowed)
            if denied:
                denies.setdefault(action, []).append(denied)
    return {
        action: Grant(allowed, denies.get(action, []))
        for action, allowed in allows.items()
        if not any(ANY in names for names in denies.get(action, ()))
    }


def check_permissions(permissions: tuple[Permission, ...]) -> None:
    """Raise ValueError when the edge has not done its part: known actions, each once, with entities that fit them."""
    actions = [Action(permission.action) for permission in permissions]
    if len(set(actions)) < len(actions):
        raise ValueError("an action stands in two permissions")
    for action, permission in zip(actions, permissions, strict=True):
        entities = (*permission.allow, *permission.deny)
        if not entities or not all(entities):
            raise ValueError(f"permission {action} without entity")
        if action in ADMIN_ACTIONS and entities != (ANY,):
            raise ValueError(f"permission {action} takes no entity")


# --- the built-in ones ---
ROOT: Final = "ROOT"


def _built_in(name: str, *, allowed: Sequence[Action] = (), denied: Sequence[Action] = ()) -> Role:
    permissions = (
        *(Permission(action.value, (ANY,), ()) for action in allowed),
        *(Permission(action.value, (), (ANY,)) for action in denied),
    )
    return Role(name, "", permissions, is_built_in=True)


def built_in_roles() -> dict[str, Role]:
    """Return the roles that every cluster has, by name (wire contract §9)."""
    every = (*ENTITY_ACTIONS, *ADMIN_ACTIONS)
    roles = (
        _built_in(ROOT, allowed=every),
        _built_in("ADMIN", allowed=(Action.PURGE_QUEUE, Action.REDRIVE_QUEUE, *ADMIN_ACTIONS)),
        _built_in("PRODUCER", allowed=(Action.SUBMIT_MESSAGE, Action.SUBMIT_BATCHED_MESSAGES)),
        _built_in("CONSUMER", allowed=(Action.GET_MESSAGES, Action.ACK, Action.BATCH_ACK)),
        _built_in("DENY", denied=every),
    )
    return {role.name: role for role in roles}
