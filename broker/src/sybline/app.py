"""One member put together, run, and taken apart in order (C-6, C-7): the composition root.

Owns which object gets which, the order of start and stop, the first administrator, and what SIGTERM does. Everything
here is built once and passed on through constructors; no other module knows all the parts.
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from sybline import limits
from sybline.addresses import split_address
from sybline.api.parts import ApiParts, MemberFacts
from sybline.api.polls import PollMemory
from sybline.api.server import ApiServer
from sybline.auth.first_admin import load_or_create_password_file
from sybline.auth.passwords import PasswordHasher
from sybline.auth.throttle import LoginThrottle
from sybline.clock import Clock, SystemClock
from sybline.config.live import LiveSettings
from sybline.config.loading import Loaded
from sybline.config.settings import AdminSection, LimitsSection, Settings
from sybline.config.tls_paths import client_files, peer_files
from sybline.errors import FailStop, SyblineError
from sybline.http.app import build_app
from sybline.http.server import HttpServer
from sybline.process_files import raise_open_files_limit
from sybline.process_memory import settle_memory, usable_bytes
from sybline.replication.fail_stop import end_process
from sybline.replication.files import DISK_ERRORS, RealFiles
from sybline.replication.journal import CorruptData, DirectoryInUse, JournalOptions
from sybline.replication.member import Member, MemberSettings
from sybline.replication.node import CheckpointDistance
from sybline.replication.pressure import Marks
from sybline.replication.recovery_order import obey
from sybline.replication.storage_errors import DISK_ADVICE
from sybline.replication.timing import Timing
from sybline.state_machine.commands import BootstrapAdmin
from sybline.supervise import supervise
from sybline.telemetry.logging import set_level
from sybline.telemetry.metrics import Metrics
from sybline.tls.files import BadMaterial

if TYPE_CHECKING:
    from sybline.tls.member_tls import MemberTls

log = structlog.get_logger(__name__)

SEED_ID = 1  # of the member that begins a cluster alone; all others draw theirs
BOOTSTRAP_POLL_S = 0.05  # how often a member looks whether the first administrator is there
BOOTSTRAP_PROPOSAL_S = 10.0
DEVELOPMENT_PASSWORD = "sybline"  # noqa: S105 - the settings demand another one outside development
INTERRUPTED_EXIT_CODE = 143  # a second SIGTERM: as safe as a crash


class StartError(Exception):
    """The member cannot start; the text is for whoever started it."""


class Broker:
    """One member: its log, its listeners, and whether it serves. The HTTP listener asks it for its health."""

    def __init__(self, loaded: Loaded) -> None:
        """Put the parts together; certificates are read now.

        Raises:
            BadMaterial: they cannot be used.
        """
        # Of the start; what may change is asked of `_live`.
        self._settings = settings = loaded.settings
        self._live = LiveSettings(loaded, on_change=self._settings_changed)
        self._following: asyncio.Task[None] | None = None
        self._clock = SystemClock()
        self._metrics = Metrics(clock=self._clock)
        self._tls = _load_tls(settings, self._clock)
        self._hasher = PasswordHasher(pepper=settings.passwords.pepper.get_secret_value().encode())
        polls = PollMemory(self._clock)
        self._member = Member(
            _member_settings(settings, self._tls),
            clock=self._clock,
            on_note=polls.on_note,
            observer=self._metrics,
        )
        self._metrics.watch(self._member)
        if self._tls is not None:
            self._metrics.watch_tls(self._tls.stores)
        self._metrics.watch_settings(self._live)
        self._api = ApiServer(
            self._api_parts(polls),
            host=settings.listen.host,
            port=settings.listen.grpc_port,
            reflection=settings.grpc.reflection,
            credentials=None if self._tls is None else self._tls.grpc_credentials(),
        )
        self._http = HttpServer(
            build_app(
                metrics=self._metrics,
                health=self,
                metrics_need_certificate=settings.metrics.require_client_cert,
            ),
            host=settings.listen.host,
            port=settings.listen.http_port,
            tls=None if self._tls is None else self._tls.http_context,
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
        if status.removed:
            return "this member was removed from the cluster: stop it, its data is needed no more"
        if not status.configuration_version and not status.is_voter:
            return "not a member of a cluster yet: add it with `sybline members add`"
        if status.leader is None:
            return "no leader is known"
        if not status.formed:
            return "the cluster has not formed yet: all its first members must be there once"
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
        if self._tls is not None:
            self._tls.start(end_process)
        await asyncio.to_thread(
            _obey_recovery_order, self._settings
        )  # before anybody can be answered
        async with contextlib.AsyncExitStack() as undo:
            await self._http.start()
            # Else a probe under way when the start fails is what the process's last words are about.
            undo.push_async_callback(self._http.stop)
            await self._member.start()
            self._following = supervise(
                self._live.follow_file(), name="configuration file", die=end_process
            )
            await self._api.start()
            undo.pop_all()
        self._is_started = True
        log.info("member_started", member=self._member.status().member)

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
        log.info("member_ready", member=self._member.status().member)

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
        if self._following is not None:
            self._following.cancel()
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
        if self._tls is not None:
            self._tls.stop()
        self._hasher.close()
        log.info("member_stopped", member=self._member.status().member)

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
            token_ms=lambda: int(self._live.in_force.sessions.token_duration_s * 1000),
            lease_ms=lambda: int(self._live.in_force.queues.lease_s * 1000),
            member_facts=self._facts,
            election_s=settings.raft.election_timeout_s,
            first_admin=_configured_admin(settings.admin),
            body_bytes_max=settings.limits.body_bytes_max,
        )

    def _facts(self) -> MemberFacts:
        return MemberFacts(
            version=version("sybline"),
            not_ready_because=self.ready(),
            log_bytes=self._member.log_bytes,
            log_live_bytes=self._member.log_live_bytes,
            disk_free_bytes=self._member.resources.disk_free_bytes,
            config_sha256=self._live.sha256,
            settings_pending=self._live.pending,
            settings_refused_because=self._live.refusal,
        )

    def _settings_changed(self, settings: Settings) -> None:
        """Tell those who keep what they were given."""
        set_level(settings.log.level)
        self._member.judge_by(_marks(settings.limits))


async def run(loaded: Loaded) -> int:
    """Run a member until SIGTERM or SIGINT and return the process's exit status.

    Raises:
        StartError: it cannot start, or must not go on with these settings.
    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, partial(_interrupt, stop))
    _allow_open_files()
    with _reported():
        broker = Broker(loaded)
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


