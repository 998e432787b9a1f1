"""What members at the same log index say they hold: they must all say the same."""

from tests.support.cluster import Cluster
from tests.support.waiting import wait_until


async def digests_of(cluster: Cluster) -> dict[int, str]:
    """Return each member's message counts once all have applied the same index."""

    async def same_index() -> dict[int, str] | None:
        pages = {member: await cluster.metrics(member) for member in cluster.members}
        applied = {page.get("sybline_raft_applied_index") for page in pages.values()}
        if len(applied) != 1 or None in applied:
            return None
        return {member: _counts(page) for member, page in pages.items()}

    return await wait_until(
        same_index, what="members at the same index", deadline_s=30.0, poll_s=0.2
    )


def _counts(page: dict[str, float]) -> str:
    names = ("sybline_queue_messages", "sybline_queue_bytes", "sybline_sessions")
    return " ".join(f"{k}={v:g}" for k, v in sorted(page.items()) if k.startswith(names))
