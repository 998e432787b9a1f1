"""The operator's rights held against what it did with them, as the API server's audit log tells it.

A right that a whole run never used is too much; a request that was forbidden is one too few. Applying an object that is
not there yet needs the right to create it, although the log calls it a patch.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.e2e.audit import Request
from tests.e2e.kube import Json, run

FORBIDDEN, CREATED = 403, 201
TOO_MUCH = "granted and never used"


@dataclass(frozen=True, order=True, slots=True)
class Right:
    """One verb on one kind of object."""

    group: str
    resource: str  # "pods", or "syblineclusters/status"
    verb: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}{'.' if self.group else ''}{self.group}"


def problems(namespace: str, name: str, requests: Iterable[Request]) -> list[str]:
    """Return what is wrong with the rights of a service account; nothing: they are what it needs.

    Call it before the account's namespaces go: there, requests are forbidden that are not otherwise.
    """
    return judge(granted(namespace, name), requests)


def judge(rights: Iterable[Right], requests: Iterable[Request]) -> list[str]:
    """Return the rights that no request used, and the requests that were forbidden."""
    used: set[Right] = set()
    forbidden: set[Right] = set()
    for request in requests:
        if request.resource:  # else it asked for what everybody may read
            (forbidden if request.status == FORBIDDEN else used).update(_rights(request))
    if not used:
        return ["the log has no request of the account"]
    return [
        *(f"{TOO_MUCH}: {right}" for right in sorted(set(rights) - used)),
        *(f"forbidden: {right}" for right in sorted(forbidden)),
    ]


def _rights(request: Request) -> Iterator[Right]:
    resource = request.resource
    if request.subresource:
        resource = f"{resource}/{request.subresource}"
    yield Right(request.group, resource, request.verb)
    if request.verb == "patch" and request.status == CREATED:
        yield Right(request.group, resource, "create")


def granted(namespace: str, name: str) -> set[Right]:
    """Return the rights that roles give to a service account, in any namespace."""
    bindings = _items("rolebindings") + _items("clusterrolebindings")
    rights: set[Right] = set()
    for binding in bindings:
        if any(_is_subject(subject, namespace, name) for subject in binding.get("subjects") or ()):
            rights.update(_of_role(binding))
    return rights


def _is_subject(subject: Json, namespace: str, name: str) -> bool:
    return (
        subject["kind"] == "ServiceAccount"
        and subject["name"] == name
        and subject.get("namespace") == namespace
    )


def _of_role(binding: Json) -> Iterator[Right]:
    reference = binding["roleRef"]
    scope = ["-n", binding["metadata"]["namespace"]] if reference["kind"] == "Role" else []
    role = json.loads(
        run(["kubectl", *scope, "get", reference["kind"], reference["name"], "-o", "json"])
    )
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield Right(group, resource, verb)


def _items(kind: str) -> list[Json]:
    found: Json = json.loads(run(["kubectl", "get", kind, "--all-namespaces", "-o", "json"]))
    return list(found["items"])
