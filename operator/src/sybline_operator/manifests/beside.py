"""What a user puts beside the broker in each pod: under the restrictions that the broker is under, told or not."""

from sybline_operator.json_object import Json

RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def restricted(container: Json) -> Json:
    """Return a container with the restrictions that it does not name itself; what loosens one never gets here."""
    own = container.get("securityContext", {})
    added = own.get("capabilities", {}).get("add")
    capabilities = {"drop": ["ALL"], **({"add": added} if added else {})}
    return {**container, "securityContext": {**RESTRICTED, **own, "capabilities": capabilities}}
