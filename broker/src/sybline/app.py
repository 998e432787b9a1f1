"""One member put together, run, and taken apart in order (C-6, C-7): the composition root.

Owns which object gets which, the order of start and stop, the first administrator, and what SIGTERM does. Everything
here is built once and passed on through constructors; no other module knows all the parts.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import structlog

from sybline import limits
from sybline.api.parts import ApiParts
from sybline.api.polls import PollMemory
from sybline.api.server import ApiServer
from sybline.auth.first_admin import load_or_create_password_file
from sybline.auth.passwords import PasswordHasher
from sybline.auth.throttle import LoginThrottle
from sybline.clock import SystemClock
from sybline.config.settings import AdminSection, Settings
from sybline.errors import FailStop, SyblineError
from sybline.http.app import build_app
from sybline.http.server import HttpServer
from sybline.process_memory import settle_memory
from sybline.replication.identity import Identity
from sybline.replication.journal import CorruptData, DirectoryInUse
from sybline.replication.member import Member, MemberSettings
from sybline.replication.node import CheckpointDistance
from sybline.replication.timing import Timing
from sybline.state_machine.commands import BootstrapAdmin
from sybline.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

BOOTSTRAP_POLL_S = 0.05  # how often a member looks whether the first administrator is there
BOOTSTRAP_PROPOSAL_S = 10.0
DEVELOPMENT_PASSWORD = "sybline"  # noqa: S105 - the settings demand another one outside development
INTERRUPTED_EXIT_CODE = 143  # a second SIGTERM: as safe as a crash


class StartError(Exception):
    """The member cannot start; the text is for whoever started it."""


class Broker:
    """One member: its log, its listeners, and whether it serves. The HTTP listener asks it for its health."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._metrics = Metrics(clock=self._clock)
        self._hasher = PasswordHasher(pepper=settings.passwords.pepper.get_secret_value().encode())
        polls = PollMemory(self._clock)
        self._member = Member(
            _member_settings(settings),
            clock=self._clock,
            on_note=polls.on_note,
            observer=self._metrics,
        )
        self._metrics.watch(self._member)
        self._api = ApiServer(
            self._api_parts(polls),
            host=settings.listen.host,
            port=settings.listen.grpc_port,
            reflection=settings.grpc.reflection,
        )
        self._http = HttpServer(
            build_app(metrics=self._metrics, health=self),
            host=settings.listen.host,
            port=settings.listen.http_port,
        )
        self._is_started = False
        self._is_draining = False

    # --- health ---
    def live(self) -> str:
        """Return "": who can answer lives. What is broken has ended the process (C-8)."""
        return ""

    def ready(self) -> str:
        """Return why this member should get no calls yet, or no more; "": it serves (C-7)."""
        if self._is_draining:
            return "shutting down"
        if not self._is_started:
            return "reading the log"
        status = self._member.status()
        if status.leader is None:
            return "no leader is known"
        if not status.ready:
            return f"applied up to {status.applied_index}, not yet what the leader has committed"
        if not self._member.machine.is_bootstrapped:
            return "the first administrator is not created yet"
        return ""

    # --- start ---
    async def start(self) -> None:
        """Open the log and the listeners; calls are taken from now on, answered once there is a leader.

        Raises:
            CorruptData, DirectoryInUse: the data directory.
            OSError: the disk, or an address that cannot be listened on.
        """
        await self._http.start()
        await self._member.start()
        await self._api.start()
        self._is_started = True
        log.info("member_started", member=self._settings.member.id)

    async def become_ready(self) -> None:
        """Wait until this member serves; the leader of a new cluster creates the first administrator (U-1).

        Raises:
            StartError: the pepper (SALT) is not the one the stored passwords were made with.
            OSError: the first password cannot be written to its file.
        """
        while self.ready():
            status = self._member.status()
            if (
                status.role == "leader"
                and status.ready
                and not self._member.machine.is_bootstrapped
            ):
                await self._bootstrap()
            await asyncio.sleep(BOOTSTRAP_POLL_S)
        self._check_pepper()
        self._api.set_serving(True)
        log.info("member_ready", member=self._settings.member.id)

    async def _bootstrap(self) -> None:
        username = self._settings.admin.username
        first_password = await asyncio.to_thread(_first_password, self._settings.admin)
        try:
            password = await self._hasher.hash(first_password, deadline_s=BOOTSTRAP_PROPOSAL_S)
            command = BootstrapAdmin(username, password)
            await self._member.propose(command, deadline_s=BOOTSTRAP_PROPOSAL_S)
        except SyblineError as error:
            log.warning("bootstrap_not_done", error=str(error))  # whoever leads next tries again
        else:
            log.info("administrator_created", username=username)

    def _check_pepper(self) -> None:
        own = self._hasher.pepper_check
        if any(c.password.pepper_check != own for c in self._member.machine.credentials()):
            raise StartError(
                "SALT (passwords.pepper) differs from the one the stored passwords were made with; "
                "every member needs the original value"
            )

    # --- stop ---
    async def stop(self) -> None:
        """Shut down so that no client notices more than a moved connection (C-6)."""
        ends_s = self._clock.monotonic_s() + limits.DRAIN_S_MAX
        self._is_draining = True
        self._api.set_serving(False)
        forwarding = asyncio.create_task(asyncio.sleep(limits.DRAIN_FORWARD_S))
        if self._is_started and self._member.status().role == "leader":
            moved = await self._member.transfer_leadership(deadline_s=limits.DRAIN_FORWARD_S)
            log.info("leadership_handed_over", done=moved)
        await forwarding
        await self._api.drain(max(0.0, ends_s - self._clock.monotonic_s()))
        await self._member.stop()
        await self._http.stop()
        self._hasher.close()
        log.info("member_stopped", member=self._settings.member.id)

    # --- parts ---
    def _api_parts(self, polls: PollMemory) -> ApiParts:
        settings = self._settings
        return ApiParts(
            log=self._member,
            machine=lambda: self._member.machine,
            cluster_id=settings.member.cluster_id,
            hasher=self._hasher,
            throttle=LoginThrottle(self._clock),
            polls=polls,
            clock=self._clock,
            metrics=self._metrics,
            token_ms=int(settings.sessions.token_duration_s * 1000),
            lease_ms=int(settings.queues.lease_s * 1000),
        )


