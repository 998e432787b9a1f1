"""The few requests the operator makes of the API server, each with its time-out.

The only module that knows the client library. Objects are plain JSON; absence is `None`; every other refusal is an
`ApiError` with the server's words.
"""

import json
from collections.abc import Mapping
from typing import Any

from kubernetes import client, config, dynamic
from kubernetes.dynamic.exceptions import DynamicApiError, NotFoundError

from sybline_operator import limits
from sybline_operator.names import FIELD_MANAGER

Json = dict[str, Any]


class ApiError(Exception):
    """The API server refused a request, or did not answer."""

    def __init__(self, what: str, status: int, reason: str) -> None:
        super().__init__(f"{what}: {reason} ({status})")
        self.status = status


def connect() -> "KubernetesApi":
    """Return a connection from the pod's account, else from KUBECONFIG."""
    try:
        config.load_incluster_config()  # type: ignore[no-untyped-call]  # not annotated
    except config.ConfigException:
        config.load_kube_config()  # type: ignore[no-untyped-call]  # not annotated
    found = dynamic.DynamicClient(client.ApiClient())  # type: ignore[no-untyped-call]  # not annotated
    return KubernetesApi(found)


class KubernetesApi:
    """See the module."""

    def __init__(self, dynamic_client: Any) -> None:
        """`dynamic_client`: a kubernetes DynamicClient, which is not annotated."""
        self._client = dynamic_client
        self.writes = 0  # requests that change something; at rest it stands still

    def get(self, api_version: str, kind: str, namespace: str, name: str) -> Json | None:
        """Return an object; None: it does not exist."""
        resource = self._resource(api_version, kind)
        try:
            return self._call("get", resource, name=name, namespace=namespace)
        except _Absent:
            return None

    def list(
        self, api_version: str, kind: str, namespace: str, labels: Mapping[str, str]
    ) -> list[Json]:
        """Return the objects with these labels."""
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        resource = self._resource(api_version, kind)
        found = self._call("get", resource, namespace=namespace, label_selector=selector)
        return list(found["items"])

    def apply(self, body: Json) -> Json:
        """Apply an object from the server's side: what we stop sending is removed, what others own stays."""
        self.writes += 1
        resource = self._resource(body["apiVersion"], body["kind"])
        return self._call(
            "server_side_apply",
            resource,
            body=body,
            field_manager=FIELD_MANAGER,
            force_conflicts=True,
        )

    def create(self, body: Json) -> bool:
        """Create an object that nobody changes afterwards; False: it is there already."""
        self.writes += 1
        resource = self._resource(body["apiVersion"], body["kind"])
        try:
            self._call("create", resource, body=body, namespace=body["metadata"]["namespace"])
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return True

    def patch_status(
        self, api_version: str, kind: str, namespace: str, name: str, status: Json
    ) -> None:
        """Replace the status, field by field (merge patch)."""
        self.writes += 1
        resource = self._resource(api_version, kind).status
        self._call(
            "patch",
            resource,
            body={"status": status},
            name=name,
            namespace=namespace,
            content_type="application/merge-patch+json",
        )

    def delete(
        self, api_version: str, kind: str, namespace: str, name: str, *, uid: str | None = None
    ) -> bool:
        """Delete an object, only the one with this uid if given; False: it is gone already."""
        self.writes += 1
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        resource = self._resource(api_version, kind)
        try:
            self._call("delete", resource, name=name, namespace=namespace, body=options)
        except _Absent:
            return False
        except ApiError as error:
            if error.status == 409:  # another pod of that name
                return False
            raise
        return True

    def _resource(self, api_version: str, kind: str) -> Any:
        return self._client.resources.get(api_version=api_version, kind=kind)

    def _call(self, method: str, resource: Any, **arguments: Any) -> Json:
        what = (
            f"{method} {getattr(resource, 'kind', 'status')} {arguments.get('name') or ''}".strip()
        )
        try:
            answer = getattr(self._client, method)(
                resource, serialize=False, _request_timeout=limits.API_TIMEOUT_S, **arguments
            )
        except NotFoundError as error:
            raise _Absent(what, 404, "not found") from error
        except DynamicApiError as error:
            raise ApiError(what, error.status, _reason(error)) from error
        except OSError as error:  # urllib3's errors are HTTPErrors or OSErrors
            raise ApiError(what, 0, repr(error)) from error
        result: Json = json.loads(answer.data)
        return result


class _Absent(ApiError):
    """There is no such object."""


def _reason(error: DynamicApiError) -> str:
    try:
        return str(json.loads(error.body or "")["message"])
    except (ValueError, KeyError, TypeError):
        return str(error.reason)
