"""Every interval and bound of the operator, with its unit."""

from typing import Final

API_TIMEOUT_S: Final = 10.0  # one request to the API server
ADMIN_TIMEOUT_S: Final = 5.0  # one call to a member; a change waits for its commit
STATUS_TIMEOUT_S: Final = 2.0  # a member's word about itself, asked of each in turn
TRANSFER_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 2.0
LOGIN_TIMEOUT_S: Final = (
    6.0  # hashing a password is slow on purpose, slower still on a busy machine
)
RECONCILE_AGAIN_S: Final = 2.0  # while something is under way
RECONCILE_DEGRADED_S: Final = (
    10.0  # members get well, and disks get room, without an event of Kubernetes
)
RECONCILE_IDLE_S: Final = 60.0  # the net under the watches
RECONCILE_STALE_S: Final = 300.0  # without a finished reconcile the operator counts as stuck
ERROR_BACKOFF_S: Final = 5.0  # after a look that failed; doubled each time it fails again
ERROR_BACKOFF_MAX_S: Final = 60.0
WATCH_S: Final = 300  # a watch is begun anew after so long
LIST_TIMEOUT_S: Final = 60.0  # kopf's requests that are no watches
WORKERS_MAX: Final = 10  # looks at once
DEFINITION_RETRY_S: Final = 5.0  # between two questions for a resource definition that is not there
PROBE_TIMEOUT_S: Final = (
    10.0  # a connection of a probe or of Prometheus that asks nothing is closed
)
PROBE_STOP_S: Final = 1.0  # for answers under way when the process ends
LEASE_S: Final = 15  # a Lease that has not moved for so long may be taken
LEASE_RENEW_WITHIN_S: Final = (
    10.0  # who could not renew it for so long stops acting, well before that
)
LEASE_RETRY_S: Final = 2.0  # between two renewals, or attempts to take it
LEASE_TIMEOUT_S: Final = 5.0  # one request about the Lease
TLS_PROBES_MAX: Final = 8  # members of one cluster asked at once for their certificates
TLS_PROBE_TIMEOUT_S: Final = 5.0
TLS_CLIENTS_FOLLOW_S: Final = (
    120.0  # until clients that mount the published CAs have them; kubelets take 90 s
)
METRICS_PAGE_BYTES_MAX: Final = 16 * 1024 * 1024
STUCK_S: Final = (
    60.0  # an outdated pod that is not ready for so long is made anew; a slow start takes less
)
FOUNDING_S: Final = (
    30.0  # a first pod that has run for so long was not permitted to found when it started
)
RECOVERY_OFFERED_AFTER_S: Final = 120.0  # without a quorum, and for pods that may come back
RECOVERY_TAKEN_S: Final = 30.0  # after so long a survivor that runs has not seen its order
PASSWORD_BYTES: Final = 24
EVENT_MESSAGE_CHARACTERS_MAX: Final = 1_000  # Kubernetes refuses more than 1,024
STATUS_TEXT_CHARACTERS_MAX: Final = 1_000
SHORT_LIFE_S: Final = 60.0  # a container that ended sooner, and badly, may do so again and again
