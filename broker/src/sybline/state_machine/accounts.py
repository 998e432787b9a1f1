"""Users and roles as the state holds them, and which user has which role (U-1 to U-3, wire contract §9).

Holds no rules: `administering` decides, what is here are the steps. Remembers what sessions did to accounts (G-4 b).
"""

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct, msgpack

from sybline import limits
from sybline.state_machine import roles
from sybline.state_machine.commands import PasswordHash, Permission
from sybline.state_machine.operations import Operations, OperationsDump
from sybline.state_machine.pages import Capture, Reader
from sybline.state_machine.roles import Rights, Role
from sybline.state_machine.tables import Table

_USERS_PER_PAGE: Final = 64
_ROLES_PER_PAGE: Final = 8  # their documents may be long


class UserDump(Struct, frozen=True, array_like=True):
    """One user; roles in the order in which they were assigned."""

    name: str
    password: PasswordHash
    epoch: int
    roles: list[str]


class RoleDump(Struct, frozen=True, array_like=True):
    """One role that somebody created."""

    name: str
    raw: str
    permissions: tuple[Permission, ...]


class AccountsDump(Struct, frozen=True, array_like=True):
    """All accounts; the built-in roles are part of the program."""

    is_bootstrapped: bool
    users: list[UserDump]
    roles: list[RoleDump]
    operations: OperationsDump


class AccountsPages(Struct, frozen=True, array_like=True):
    """The pages of all accounts."""

    is_bootstrapped: bool
    users: bytes
    roles: bytes
    operations: bytes


class User:
    """Somebody who can log in."""

    __slots__ = ("epoch", "name", "password", "rights", "roles")

    def __init__(self, name: str, password: PasswordHash, epoch: int) -> None:
        self.name = name
        self.password = password
        self.epoch = (
            epoch  # log index that set the password: never equal for two passwords of one name
        )
        self.roles: dict[str, Role] = {}
        self.rights: Rights | None = None  # computed from the roles when first needed


_user_decoder = msgpack.Decoder(list[UserDump])
_role_decoder = msgpack.Decoder(list[RoleDump])


def _dump_users(users: Iterable[User]) -> list[UserDump]:
    return [UserDump(user.name, user.password, user.epoch, list(user.roles)) for user in users]


def _dump_roles(created: Iterable[Role]) -> list[RoleDump]:
    return [RoleDump(role.name, role.raw, role.permissions) for role in created]


def _encode_users(rows: dict[str, User]) -> bytes:
    return msgpack.encode(_dump_users(rows.values()))


def _encode_roles(rows: dict[str, Role]) -> bytes:
    return msgpack.encode(_dump_roles(rows.values()))


def _decode_roles(page: bytes) -> Iterator[tuple[str, Role]]:
    for stored in _role_decoder.decode(page):
        yield stored.name, Role(stored.name, stored.raw, stored.permissions)


