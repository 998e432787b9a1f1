"""What the members read: their configuration file, the secret among them, the first administrator, the seed."""

from collections.abc import Mapping
from typing import Any, Final

import yaml

from sybline.config import KEYS, ConfigError, check_tree
from sybline_operator.json_object import Json
from sybline_operator.manifests.certificates import TLS_DIRECTORY
from sybline_operator.manifests.common import Wanted, metadata
from sybline_operator.names import CLIENT_PORT

CONFIG_KEY: Final = "sybline.yaml"
CONFIG_DIRECTORY: Final = "/etc/sybline/config"
PEER_DIRECTORY: Final = "/etc/sybline/peer"
ADMIN_DIRECTORY: Final = "/etc/sybline/admin"
SEED_DIRECTORY: Final = "/etc/sybline/seed"
SECRET_KEY: Final = "secret"  # noqa: S105 - the name of a key
SEED_KEY: Final = "member"
RECOVERY_DIRECTORY: Final = "/etc/sybline/recovery"
ORDER_KEY: Final = "order"  # in the ConfigMap of a recovery
USERNAME: Final = "sybline"


def broker_settings(wanted: Wanted) -> dict[str, Any]:
    """Return the broker's settings: the user's, and what the operator owns."""
    return {
        **wanted.spec.config,
        "member": {
            "cluster_id": wanted.names.cluster_id,
            "data_dir": "/data/sybline",
            "bootstrap_seed_file": f"{SEED_DIRECTORY}/{SEED_KEY}",
            "recovery_file": f"{RECOVERY_DIRECTORY}/{ORDER_KEY}",
        },
        "peer": {"secret_file": f"{PEER_DIRECTORY}/{SECRET_KEY}"},
        "admin": {"password_file": f"{ADMIN_DIRECTORY}/password"},
        "tls": _tls_settings(wanted),
    }


def _tls_settings(wanted: Wanted) -> dict[str, Any]:
    """Return where pods find the Secret that holds all of it; its content may change at any time."""
    if not wanted.spec.tls.enabled:
        return {"enabled": False}
    return {
        "enabled": True,
        "ca_file": f"{TLS_DIRECTORY}/ca.crt",
        "cert_file": f"{TLS_DIRECTORY}/tls.crt",
        "key_file": f"{TLS_DIRECTORY}/tls.key",
        "client_auth": wanted.spec.tls.client_auth.lower(),
    }


def restart_settings(wanted: Wanted) -> Json:
    """Return the keys that members read when they start, and only then."""
    return _part(broker_settings(wanted), live=False)


def settings_file(wanted: Wanted, *, starting_with: Json | None, present: str) -> str:
    """Return the text of the configuration file: what members start with by now, and the live keys of the spec.

    `starting_with` is what the pod template in force says, None: there is none; a pod that is lost meanwhile comes back
    as it was. Where the two do not fit each other, live keys wait, too, as the text that is `present` has them.
    """
    restart = restart_settings(wanted) if starting_with is None else starting_with
    for live in (_part(broker_settings(wanted), live=True), _part(_read(present), live=True)):
        tree = _merged(restart, live)
        if _is_usable(tree):
            return yaml.safe_dump(tree, sort_keys=True)
    return yaml.safe_dump(restart, sort_keys=True)


def _part(settings: Mapping[str, Any], *, live: bool) -> Json:
    part: Json = {}
    for section, keys in settings.items():
        if not isinstance(keys, Mapping):
            if not live:
                part[section] = keys
            continue
        chosen = {name: value for name, value in keys.items() if _is_live(section, name) == live}
        if chosen:
            part[section] = chosen
    return part


def _is_live(section: str, name: str) -> bool:
    key = KEYS.get(f"{section}.{name}")
    return key is not None and key.is_live


def _merged(one: Json, other: Json) -> Json:
    return {
        key: {**one.get(key, {}), **other[key]} if key in other else one[key]
        for key in {**one, **other}
    }


def _read(text: str) -> Json:
    """Return the settings in a text; somebody may have edited it."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_usable(tree: Json) -> bool:
    try:
        check_tree(tree, under=CONFIG_KEY)
    except ConfigError:
        return False
    return True


def config_map(wanted: Wanted, file: str) -> Json:
    """Return the ConfigMap with the broker's configuration file."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(wanted, wanted.names.config_map),
        "data": {CONFIG_KEY: file},
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
            "host": names.client_host,
            "port": str(CLIENT_PORT),
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
