"""Members that join after a forced recovery: the log tells of the cluster before, and they are not of that."""

from pathlib import Path

from sybline import limits
from sybline.replication.files import RealFiles
from sybline.replication.forced_configuration import make_sole_voter
from sybline.replication.survey import survey
from tests.support.members import SMALL, Group, Root, messages, running

BODY = bytes(limits.APPEND_BYTES_MAX // 2)
MESSAGES = 5  # more than one AppendEntries holds, so that a joiner commits what is before the recovery by itself


async def test_who_joins_after_a_recovery_is_of_the_new_cluster_also_after_its_restart(
    tmp_path: Path,
) -> None:
    async with running(Group(tmp_path)) as group:
        old = await group.formed()
        root = await Root.create(await group.leader())
        for _ in range(MESSAGES):
            await root.publish(await group.leader(), BODY)
        await group.equal_states()
        await group.stop()
        files, survivor = RealFiles(), group.data_dir(1)
        made = make_sole_voter(files, survey(files, survivor), options=SMALL)
        assert made.cluster_uid != old.cluster_uid
        await group.start(1)
        joiner = group.add_place()
        await group.start(joiner)
        await group.grow(joiner)
        await group.equal_states()

        await group.stop(joiner)
        await group.start(joiner)
        await group.equal_states()
        assert (await group.formed()).cluster_uid == made.cluster_uid
        assert messages(group.running[joiner]) == MESSAGES
