"""What the edge may ask the local state about people: credentials, tokens, rights and roles. Changes nothing.

Stale unless the caller went through a barrier first. Answers are values, never parts of the state.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from sybline.state_machine import access
from sybline.state_machine.accounts import User
from sybline.state_machine.actions import Action
from sybline.state_machine.commands import Caller, PasswordHash
from sybline.state_machine.replies import Refused

if TYPE_CHECKING:
    from sybline.state_machine.state import State


class Credential(Struct, frozen=True):
    """What a password is checked against, and when it was set."""

    username: str
    password: PasswordHash
    epoch: int  # an OpenSession or ChangePassword that names another one is refused


class AccountReads:
    """Reads of users, roles and sessions."""

    _state: "State"

    @property
    def is_bootstrapped(self) -> bool:
        """Return whether the first administrator was ever created (U-1)."""
        return self._state.accounts.is_bootstrapped

    def credential(self, username: str) -> Credential | None:
        """Return a user's credential; None: unknown user."""
        user = self._state.accounts.user(username)
        return None if user is None else _credential(user)

    def credentials(self) -> Iterator[Credential]:
        """Yield the credentials of all users in the order of their creation."""
        return map(_credential, self._state.accounts)

    def caller_of(self, token_hash: bytes, user: str | None) -> Caller | None:
        """Return whom a live token stands for (S-2); None: nobody.

        `user`: the name that came with the token; None: the token came alone.
        """
        session = self._state.sessions.of_token(token_hash)
        if session is None or session.tokens[token_hash] <= self._state.now_ms:
            return None
        if user is not None and user != session.user:
            return None
        return Caller(session.user, session.consumer)

    def authorise(self, caller: Caller, action: Action, entities: Sequence[str]) -> Refused | None:
        """Return why the caller may not do this; None: it may, as things are. Apply asks again (A-3)."""
        return access.authorise(self._state, caller, action, entities)

    def session_count(self) -> int:
        """Return the number of sessions, those within their resume window included."""
        return len(self._state.sessions)

    def user_names(self) -> tuple[str, ...]:
        """Return all user names, sorted."""
        return tuple(sorted(user.name for user in self._state.accounts))

    def role_names(self) -> tuple[str, ...]:
        """Return the names of all roles, the built-in ones included, sorted."""
        return tuple(sorted(self._state.accounts.role_names()))

    def roles_of(self, user: str) -> tuple[str, ...] | None:
        """Return the names of a user's roles, sorted; None: unknown user."""
        found = self._state.accounts.user(user)
        return None if found is None else tuple(sorted(found.roles))


def _credential(user: User) -> Credential:
    return Credential(user.name, user.password, user.epoch)
