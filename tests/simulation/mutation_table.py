"""The table of mutations: each safety rule of the product, and the change of its source that switches it off."""

from sybline.replication import admission, checkpoint, durable_core, files, rules
from sybline.replication.changing import Changing
from sybline.replication.checkpoint_store import CheckpointStore
from sybline.replication.durable_core import DurableCore
from sybline.replication.election import Elections
from sybline.replication.following import Following
from sybline.replication.install import Installation
from sybline.replication.journal import Journal
from sybline.replication.leading import Leading
from sybline.replication.node import RaftNode
from sybline.replication.page_files import PageFileWriter
from sybline.replication.proposals import Proposals
from sybline.replication.reads import Reads
from sybline.replication.segment_writer import SegmentWriter
from sybline.replication.segmented_log import SegmentedLog
from sybline.replication.vote import VoteFile
from sybline.state_machine.machine import StateMachine
from sybline.state_machine.pages import Chunk
from tests.simulation.mutation import Change, Mutation, off

BROKER = ("product-state",)
MEMBERS = ("membership", "membership-power", "membership-partitions", "replacement", "grow-shrink")

MUTATIONS: tuple[Mutation, ...] = (
    # --- durability (rules 3 and 5)
    Mutation(
        "a vote is written before it is given",
        off(VoteFile, "_write", "self._file.write_at(slot * SLOT_BYTES, [data])"),
    ),
    Mutation("a vote is synced before it is given", off(VoteFile, "_write", "self._file.sync()")),
    Mutation(
        "a candidate stores the vote for itself",
        off(
            Elections,
            "_campaign",
            "self._store_term(self.term + 1, self.member)",
            "self._store_term(self.term + 1, None)",
        ),
    ),
    Mutation("the log is synced", off(SegmentWriter, "append", "self._file.sync()")),
    Mutation(
        "a follower answers after its sync",
        off(Following, "_on_append", "self._promise(peer, reply)", "self._post(peer, reply)"),
    ),
    Mutation(
        "an answer about a checkpoint waits for the sync",
        off(
            Following,
            "_on_chunk",
            "self._promise(peer, self._chunk_reply(message, 0, self.c",
            "self._post(peer, self._chunk_reply(message, 0, self.c",
        ),
        ("snapshots", "everything", "late"),
    ),
    Mutation(
        "answers wait for the end of the sync, not its beginning",
        off(
            DurableCore,
            "_flush",
            "self._syncing, self._held = batch, messages",
            "self._syncing, self._held = batch, []; self._release(messages)",
        ),
    ),
    Mutation(
        "a leader counts itself after its sync",
        off(Leading, "_majority_index", "self._journal.durable", "self._journal.last"),
    ),
    Mutation(
        "answers of an older term do not leave any more",
        off(DurableCore, "_store_term", "self._outbox, self._held = [], []"),
        ("slow-disks", "five-members", "elections"),
    ),
    Mutation(
        "a cut lowers what the sync under way promises",
        off(
            SegmentedLog,
            "truncate_from",
            "self._batch.promise = min(self._batch.promise, index - 1)",
        ),
        ("cut while synced",),
    ),
    Mutation(
        "a failed sync ends the member",
        off(
            DurableCore,
            "_run_sync",
            'raise FailStop(f"the log cannot be synced: {error}") from error',
        ),
        ("disk-errors", "everything"),
    ),
    # --- files
    Mutation(
        "the name of a new segment is synced",
        off(SegmentWriter, "start_segment", "self._files.sync_directory(path.parent)"),
    ),
    Mutation(
        "a new segment is synced before it gets its name",
        off(SegmentWriter, "start_segment", "file.sync()"),
    ),
    Mutation(
        "a checkpoint is synced before it gets its name",
        off(checkpoint, "write_root", "file.sync()"),
        ("snapshots", "power", "everything"),
    ),
    Mutation(
        "the name of a checkpoint is synced before the log is dropped",
        off(checkpoint, "write_root", "files.sync_directory(path.parent)"),
        ("log dropped",),
    ),
    Mutation(
        "a page file is synced before it gets its name",
        off(PageFileWriter, "finish", "self._file.sync()"),
        ("snapshots", "power", "everything"),
    ),
    Mutation(
        "the names of page files are synced before the checkpoint gets its own",
        off(CheckpointStore, "_finish", "self._files.sync_directory(self._path)"),
        ("pages durable",),
    ),
    Mutation(
        "a chunk of the state that changes is encoded first, if a checkpoint waits for it",
        off(Chunk, "changes", "if self.capture is not None:", "if False:"),
        ("product-state", "everything"),
    ),
    Mutation(
        "a replaced file is synced before it gets its name",
        off(files, "replace_file", "file.sync()"),
    ),
    Mutation(
        "a received image is synced before it counts",
        off(Installation, "_verify", "file.sync()"),
        ("snapshots", "everything"),
    ),
    # --- the log (rules 1, 2 and 4)
    Mutation(
        "messages of older terms are refused",
        off(Following, "_on_append", "if message.term < self.term:", "if False:"),
    ),
    Mutation(
        "the entry before must match",
        off(Following, "_take_entries", "if journal.term(prev) != message.prev_term:", "if False:"),
    ),
    Mutation(
        "the log is cut at a conflict only",
        off(
            Following, "_cut_at_conflict", "if journal.term(entry.index) != entry.term:", "if True:"
        ),
    ),
    Mutation(
        "the match is what the message verified",
        off(
            Following,
            "_take_entries",
            "match = prev + len(message.entries)",
            "match = journal.last",
        ),
        ("divergent", "elections", "late", "partitions"),
    ),
    Mutation(
        "a follower commits only what was verified",
        off(rules, "follower_commit", "min(leader_commit, match)", "leader_commit"),
        ("divergent", "partitions", "everything", "late"),
    ),
    Mutation(
        "answers of other terms do not count",
        off(
            Leading,
            "_answering",
            "if self.role_number != LEADER or term != self.term:",
            "if self.role_number != LEADER:",
        ),
        ("late answer",),
    ),
    Mutation(
        "a leader counts only entries of its own term",
        off(rules, "may_commit", " and index_term == term", ""),
        ("figure 8",),
    ),
    Mutation(
        "a quorum is a majority", off(rules, "quorum", "voters // 2 + 1", "max(1, voters // 2)")
    ),
    Mutation(
        "only what is committed is applied",
        off(RaftNode, "_apply", "min(self.commit_index, self", "min(self._journal.last, self"),
    ),
    # --- elections (rules 1, 5 and 6)
    Mutation(
        "one vote a term",
        off(Elections, "_on_request_vote", "and self.voted_for in (None, peer)", ""),
    ),
    Mutation(
        "no vote for a log that is behind",
        off(
            Elections,
            "_on_request_vote",
            "and self._is_up_to_date(message.last, message.last_term)",
            "",
        ),
        ("divergent", "partitions", "elections", "late"),
    ),
    Mutation(
        "votes of other terms do not count",
        off(Elections, "_on_vote", "message.term == self.term and ", ""),
        ("contested",),
    ),
    Mutation(
        "refused votes do not count",
        off(Elections, "_on_vote", " and message.granted", ""),
        ("elections", "late", "five-members"),
    ),
    Mutation(
        "a leader begins with an entry of its term",
        (
            Change(
                Leading,
                "_won",
                'self._append([Entry(self._no_op, self.term, NO_OP, b"")])',
                "self._no_op -= 1",
            ),
        ),
    ),
    # --- images (rule 9)
    Mutation(
        "an older image is refused",
        (
            Change(
                Following,
                "_on_chunk",
                "if message.index <= self.commit_index:",
                "if message.index <= self._journal.checkpoint_index:",
            ),
            Change(
                Following, "_take_over", "if installation.index <= self.commit_index:", "if False:"
            ),
        ),
        ("image behind the state",),
    ),
    Mutation(
        "the log behind an image is kept if it matches",
        off(Journal, "_holds", "return self.first - 1", "return False and self.first - 1"),
        ("image behind the log",),
    ),
    Mutation(
        "chunks are taken in order only",
        (
            Change(
                Following,
                "_take_chunk",
                "message.offset == installation.received and message.data",
                "message.data",
            ),
        ),
        ("snapshots", "everything"),
    ),
    # --- requests (P-9, ADR-0003)
    Mutation(
        "a repeated command is applied once",
        off(StateMachine, "apply", "if first is not None:", "if False:"),
        BROKER,
    ),
    Mutation(
        "what may be in a log is not refused",
        off(
            Proposals,
            "_poll_one",
            "if not waiter.may_be_appended and now_s >= waiter.give_up_s:",
            "if now_s >= waiter.started_s + 1.0:",
        ),
        BROKER,
    ),
    Mutation(
        "a member reads only what it has applied",
        off(Reads, "_resolve_if_applied", " or applied_index < request.index", ""),
        BROKER,
    ),
    # --- reads (rule 7 and thesis 6.4)
    Mutation(
        "a read waits for a majority",
        off(RaftNode, "_serve_reads", "not self._is_quorum(answered | {self.member}) or ", ""),
        ("reads", "pauses", "partitions"),
    ),
    Mutation(
        "a read waits for a round that began after it",
        off(
            RaftNode,
            "read_index",
            "self._round + 1, self.commit_index",
            "self._round, self.commit_index",
        ),
        ("reads", "pauses"),
    ),
    Mutation(
        "a leader reads only after its first entry is applied",
        off(
            RaftNode, "read_index", "if not self.is_ready_leader:", "if self.role_number != LEADER:"
        ),
        ("reads", "elections", "divergent"),
    ),
    # --- members (thesis chapter 4)
    Mutation(
        "one change at a time",
        off(
            Changing,
            "_is_free",
            "self.is_configuration_committed and self.commit_index >= self._no_op",
            "self.commit_index >= self._no_op",
        ),
        MEMBERS,
    ),
    Mutation(
        "no change before the first commit of the term",
        (
            Change(Changing, "_is_free", " and self.commit_index >= self._no_op", ""),
            Change(Changing, "_knows_others", "return is_settled or", "return True or"),
            Change(
                Changing,
                "change_members",
                "if not self.quorum_confirmed:",
                'if self.role != "leader":',
            ),
        ),
        ("change before the first commit",),
    ),
    Mutation(
        "a change counts from its entry on",
        off(
            DurableCore,
            "_follow_configuration",
            "self._voters = configuration.voters",
            "self._voters = self._voters or configuration.voters",
        ),
        MEMBERS,
    ),
    Mutation(
        "a cut brings back the configuration before",
        off(DurableCore, "_cut", "self._configurations.truncate_from(index)"),
        MEMBERS,
    ),
    Mutation(
        "a checkpoint holds the configuration of its index",
        off(
            DurableCore, "_configuration_at", "self._configurations.at(index)", "self.configuration"
        ),
        MEMBERS,
    ),
    Mutation(
        "after a restart the log's configurations count",
        off(durable_core, "_recovered", "if index > base_index:", "if False:"),
        MEMBERS,
    ),
    Mutation(
        "a change is made to the version that was expected",
        off(Changing, "change_members", "if expected_version != before.version:", "if False:"),
        MEMBERS,
    ),
    Mutation(
        "a learner's disk does not count",
        off(Leading, "_majority_index", "in self._voting_peers]", "in self._others]"),
        MEMBERS,
    ),
    Mutation(
        "a learner does not campaign",
        off(
            Elections,
            "_may_campaign",
            "self.is_voter or self._is_needed_still",
            "bool(self.configuration.members)",
        ),
        MEMBERS,
    ),
    Mutation(
        "only voters elect",
        (
            Change(
                Elections,
                "_campaign",
                "for peer in self._voting_peers:",
                "for peer in self._others:",
            ),
            Change(
                Elections,
                "_is_quorum",
                "members.intersection(self._voters)",
                "members",
            ),
        ),
        MEMBERS,
    ),
    Mutation(
        "only voters confirm a read",
        off(
            RaftNode,
            "_serve_reads",
            "not self._is_quorum(answered | {self.member}) or ",
            "len(answered | {self.member}) <= len(self._voters) // 2 or ",
        ),
        ("learners confirm nothing",),
    ),
    Mutation(
        "a leader that is no member does not count itself",
        off(Leading, "_majority_index", "if self.is_voter:", "if True:"),
        MEMBERS,
    ),
    Mutation(
        "a leader that is no member steps down",
        off(
            Changing,
            "_follow_changes",
            "if not self.is_voter and self.is_configuration_committed:",
            "if False:",
        ),
        ("removed but needed",),
    ),
    Mutation(
        "a learner votes once it has caught up",
        off(Changing, "_check_change", "case Promote():", "case Promote() if False:"),
        MEMBERS,
    ),
    Mutation(
        "no change that leaves too few healthy voters",
        off(
            Changing, "_check_change", "if after.voters != self._voters and not force:", "if False:"
        ),
        MEMBERS,
    ),
    Mutation(
        "a removed voter may be needed until its removal is committed",
        off(Elections, "_may_campaign", "self.is_voter or self._is_needed_still", "self.is_voter"),
        ("removed but needed",),
    ),
    Mutation(
        "a lost disk is refused by the others",
        off(
            admission,
            "judge",
            "if peer.is_blank and configuration.cluster_uid:",
            "if False:",
        ),
        MEMBERS,
    ),
    Mutation(
        "an empty disk waits until the others have judged it",
        off(Elections, "_takes_part", "return len(self._met) >= self._must_meet", "return True"),
        MEMBERS,
    ),
)