class Accounts:
    """All users and roles."""

    __slots__ = ("_created", "_roles", "_users", "is_bootstrapped", "operations")

    def __init__(self) -> None:
        self.is_bootstrapped = (
            False  # a first administrator was created, whatever became of it (U-1)
        )
        self._users: Table[str, User] = Table(_USERS_PER_PAGE, _encode_users)
        self._roles = roles.built_in_roles()  # and those that somebody created
        self._created: Table[str, Role] = Table(_ROLES_PER_PAGE, _encode_roles)
        self.operations = Operations()

    # --- asking ---
    def __len__(self) -> int:
        return len(self._users)

    def __iter__(self) -> Iterator[User]:
        return iter(self._users.values())

    def user(self, name: str) -> User | None:
        """Return a user; None: unknown."""
        return self._users.get(name)

    def role(self, name: str) -> Role | None:
        """Return a role, built in or not; None: unknown."""
        return self._roles.get(name)

    def role_names(self) -> Iterable[str]:
        """Return the names of all roles, the built-in ones first."""
        return self._roles.keys()

    def created_roles(self) -> int:
        """Return how many roles are not built in."""
        return len(self._created)

    def roles_of(self, user: str) -> Iterable[str]:
        """Return the names of a user's roles; an unknown user has none."""
        found = self._users.get(user)
        return () if found is None else found.roles.keys()

    def has_role(self, user: str, role: str) -> bool:
        """Return whether the user exists and has the role."""
        found = self._users.get(user)
        return found is not None and role in found.roles

    def is_last_root(self, user: User) -> bool:
        """Return whether nobody else has the role ROOT (U-2)."""
        return roles.ROOT in user.roles and self._roles[roles.ROOT].holders == 1

    def rights_of(self, user: str) -> Rights:
        """Return what a user who exists may do. Kept until the user's roles change."""
        found = self._users[user]
        if found.rights is None:
            found.rights = roles.rights_of(found.roles.values())
        return found.rights

    # --- steps of changes ---
    def add_user(self, name: str, password: PasswordHash, epoch: int) -> User:
        """Create a user whose name is free."""
        user = User(name, password, epoch)
        self._users.put(name, user)
        return user

    def set_password(self, user: User, password: PasswordHash, epoch: int) -> None:
        """Give a user another password."""
        self._users.changes(user.name)
        user.password = password
        user.epoch = epoch

    def remove_user(self, user: User) -> None:
        """Forget a user that has no session any more."""
        for role in user.roles.values():
            role.holders -= 1
        self._users.remove(user.name)

    def add_role(self, role: Role) -> None:
        """Add a role whose name is free."""
        self._roles[role.name] = role
        self._created.put(role.name, role)

    def remove_role(self, role: Role) -> None:
        """Forget a role that nobody has."""
        del self._roles[role.name]
        self._created.remove(role.name)

    def assign(self, user: User, role: Role) -> None:
        """Give a user a role that it does not have."""
        self._users.changes(user.name)
        user.roles[role.name] = role
        role.holders += 1
        user.rights = None

    def unassign(self, user: User, role: Role) -> None:
        """Take away a role that the user has."""
        self._users.changes(user.name)
        del user.roles[role.name]
        role.holders -= 1
        user.rights = None

    # --- time ---
    def next_due_ms(self) -> int | None:
        """Return when a memory of operations is out of date."""
        return self.operations.next_due_ms()

    def expire(self, now_ms: int, budget: int) -> int:
        """Drop memories of operations that are out of date; return how many."""
        return self.operations.expire(now_ms, budget)

    # --- checkpoints ---
    def dump(self) -> AccountsDump:
        """Return everything, in order."""
        return AccountsDump(
            is_bootstrapped=self.is_bootstrapped,
            users=_dump_users(self._users.values()),
            roles=_dump_roles(self._created.values()),
            operations=self.operations.dump(),
        )

    @classmethod
    def load(cls, dump: AccountsDump) -> "Accounts":
        """Return the accounts of a dump."""
        accounts = cls()
        accounts.is_bootstrapped = dump.is_bootstrapped
        for role in dump.roles:
            accounts.add_role(Role(role.name, role.raw, role.permissions))
        for stored in dump.users:
            accounts._users.put(stored.name, accounts._load_user(stored))
        accounts.operations = Operations.load(dump.operations)
        return accounts

    def _load_user(self, stored: UserDump) -> User:
        user = User(stored.name, stored.password, stored.epoch)
        for name in stored.roles:
            role = user.roles[name] = self._roles[name]
            role.holders += 1
        return user

    def capture(self, capture: Capture) -> AccountsPages:
        """Include everything and return what leads to it."""
        return AccountsPages(
            self.is_bootstrapped,
            self._users.capture(capture),
            self._created.capture(capture),
            self.operations.capture(capture),
        )

    @classmethod
    def load_pages(cls, saved: AccountsPages, reader: Reader) -> "Accounts":
        """Return the accounts in pages."""
        accounts = cls()
        accounts.is_bootstrapped = saved.is_bootstrapped
        accounts._created.load(saved.roles, reader, _decode_roles)
        accounts._roles.update(accounts._created.items())

        def decode(page: bytes) -> Iterator[tuple[str, User]]:
            for stored in _user_decoder.decode(page):
                yield stored.name, accounts._load_user(stored)

        accounts._users.load(saved.users, reader, decode)
        accounts.operations = Operations.load_pages(saved.operations, reader)
        return accounts

    def check_invariants(self) -> None:
        """Raise AssertionError when users and roles contradict each other."""
        holders = dict.fromkeys(self._roles, 0)
        for name, user in self._users.items():
            assert user.name == name
            assert len(user.roles) <= limits.ROLES_PER_USER_MAX
            for role in user.roles.values():
                assert self._roles[role.name] is role, "no assignment outlives its role"
                holders[role.name] += 1
        assert {name: role.holders for name, role in self._roles.items()} == holders
        assert len(self._users) <= limits.USERS_MAX
        assert self.created_roles() <= limits.ROLES_MAX
        if self.is_bootstrapped:
            assert holders[roles.ROOT] > 0, "somebody keeps the role ROOT (U-2)"
        else:
            assert not self._users
        self.operations.check_invariants()
