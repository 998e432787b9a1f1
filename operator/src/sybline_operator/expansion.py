"""Growing the disks of a cluster while its members run: pure.

Each claim is let ask for more, the provisioner makes it so, and then the StatefulSet, whose claim templates nobody can
change, is made anew around its pods, which notice nothing. Each step may be repeated, and all of it follows from what
is seen: a claim of the wanted size needs no step, nor does a StatefulSet with the wanted template.
"""

from sybline_operator.observation import ClaimSeen, Observed
from sybline_operator.quantities import bytes_of
from sybline_operator.steps import ExpandClaim, ReplaceWorkload


def next_step(size: str, seen: Observed) -> ExpandClaim | ReplaceWorkload | None:
    """Return what brings the disks nearer to the size; None: nothing does, now."""
    small = _smaller(size, seen)
    if hindrance(size, seen):
        return None  # nothing half done
    if small:
        return ExpandClaim(small[0].name, small[0].uid, size)
    workload = seen.workload
    if (
        workload is None
        or bytes_of(workload.storage_size) >= bytes_of(size)
        or waited_for(size, seen)
    ):
        return None
    return ReplaceWorkload(workload.uid, size)


def hindrance(size: str, seen: Observed) -> str:
    """Return why the disks cannot grow; "": they can, or need not."""
    refused = [claim for claim in _smaller(size, seen) if claim.refused]
    return f"{refused[0].name} cannot grow to {size}: {refused[0].refused}" if refused else ""


def waited_for(size: str, seen: Observed) -> str:
    """Return which disk has asked for its size and does not have it yet; "": none."""
    for claim in _in_use(seen):
        if claim.capacity_bytes < bytes_of(size) <= claim.requested_bytes:
            return f"{claim.name} grows to {size}" + (claim.resizing and f", {claim.resizing}")
    return ""


def template_size(size: str, seen: Observed) -> str:
    """Return the size that the claim template of a StatefulSet has.

    The one in force; when the StatefulSet is made anew, the wanted size once every disk has asked for it, and until
    then that of the smallest.
    """
    if seen.workload is not None:
        return seen.workload.storage_size
    small = _smaller(size, seen)
    return str(min(claim.requested_bytes for claim in small)) if small else size


def _smaller(size: str, seen: Observed) -> list[ClaimSeen]:
    return [claim for claim in _in_use(seen) if claim.requested_bytes < bytes_of(size)]


def _in_use(seen: Observed) -> list[ClaimSeen]:
    """Return the disks that pods have or are to have, by ordinal; those that scaling down left stay as they are."""
    wanted = range(seen.workload.replicas) if seen.workload is not None else ()
    ordinals = sorted({*wanted, *(pod.ordinal for pod in seen.pods)})
    found = (seen.claims.get(seen.names.claim(ordinal)) for ordinal in ordinals)
    return [claim for claim in found if claim is not None and claim.is_growable]
