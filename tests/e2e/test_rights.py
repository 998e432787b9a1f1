"""How rights are held against an audit log: what is too much, what is too little, and what an apply needs."""

from tests.e2e.audit import Request
from tests.e2e.rights import Right, judge

PODS = Right("", "pods", "list")
SECRETS = Right("", "secrets", "get")


def request(verb: str, resource: str, status: int = 200, subresource: str = "") -> Request:
    return Request(verb, "", resource, subresource, "here", "", status)


def test_rights_that_are_all_used_are_fine() -> None:
    assert judge({PODS}, [request("list", "pods")]) == []


def test_a_right_that_nobody_used_is_named() -> None:
    assert judge({PODS, SECRETS}, [request("list", "pods")]) == [
        "granted and never used: get secrets"
    ]


def test_a_request_that_was_forbidden_is_named_and_uses_no_right() -> None:
    found = judge({PODS, SECRETS}, [request("list", "pods"), request("get", "secrets", 403)])
    assert found == ["granted and never used: get secrets", "forbidden: get secrets"]


def test_what_is_not_there_was_asked_for_all_the_same() -> None:
    assert judge({PODS, SECRETS}, [request("list", "pods"), request("get", "secrets", 404)]) == []


def test_an_apply_that_made_an_object_used_the_right_to_create_it() -> None:
    rights = {Right("", "services", "create"), Right("", "services", "patch")}
    assert judge(rights, [request("patch", "services", 201)]) == []
    assert judge(rights, [request("patch", "services", 200)]) == [
        "granted and never used: create services"
    ]


def test_a_subresource_is_a_right_of_its_own() -> None:
    rights = {Right("", "things/status", "patch")}
    assert judge(rights, [request("patch", "things", 200, "status")]) == []


def test_a_log_without_the_account_proves_nothing() -> None:
    assert judge({PODS}, []) == ["the log has no request of the account"]
