"""Every bound of the broker, with its unit and the rule it comes from.

Numbers with a rule id are the contract (`Z-1` and the rest of the behaviour rules); the others are ours and say why.
Nothing here reads configuration: what an operator may change lives in `config/` and is checked against these bounds.
"""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- requests and answers (Z-1, Z-3) ---
BODY_BYTES_DEFAULT: Final = 4_193_280  # Z-1
# Of what an operator may choose instead: half of the pending proposals of a member and half of a segment, so that a
# large message never waits for an idle member. It exists about ten times over while it is taken and passed on.
BODY_BYTES_MAX: Final = 32 * MIB
BODY_BYTES_MIN: Final = 1 * KIB
# Request, frame and response, encoded. A body for which the limit was raised travels alone in a larger one.
MESSAGE_BYTES_MAX: Final = 4_194_304
MESSAGE_OVERHEAD_BYTES: Final = MESSAGE_BYTES_MAX - BODY_BYTES_DEFAULT  # what surrounds one body
METADATA_BYTES_MAX: Final = 16 * KIB  # inbound gRPC metadata, wire §3
ERROR_TEXT_BYTES_MAX: Final = 1 * KIB  # wire §4.2
ERROR_DETAIL_BYTES_MAX: Final = 4 * KIB
QUOTED_NAME_CHARACTERS_MAX: Final = 64
FETCH_AMOUNT_MAX: Final = 10_000  # larger values mean this one
BATCH_IDS_MAX: Final = 10_000
MESSAGE_ID_BYTES: Final = 16
BATCH_MESSAGES_MAX: Final = 1 << 20  # what a position can number; 4 MiB hold fewer
BATCH_KEYS_MAX: Final = 10_000  # distinct ones: so that its log entry fits ENTRY_BYTES_MAX
IDEMPOTENCY_KEY_BYTES_MAX: Final = 128

# --- names (Z-2, wire §8) ---
QUEUE_NAME_BYTES_MAX: Final = 255
DEAD_LETTER_SUFFIX: Final = "-dlq"
USER_NAME_BYTES_MAX: Final = 128
PASSWORD_BYTES_MAX: Final = 1024
ROLE_DOCUMENT_BYTES_MAX: Final = 64 * KIB
ROLE_NAME_BYTES_MAX: Final = 255

# --- counts of things (Z-1) ---
QUEUES_MAX: Final = 10_000
BINDINGS_MAX: Final = 100_000
QUEUES_PER_KEY_MAX: Final = 1_000
USERS_MAX: Final = 10_000
ROLES_MAX: Final = 1_000
ROLES_PER_USER_MAX: Final = 100
SESSIONS_MAX: Final = 100_000
SESSIONS_PER_USER_MAX: Final = 10_000
TOKENS_PER_SESSION_MAX: Final = 64  # S-7
CONSUMERS_PER_QUEUE_MAX: Final = 10_000
LEASED_PER_CONSUMER_MAX: Final = 100_000
IDEMPOTENCY_KEYS_MAX: Final = 1_000_000  # P-8
ACCESS_LIST_ENTRIES_MAX: Final = 1_000

# --- times ---
LEASE_MS_DEFAULT: Final = 300_000  # NODE_TTL
LEASE_RENEWAL_MS_MAX: Final = 3_600_000  # L-5, from the first fetch
TOKEN_MS_DEFAULT: Final = 1_800_000
RESUME_WINDOW_MS: Final = 300_000  # S-4, S-6
OLD_TOKEN_GRACE_MS: Final = 300_000  # S-7
RETRY_WINDOW_MS: Final = 120_000  # G-4
RETRY_IDS_MAX: Final = 65_536  # G-4, per session
RETRY_OPERATIONS_MAX: Final = 64  # G-4, admin operations per session
IDEMPOTENCY_WINDOW_MS: Final = 300_000  # P-8
AVOID_NACKER_MS: Final = 10_000  # N-6
POLL_MEMORY_MS: Final = 10_000  # N-6
POLL_REPORT_MS: Final = 1_000  # how often a member tells the leader of one poller
POLL_REPORTS_MAX: Final = 100_000  # (queue, session) pairs whose last report a member remembers
REQUEST_ORIGIN_IDLE_MS: Final = 300_000  # > CALL_DEADLINE_S_MAX: no retry can come later
EXPIRIES_PER_TICK_MAX: Final = 1_000  # bounds the work of one Tick command
MOVES_PER_COMMAND_MAX: Final = 10_000  # redriven or unparked; a moved message costs a record
REPLY_WEIGHT_MAX: Final = (
    1 << 18
)  # kept first replies a process (P-9): one each, plus one a delivery
REQUEST_ORIGINS_MAX: Final = 1_024  # processes with kept replies; each start of a member is one