def _obey_recovery_order(settings: Settings) -> None:
    path = settings.member.recovery_file
    if path is not None:
        obey(path, RealFiles(), settings.member.data_dir, options=_journal_options(settings))


def _journal_options(settings: Settings) -> JournalOptions:
    return JournalOptions(compress_cold=settings.storage.compress_cold)


def _configured_admin(admin: AdminSection) -> tuple[str, str] | None:
    """Return the first administrator as the settings have it; None: without a password."""
    password = admin.password.get_secret_value()
    return (admin.username, password) if password else None


def _first_password(admin: AdminSection) -> str:
    """Return the password of the first administrator: generated once, given, or the one of development mode."""
    if admin.generate_password and admin.password_file is not None:
        return load_or_create_password_file(admin.password_file)
    return admin.password.get_secret_value() or DEVELOPMENT_PASSWORD


def _load_tls(settings: Settings, clock: Clock) -> "MemberTls | None":
    """Return what the listeners need for TLS; None: it is off."""
    tls = settings.tls
    if not tls.enabled:
        return None
    from sybline.tls.member_tls import MemberTls, TlsPlan  # not sooner: it takes 10 MB
    from sybline.tls.peers import peer_identity

    plan = TlsPlan(
        clients=client_files(tls),
        peers=peer_files(tls),
        client_auth=tls.client_auth,
        metrics_need_certificate=settings.metrics.require_client_cert,
        identity=tls.peer_identity or peer_identity(settings.member.cluster_id),
        check_s=tls.check_s,
    )
    return MemberTls(plan, clock)


def _member_settings(settings: Settings, tls: "MemberTls | None") -> MemberSettings:
    name = settings.member.name or socket.gethostname()
    is_seed = _is_seed(settings.member.bootstrap_seed_file, name)
    return MemberSettings(
        cluster_id=settings.member.cluster_id,
        member=SEED_ID if is_seed else settings.member.id,
        bootstrap=is_seed or settings.member.bootstrap,
        name=name,
        address=_own_address(settings),
        data_dir=settings.member.data_dir,
        peers=settings.member.peers,
        listen_host=settings.listen.host,
        listen_port=settings.listen.peer_port,
        secret=settings.peer.secret.get_secret_value().encode(),
        timing=Timing(settings.raft.election_timeout_s, settings.raft.heartbeat_s),
        checkpoint=CheckpointDistance(entries=settings.raft.checkpoint_entries),
        journal=_journal_options(settings),
        marks=_marks(settings.limits),
        tls=None if tls is None else tls.peers,
    )


def _is_seed(path: Path | None, name: str) -> bool:
    """Return whether the file, if there is one, names this member: the permission to begin a cluster.

    Raises:
        OSError: it is there and cannot be read; to guess would be to risk a second cluster.
    """
    if path is None or not path.exists():
        return False
    return path.read_text(encoding="utf-8").strip() == name


def _own_address(settings: Settings) -> str:
    """Return where other members reach this one."""
    host, port = split_address(settings.member.address or socket.gethostname())
    return f"{host}:{port or settings.listen.peer_port}"


def _marks(chosen: LimitsSection) -> Marks:
    memory_bytes = chosen.memory_high_mark_bytes
    if memory_bytes is None:
        memory_bytes = int(usable_bytes() * chosen.memory_high_mark_ratio)
    return Marks(chosen.disk_low_mark_bytes, chosen.disk_low_mark_ratio, memory_bytes)


def _allow_open_files() -> None:
    allowed = raise_open_files_limit()
    least = limits.OWN_OPEN_FILES_MAX + limits.CLIENT_CONNECTIONS_MIN
    if allowed < least:
        raise StartError(
            f"this process may have {allowed} files and connections open, and needs {least} at least: "
            "raise the limit (ulimit -n, or LimitNOFILE of the service)"
        )
    if allowed < limits.OPEN_FILES_MIN:
        log.warning("few_open_files_allowed", allowed=allowed, wanted=limits.OPEN_FILES_MIN)


@contextmanager
def _reported() -> Iterator[None]:
    """Turn what a start may meet into one line."""
    try:
        yield
    except (CorruptData, DirectoryInUse, BadMaterial, FailStop, OSError) as error:
        raise StartError(_one_line(error)) from error


def _one_line(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
        text += f". {DISK_ADVICE}" if error.errno in DISK_ERRORS else ""
    return " ".join(text.split())
