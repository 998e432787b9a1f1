"""Every interval and bound of the operator, with its unit."""

from typing import Final

API_TIMEOUT_S: Final = 10.0  # one request to the API server
ADMIN_TIMEOUT_S: Final = 5.0  # one call to a member; a change waits for its commit
TRANSFER_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 2.0
RECONCILE_AGAIN_S: Final = 2.0  # while something is under way
RECONCILE_IDLE_S: Final = 60.0  # the net under the watches
RECONCILE_STALE_S: Final = 300.0  # without a finished reconcile the operator counts as stuck
ERROR_BACKOFF_S: Final = 5.0
WORKERS_MAX: Final = 10  # reconciles at once
PASSWORD_BYTES: Final = 24
EVENT_MESSAGE_CHARACTERS_MAX: Final = 1_000  # Kubernetes refuses more than 1,024
STATUS_TEXT_CHARACTERS_MAX: Final = 1_000