CALL_DEADLINE_S_DEFAULT: Final = 30.0  # C-4
CALL_DEADLINE_S_MAX: Final = 60.0
LEADER_WAIT_S: Final = 5.0  # C-2
IS_LEADER_WAIT_S: Final = 3.0  # wire §5 row 1
CALLS_AT_ONCE_MAX: Final = 10_000  # per member; gRPC refuses more at once
CLIENT_CONNECTIONS_MAX: Final = 10_000  # or what open files allow; more are closed at once
CLIENT_CONNECTIONS_MIN: Final = 64
CALLS_PER_CONNECTION_MAX: Final = 1_000  # further ones wait in their client
CREDENTIAL_LOOKS_MAX: Final = 3  # by one call, while others change the same password
DRAIN_FORWARD_S: Final = 3.0  # C-6
DRAIN_S_MAX: Final = 25.0

# --- login (U-4, wire §8) ---
PASSWORD_HASHES_AT_ONCE: Final = 2
PASSWORD_HASH_QUEUE_MAX: Final = 64
FAILED_LOGINS_PER_MINUTE: Final = 10
FAILED_LOGIN_BACKOFF_S_MIN: Final = 1.0  # the first; each further failure doubles it
FAILED_LOGIN_BACKOFF_S_MAX: Final = 60.0
FAILED_LOGIN_TABLE_MAX: Final = 10_000

