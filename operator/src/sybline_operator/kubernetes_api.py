"""The few requests the operator makes of the API server, each with its time-out, never repeated behind our back.

The only module that knows the client library. Objects are plain JSON; absence is `None`; every other refusal is an
`ApiError` with the server's words. Paths follow from kinds by rule, so that nothing has to be discovered first.
"""

import json
from collections.abc import Callable, Mapping
from typing import Final

from kubernetes import client, config
from urllib3.exceptions import HTTPError

from sybline_operator import limits
from sybline_operator.crash_points import reach
from sybline_operator.json_object import Json
from sybline_operator.names import FIELD_MANAGER

_JSON: Final = "application/json"
_MERGE: Final = "application/merge-patch+json"
_APPLY: Final = "application/apply-patch+yaml"  # JSON is YAML


class ApiError(Exception):
    """The API server refused a request, or did not answer: then `status` is 0."""

    def __init__(self, what: str, status: int, reason: str) -> None:
        super().__init__(f"{what}: {reason} ({status})")
        self.status = status


def new_client() -> client.ApiClient:
    """Return a client with the rights of the pod's account, else of KUBECONFIG."""
    settings = client.Configuration()
    try:
        config.load_incluster_config(settings)  # type: ignore[no-untyped-call]  # not annotated
    except config.ConfigException:
        config.load_kube_config(client_configuration=settings)  # type: ignore[no-untyped-call]  # not annotated
    settings.retries = False  # a request that failed is known to have failed: the next look decides
    settings.connection_pool_maxsize = limits.WORKERS_MAX
    found = client.ApiClient(settings)
    found.user_agent = FIELD_MANAGER
    return found


def connect() -> "KubernetesApi":
    """Return a connection that nobody guards or counts."""
    return KubernetesApi(new_client())


