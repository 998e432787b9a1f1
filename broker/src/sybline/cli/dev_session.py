"""One run of `sybline dev`: start, say where everything is, watch, and stop every member in the end."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

from sybline.cli.demo import DemoFailed, show
from sybline.cli.dev_cluster import ADMIN, DevError, DevOptions, plan_cluster
from sybline.cli.fleet import MEMBERS_TO_LOSE_ONE, Fleet, MemberEnded

INTERRUPTED_STATUS = 130


def run_cluster(options: DevOptions, *, as_json: bool, restart: bool, with_demo: bool) -> int:
    """Run the cluster until it is stopped; return the exit status."""
    try:
        plans = plan_cluster(options, os.environ)
    except DevError as error:
        for line in str(error).splitlines():
            _complain(line)
        return 1
    fleet = Fleet(plans, restart=restart, report=_complain)
    session = _Session(fleet, options.password_file, as_json=as_json, with_demo=with_demo)
    return asyncio.run(session.run())


def _complain(line: str) -> None:
    print(f"sybline dev: {line}", file=sys.stderr, flush=True)


class _Session:
    """One run, from the first start to the last end."""

    def __init__(
        self, fleet: Fleet, password_file: Path, *, as_json: bool, with_demo: bool
    ) -> None:
        self._fleet = fleet
        self._password_file = password_file
        self._as_json = as_json
        self._with_demo = with_demo
        self._stop = asyncio.Event()
        self._is_impatient = False

    async def run(self) -> int:
        """Serve, and stop every member in the end, however it comes."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._interrupt)
        serving = asyncio.create_task(self._serve())
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (serving, stopping):
            task.cancel()
        await asyncio.wait({serving, stopping})
        await self._fleet.stop()
        if self._is_impatient:
            return INTERRUPTED_STATUS
        return 0 if serving.cancelled() else serving.result()

    def _interrupt(self) -> None:
        if self._stop.is_set():
            self._is_impatient = True
            self._fleet.kill_all()
        else:
            self._stop.set()
            if not self._as_json:
                _complain("stopping; once more Ctrl-C stops at once")

    async def _serve(self) -> int:
        """Start the members, say where they are, and return a status if they all end."""
        try:
            await self._fleet.start()
            await self._fleet.wait_ready()
            if self._with_demo:
                password = self._password_file.read_text().strip()
                await show(self._fleet, ADMIN, password, say=self._say)
        except (MemberEnded, TimeoutError, DemoFailed, OSError) as error:
            _complain(str(error))
            return 1
        print(self._as_json_line() if self._as_json else self._as_text(), flush=True)
        await self._fleet.wait_none_left()
        _complain("no member is left")
        return 1

    def _say(self, line: str) -> None:
        print(line, file=sys.stderr if self._as_json else sys.stdout, flush=True)

    def _as_json_line(self) -> str:
        members = [
            {
                "id": member.plan.id,
                "grpc": member.plan.grpc_address,
                "http": member.plan.http_address,
                "pid": member.pid,
            }
            for member in self._fleet.members.values()
        ]
        admin = {"username": ADMIN, "password_file": str(self._password_file)}
        ca = self._ca_path()
        return json.dumps({"members": members, "admin": admin, "ca": str(ca) if ca else None})

    def _ca_path(self) -> Path | None:
        return next(iter(self._fleet.members.values())).plan.ca_path

    def _as_text(self) -> str:
        members = self._fleet.members
        first = next(iter(members.values()))
        ca = self._ca_path()
        trust = f"--cacert {ca} " if ca else ""
        shown = [
            f"  member {number}: gRPC {member.plan.grpc_address}, "
            f"HTTP {member.plan.http_url}, pid {member.pid}, log {member.plan.log_path}"
            for number, member in members.items()
        ]
        lines = [
            f"{len(members)} member{'s' * (len(members) > 1)} serving until Ctrl-C:",
            *shown,
            f"The administrator is {ADMIN}; the password is in {self._password_file}",
            *([f"Certificates of the members come from the CA {ca}"] if ca else []),
            "Try next:",
            f"  curl -s {trust}{first.plan.http_url}/metrics | grep ^sybline_queue",
        ]
        if len(members) >= MEMBERS_TO_LOSE_ONE:
            lines.append(f"  kill -9 {first.pid}        # the others go on")
        return "\n".join(lines)