# --- replication ---
PENDING_PROPOSAL_BYTES_MAX: Final = 64 * MIB  # Z-1, per member
FORWARDED_PER_PEER_MAX: Final = 10_000  # proposals and reads in flight from one member
# One log entry's payload.
ENTRY_BYTES_MAX: Final = BODY_BYTES_MAX + MESSAGE_OVERHEAD_BYTES + 64 * KIB
FRAME_BYTES_MAX: Final = ENTRY_BYTES_MAX + 64 * KIB  # one peer frame: an entry plus framing
APPEND_BYTES_MAX: Final = 1 * MIB  # entries per AppendEntries; a larger single entry travels alone
LARGE_ENTRY_BYTES_PER_S: Final = 25_000_000  # it reaches a follower's disk so fast; see progress.py
APPEND_ENTRIES_MAX: Final = 1_000  # RAFT_BATCH_LIMIT
GATHER_S: Final = 0.005  # proposals wait so long at most for what was appended before them
WINDOW_ENTRIES_MAX: Final = 4_096  # in flight per follower
WINDOW_BYTES_MAX: Final = 16 * MIB
FORWARD_BUFFER_BYTES_MAX: Final = 16 * MIB  # unsent to the leader; above it proposals wait here
# Above it the peer counts as stalled: a window with a large entry at its end, and answers besides.
PEER_WRITE_BUFFER_BYTES_MAX: Final = WINDOW_BYTES_MAX + FRAME_BYTES_MAX + FORWARD_BUFFER_BYTES_MAX
SEGMENT_BYTES: Final = 64 * MIB
RECENT_ENTRIES_BYTES_MAX: Final = 16 * MIB  # log tail kept in memory
BODY_CACHE_BYTES_MAX: Final = 16 * MIB
INSTALL_CHUNK_BYTES: Final = 256 * KIB
INSTALL_RETRY_S: Final = 5.0  # a member without room for an image asks for one again
INSTALL_SPARE_BYTES: Final = 1 * MIB  # of disk beside an image, for the files that name it
CHECKPOINT_ENTRIES_DEFAULT: Final = 100_000  # SNAPSHOT_THRESHOLD
CHECKPOINT_LOG_BYTES: Final = 256 * MIB  # or this much log, whichever comes first
CHECKPOINT_WORK_S: Final = 5.0  # or so long applying them: a restart applies them again
CHECKPOINT_SLICE_BYTES: Final = 512 * KIB  # collected on the loop between two of its writes
LOG_MARGIN_ENTRIES: Final = 10_000  # kept before a checkpoint, so a short absence needs no image
LOG_MARGIN_BYTES: Final = 128 * MIB  # or this much log, whichever is less
DEAD_BYTES_MAX: Final = 256 * MIB  # dead in cold files: above it a checkpoint, which frees them
SURVEY_RUNS: Final = 4_096  # of needed messages, looked at in one turn of the loop
SURVEY_FILES: Final = 16  # cold files, looked at in one turn of the loop
SCRUB_STEP_BYTES: Final = 1 * MIB  # of a cold file, read again in one piece
# What a member may store beyond twice the live bytes: log that no checkpoint has taken in yet, log kept for members
# that lag, what is found dead and waits for a checkpoint, the segment being written, the next one, and one on each side
# that is dead in part.
DISK_OVERHEAD_BYTES: Final = (
    CHECKPOINT_LOG_BYTES + LOG_MARGIN_BYTES + DEAD_BYTES_MAX + 4 * SEGMENT_BYTES
)
DISK_LOW_MARK_BYTES_DEFAULT: Final = 1024 * MIB  # Z-5, or the ratio, whichever is smaller
DISK_LOW_MARK_RATIO_DEFAULT: Final = 0.05
DISK_RECOVERED_FACTOR: Final = 1.1  # a disk counts as low until so much more is free
DISK_LOW_MARK_BYTES_MIN: Final = 2 * SEGMENT_BYTES  # the log goes on with a segment, a reserve
DISK_LOW_MARK_BYTES_MAX: Final = 1024 * 1024 * MIB
DISK_LOW_MARK_RATIO_MIN: Final = 0.001
DISK_LOW_MARK_RATIO_MAX: Final = 0.5
MEMORY_HIGH_MARK_RATIO_DEFAULT: Final = 0.8  # of what the process may use before it is ended
MEMORY_RECOVERED_FACTOR: Final = 0.95  # memory counts as high until so little is used
MEMORY_HIGH_MARK_BYTES_MIN: Final = 64 * MIB  # an idle member takes about as much
MEMORY_HIGH_MARK_BYTES_MAX: Final = 16 * 1024 * 1024 * MIB
MEMORY_HIGH_MARK_RATIO_MIN: Final = 0.1
MEMORY_HIGH_MARK_RATIO_MAX: Final = 0.95
MEMORY_PER_BODY_MIN: Final = 16  # of the largest bodies fit below the mark: see BODY_BYTES_MAX
PEER_BYTES_PER_S: Final = 125_000_000  # of the network, in the worst case: 1 Gbit/s
# Of a member besides its clients: 31 peers and their images, 64 connections of strangers and 128 of probes, about 200
# segments and checkpoint files being read, and what every process has.
OWN_OPEN_FILES_MAX: Final = 512
OPEN_FILES_MIN: Final = 4_096  # a start with fewer is warned about: clients, peers and log segments
OPEN_FILES_HIGH_RATIO: Final = 0.9  # of what the system allows: warned about before it runs out
OPEN_FILES_RECOVERED_RATIO: Final = 0.85
RESOURCES_INTERVAL_S: Final = 1.0  # how often disk, memory and open files are measured
QUEUE_METRIC_SERIES_MAX: Final = 1_000

