"""How Kubernetes wakes a look: changes of a SyblineCluster, of its pods and of its objects.

The only module that knows kopf. A handler decides nothing and keeps nothing: it asks for a look. All of them are for
events, so that kopf writes nothing into any object.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import kopf
import structlog

from sybline_operator import limits
from sybline_operator.looks import Looks
from sybline_operator.names import CLUSTER_LABEL, GROUP, PLURAL, VERSION

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Memo:
    """What kopf hands to the handlers."""

    looks: Looks


async def watch(looks: Looks, namespaces: Collection[str], *, identity: str) -> None:
    """Watch these namespaces, or all if there are none, until SIGTERM; raise what kopf cannot get over."""
    await kopf.operator(
        memo=Memo(looks),
        standalone=True,  # a Lease says who acts; kopf's peering is none
        # Its default asks for the name of a user that has none.
        identity=identity,  # type: ignore[arg-type]  # a NewType that kopf does not export
        namespaces=namespaces,
        clusterwide=not namespaces,
    )


@kopf.on.startup()
async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Set the belts of kopf: a watch that went silent is begun anew."""
    settings.watching.server_timeout = limits.WATCH_S
    settings.watching.client_timeout = limits.WATCH_S + limits.API_TIMEOUT_S
    settings.watching.connect_timeout = limits.API_TIMEOUT_S
    settings.networking.request_timeout = limits.LIST_TIMEOUT_S
    settings.scanning.disabled = True  # neither namespaces nor definitions need to be read
    settings.posting.enabled = False  # events are ours, with reasons
    log.info("watching")


@kopf.on.cleanup()
async def stop(memo: Memo, **_: Any) -> None:
    """End all looks."""
    await memo.looks.stop()


@kopf.on.event(GROUP, VERSION, PLURAL)
async def cluster_moved(namespace: str | None, name: str | None, memo: Memo, **event: Any) -> None:
    """A cluster was made, changed, deleted, or was there when the operator started."""
    assert namespace is not None
    assert name is not None
    if event["type"] == "DELETED":
        memo.looks.forget(namespace, name)
    else:
        memo.looks.wake(namespace, name)


@kopf.on.event("pods", labels={CLUSTER_LABEL: kopf.PRESENT})
@kopf.on.event("statefulsets", labels={CLUSTER_LABEL: kopf.PRESENT})
@kopf.on.event("configmaps", labels={CLUSTER_LABEL: kopf.PRESENT})
@kopf.on.event("services", labels={CLUSTER_LABEL: kopf.PRESENT})
async def child_moved(
    namespace: str | None, labels: Mapping[str, str], memo: Memo, **_: Any
) -> None:
    """Something that belongs to a cluster changed."""
    assert namespace is not None
    memo.looks.wake(namespace, labels[CLUSTER_LABEL])