async def run(settings: Settings) -> int:
    """Run a member until SIGTERM or SIGINT and return the process's exit status.

    Raises:
        StartError: it cannot start, or must not go on with these settings.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, partial(_interrupt, stop))
    with _reported():
        broker = Broker(settings)
        await broker.start()
    settle_memory()
    becoming_ready = asyncio.create_task(broker.become_ready())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({becoming_ready, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if becoming_ready.done():
        with _reported():
            becoming_ready.result()
    else:
        becoming_ready.cancel()
    await stopping
    await broker.stop()
    return 0


def _interrupt(stop: asyncio.Event) -> None:
    if stop.is_set():
        os._exit(INTERRUPTED_EXIT_CODE)
    stop.set()


def _first_password(admin: AdminSection) -> str:
    """Return the password of the first administrator: generated once, given, or the one of development mode."""
    if admin.generate_password and admin.password_file is not None:
        return load_or_create_password_file(admin.password_file)
    return admin.password.get_secret_value() or DEVELOPMENT_PASSWORD


def _member_settings(settings: Settings) -> MemberSettings:
    return MemberSettings(
        identity=Identity(settings.member.cluster_id, settings.member.id),
        data_dir=settings.member.data_dir,
        peers=settings.member.peers,
        listen_host=settings.listen.host,
        listen_port=settings.listen.peer_port,
        secret=settings.peer.secret.get_secret_value().encode(),
        timing=Timing(settings.raft.election_timeout_s, settings.raft.heartbeat_s),
        checkpoint=CheckpointDistance(entries=settings.raft.checkpoint_entries),
    )


@contextmanager
def _reported() -> Iterator[None]:
    """Turn what a start may meet into one line."""
    try:
        yield
    except (CorruptData, DirectoryInUse, FailStop, OSError) as error:
        raise StartError(_one_line(error)) from error


def _one_line(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return " ".join(text.split())