# --- membership ---
CAUGHT_UP_LAG_ENTRIES_MAX: Final = (
    1_000  # a member that lacks more of the leader's log does not count
)
TELL_REMOVED_S: Final = 10.0  # so long at most a removed member is fed, to learn that it is
IDENTIFY_S: Final = 5.0  # so long at most a new member has to say who it is
LEADER_CALLS_PER_PEER_MAX: Final = 64  # questions about the membership in hand from one member
LEADER_CALL_BYTES_MAX: Final = (
    64 * KIB
)  # such a question or its answer: the view of all members fits

# --- the HTTP listener: health and metrics ---
HTTP_CONNECTIONS_MAX: Final = 64  # probes and scrapers; more are answered 503 …
HTTP_OPEN_MAX: Final = 128  # … and above this cut off, also when they ask nothing
HTTP_KEEP_ALIVE_S: Final = (
    15  # whole seconds for the next request; a stuck one has twice as long at most
)
HTTP_TLS_S: Final = 5.0  # for the handshake
HTTP_STOP_S: Final = 2  # whole seconds, for answers under way

# --- TLS ---
TLS_FILE_BYTES_MAX: Final = 1 * MIB  # of certificates, keys and CAs; a bundle of public CAs has 0.3
TLS_CHECK_S_DEFAULT: Final = 5.0  # between looks at the files
TLS_EXPIRY_WARNING_S: Final = 14 * 86_400.0  # before a certificate ends …
TLS_EXPIRY_WARNING_SHARE: Final = 0.2  # … or with so much of its time left, whichever is later
TLS_EXPIRY_WARNING_INTERVAL_S: Final = 86_400.0
TLS_CA_SERIES_MAX: Final = 16  # trusted CAs shown in logs and metrics

# --- settings: what an operator may choose ---
CONFIG_FILE_BYTES_MAX: Final = 1 * MIB
SETTINGS_CHECK_S: Final = 2.0  # between looks at the configuration file
SETTINGS_REFUSAL_CHARACTERS_MAX: Final = (
    4_000  # of the reasons that a member tells; its log has all
)
RECOVERY_FILE_BYTES_MAX: Final = 16 * KIB
RECOVERY_REQUEST_CHARACTERS_MAX: Final = 1_024
SECRET_BYTES_MAX: Final = 1 * KIB  # a shared secret or pepper, also in a file of its own
SHOWN_VALUE_CHARACTERS_MAX: Final = 64  # of a refused value in an error line
CLUSTER_ID_BYTES_MAX: Final = 128
HOST_CHARACTERS_MAX: Final = 253  # DNS
PORT_MAX: Final = 65_535
MEMBER_ID_MAX: Final = 65_535  # of the first members of a cluster, who are numbered by hand …
DRAWN_MEMBER_ID_MIN: Final = 1 << 16  # … those that join later draw a number from here …
DRAWN_MEMBER_ID_END: Final = 1 << 48  # … below this
ADDRESS_CHARACTERS_MAX: Final = HOST_CHARACTERS_MAX + 8  # brackets, colon and port
MEMBERS_MAX: Final = 31  # each costs every other one a connection and a copy of the log
ELECTION_TIMEOUT_S_MIN: Final = 0.1  # below it a busy machine elects for ever
ELECTION_TIMEOUT_S_MAX: Final = 60.0
HEARTBEAT_S_MIN: Final = 0.01
HEARTBEATS_PER_ELECTION_MIN: Final = 3  # one lost heartbeat must not cost the leadership
CHECKPOINT_ENTRIES_MIN: Final = 100
CHECKPOINT_ENTRIES_MAX: Final = 10_000_000
TLS_CHECK_S_MIN: Final = 0.1
TLS_CHECK_S_MAX: Final = 3_600.0
TLS_IDENTITY_BYTES_MAX: Final = 1 * KIB
TOKEN_DURATION_S_MAX: Final = 30 * 86_400.0
LEASE_S_MIN: Final = 0.1
LEASE_S_MAX: Final = LEASE_RENEWAL_MS_MAX / 1000  # a longer one could never be renewed
