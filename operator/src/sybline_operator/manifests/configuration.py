"""What the members read: their configuration file, the secret among them, the first administrator, the seed."""

from typing import Any, Final

import yaml

from sybline_operator.manifests.common import Json, Wanted, metadata

CONFIG_KEY: Final = "sybline.yaml"
CONFIG_DIRECTORY: Final = "/etc/sybline/config"
PEER_DIRECTORY: Final = "/etc/sybline/peer"
ADMIN_DIRECTORY: Final = "/etc/sybline/admin"
SEED_DIRECTORY: Final = "/etc/sybline/seed"
SECRET_KEY: Final = "secret"  # noqa: S105 - the name of a key
SEED_KEY: Final = "member"
USERNAME: Final = "sybline"


def broker_settings(wanted: Wanted) -> dict[str, Any]:
    """Return the broker's settings: the user's, and what the operator owns."""
    return {
        **wanted.spec.config,
        "member": {
            "cluster_id": wanted.names.cluster_id,
            "data_dir": "/data/sybline",
            "bootstrap_seed_file": f"{SEED_DIRECTORY}/{SEED_KEY}",
        },
        "peer": {"secret_file": f"{PEER_DIRECTORY}/{SECRET_KEY}"},
        "admin": {"username": USERNAME, "password_file": f"{ADMIN_DIRECTORY}/password"},
    }


def config_map(wanted: Wanted) -> Json:
    """Return the ConfigMap with the broker's configuration file."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(wanted, wanted.names.config_map),
        "data": {CONFIG_KEY: yaml.safe_dump(broker_settings(wanted), sort_keys=True)},
    }


def seed_config_map(wanted: Wanted) -> Json:
    """Return the permission for the first pod to found the cluster; it exists until the cluster does, once."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(wanted, wanted.names.seed_config_map),
        "data": {SEED_KEY: wanted.names.pod(0)},
    }


def peer_secret(wanted: Wanted, secret: str) -> Json:
    """Return the Secret that members prove to each other."""
    return _secret(wanted, wanted.names.peer_secret, {SECRET_KEY: secret})


def admin_secret(wanted: Wanted, password: str) -> Json:
    """Return the Secret of the first administrator, with the keys of a Service Binding."""
    names = wanted.names
    return _secret(
        wanted,
        names.admin_secret,
        {
            "type": "sybline",
            "host": f"{names.client_service}.{names.namespace}.svc",
            "port": "2221",
            "username": USERNAME,
            "password": password,
        },
    )


def _secret(wanted: Wanted, name: str, values: dict[str, str]) -> Json:
    """Return a Secret that outlives the resource: its disks do, and are of no use without it."""
    fields = metadata(wanted, name)
    del fields["ownerReferences"]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": fields,
        "stringData": values,
    }