class KubernetesApi:
    """See the module. May be used by several threads at once."""

    def __init__(
        self,
        api_client: client.ApiClient,
        *,
        before_write: Callable[[], None] = lambda: None,
        on_answer: Callable[[str, int], None] = lambda _verb, _status: None,
        timeout_s: float = limits.API_TIMEOUT_S,
    ) -> None:
        """`before_write` may forbid a write by raising; `on_answer` is told the verb and the status of each request."""
        self._client = api_client
        self._before_write = before_write
        self._on_answer = on_answer
        self._timeout_s = timeout_s
        self.writes = 0  # requests that change something; at rest it stands still

    # --- reads ---
    def get(self, api_version: str, kind: str, namespace: str, name: str) -> Json | None:
        """Return an object; None: it does not exist. An empty namespace: the kind has none."""
        try:
            return self._call("get", _path(api_version, kind, namespace, name))
        except _Absent:
            return None

    def list(
        self, api_version: str, kind: str, namespace: str, labels: Mapping[str, str]
    ) -> list[Json]:
        """Return the objects with these labels."""
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        path = _path(api_version, kind, namespace)
        found = self._call("list", path, query={"labelSelector": selector})
        return list(found["items"])

    # --- writes ---
    def apply(self, body: Json) -> Json:
        """Apply an object from the server's side: what we stop sending is removed, what others own stays."""
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return self._write("apply", _path_of(body), body, query=query, content=_APPLY)

    def create(self, body: Json) -> bool:
        """Create an object that nobody changes afterwards; False: it is there already."""
        metadata = body["metadata"]
        path = _path(body["apiVersion"], body["kind"], metadata.get("namespace", ""))
        try:
            self._write("create", path, body)
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return True

    def replace(self, body: Json) -> Json:
        """Replace an object whole, only if it still has the resourceVersion in `body`; else ApiError 409."""
        return self._write("update", _path_of(body), body)

    def patch(
        self, api_version: str, kind: str, namespace: str, name: str, body: Json, *,
        dry_run: bool = False,
    ) -> None:  # fmt: skip
        """Merge fields into an object; `dry_run` only asks whether it would be allowed."""
        path = _path(api_version, kind, namespace, name)
        if dry_run:
            self._call("dry-run", path, query={"dryRun": "All"}, body=body, content=_MERGE)
        else:
            self._write("patch", path, body, content=_MERGE)

    def patch_status(
        self,
        api_version: str,
        kind: str,
        namespace: str,
        name: str,
        status: Json,
        *,
        version: str = "",
    ) -> str:
        """Replace the status, field by field (merge patch), and return the object's new resourceVersion.

        Raises:
            ApiError: 409 if the object is not of this `version` any more, if one is given; else as any request.
        """
        path = f"{_path(api_version, kind, namespace, name)}/status"
        condition = {"metadata": {"resourceVersion": version}} if version else {}
        body = {**condition, "status": status}
        written = self._write("patch", path, body, content=_MERGE)
        return str(written["metadata"]["resourceVersion"])

    def delete(
        self, api_version: str, kind: str, namespace: str, name: str, *,
        uid: str | None = None, orphan: bool = False,
    ) -> bool:  # fmt: skip
        """Delete an object, only the one with this uid if given; False: it is gone already.

        `orphan` leaves what it owns.
        """
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if orphan:
            options["propagationPolicy"] = "Orphan"
        try:
            self._write("delete", _path(api_version, kind, namespace, name), options)
        except _Absent:
            return False
        except ApiError as error:
            if error.status == 409 and uid is not None:  # another one of that name
                return False
            raise
        return True

    # --- requests ---
    def _write(
        self, verb: str, path: str, body: Json, *,
        query: Mapping[str, str] | None = None, content: str = _JSON,
    ) -> Json:  # fmt: skip
        self._before_write()
        reach("before-write")
        self.writes += 1
        answer = self._call(verb, path, query=query, body=body, content=content)
        reach("after-write")
        return answer

    def _call(
        self, verb: str, path: str, *,
        query: Mapping[str, str] | None = None, body: Json | None = None, content: str = _JSON,
    ) -> Json:  # fmt: skip
        what = f"{verb} {path}"
        status = 0
        try:
            method, url, headers, sent, _ = self._client.param_serialize(
                _METHODS[verb],
                path,
                query_params=list((query or {}).items()),
                header_params={"Accept": _JSON, "Content-Type": content},
                body=body,
                auth_settings=["BearerToken"],
            )
            response = self._client.call_api(
                method, url, headers, sent, _request_timeout=self._timeout_s
            )
            status = response.status
            text = response.read()  # type: ignore[no-untyped-call]  # not annotated
        except (HTTPError, OSError, client.ApiException, config.ConfigException) as error:
            raise ApiError(what, 0, _one_line(error)) from error
        finally:
            self._on_answer(verb, status)
        return _json(what, status, text)


class _Absent(ApiError):
    """There is no such object, or no such kind."""


_METHODS: Final = {
    "get": "GET",
    "list": "GET",
    "create": "POST",
    "update": "PUT",
    "apply": "PATCH",
    "patch": "PATCH",
    "dry-run": "PATCH",
    "delete": "DELETE",
}


def _path(api_version: str, kind: str, namespace: str, name: str = "") -> str:
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{scope}/{plural(kind)}" + (f"/{name}" if name else "")


def _path_of(body: Json) -> str:
    metadata = body["metadata"]
    return _path(body["apiVersion"], body["kind"], metadata.get("namespace", ""), metadata["name"])


def plural(kind: str) -> str:
    """Return the name of a kind in paths and rules: Kubernetes follows the English rule."""
    word = kind.lower()
    if word.endswith("y"):
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "ch")) else f"{word}s"


def _json(what: str, status: int, text: bytes) -> Json:
    try:
        answer: Json = json.loads(text)
    except ValueError:
        answer = {}
    if 200 <= status < 300 and answer:
        return answer
    reason = str(answer.get("message") or text[: limits.STATUS_TEXT_CHARACTERS_MAX])
    raise (_Absent if status == 404 else ApiError)(what, status, reason)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
