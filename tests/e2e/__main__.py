"""End to end on a real Kubernetes cluster, named by KUBECONFIG: `python -m tests.e2e --image sybline:TAG …`.

Installs the operator by its chart, plays scenarios under load, looks at a minute of rest, drains, and prints the table
and what the checker says. Exit status 0 only if nothing was lost, resurrected or stuck, and rest was quiet.
"""

import argparse
import asyncio
import contextlib
import importlib
import os
import pkgutil
import secrets
import signal
import sys
import traceback
from pathlib import Path
from types import FrameType

from tests.e2e.audit import AuditTrail, account
from tests.e2e.installation import (
    RELEASE,
    create_namespace,
    delete_leftovers,
    delete_namespace,
    install_operator,
    tell_state,
)
from tests.e2e.kube import Failed, Kube, ending
from tests.e2e.life import Life, Scenario
from tests.e2e.measure import Meter, operator_usage, rest
from tests.e2e.report import Table, describe
from tests.e2e.rights import TOO_MUCH, problems
from tests.support.checker import Report, check
from tests.support.load import Load, LoadSettings

SCENARIOS = Path(__file__).parent / "scenarios"
FIRST = "core"
LEASE_S = 5.0
REST_S = 60.0
DRAINED_S = 120.0
OUTAGE_S = (
    600.0  # clients wait so long for a quorum: recovery from a lost one is offered after minutes
)


def all_scenarios() -> list[Scenario]:
    """Return the scenarios of all modules beside core.py, the core first."""
    found = sorted(module.name for module in pkgutil.iter_modules([str(SCENARIOS)]))
    found.sort(key=lambda name: name != FIRST)
    modules = [importlib.import_module(f"tests.e2e.scenarios.{name}") for name in found]
    return [scenario for module in modules for scenario in module.SCENARIOS]


def choose(scenarios: list[Scenario], only: list[str], *, long: bool) -> list[Scenario]:
    """Return what to play.

    Raises:
        SystemExit: a name is not there.
    """
    if only:
        unknown = set(only) - {scenario.name for scenario in scenarios}
        if unknown:
            raise SystemExit(f"no such scenario: {', '.join(sorted(unknown))}; see --list")
        return [scenario for scenario in scenarios if scenario.name in only]
    return [scenario for scenario in scenarios if long or scenario.core]


async def live(
    life: Life, scenarios: list[Scenario], table: Table, *, seed: int, trail: AuditTrail | None
) -> Report:
    """Play the scenarios under one load and judge the whole history."""
    settings = LoadSettings(lease_s=LEASE_S, publishers=4, consumers=3, log_in_s=OUTAGE_S)
    load = Load(life.addresses(), settings, seed=seed, trust=life.trust())
    try:
        await load.start()
        meter = Meter(life, load, trail)
        for scenario in scenarios:
            await _play(meter, scenario, table)
        await _rest(life, meter, table)
        await load.stop_publishing()
        await load.stop()
        drained = await load.drain(deadline_s=DRAINED_S)
    finally:
        await load.close()
    return check(load.history, drained=drained, lease_s=LEASE_S, digests={})


async def _play(meter: Meter, scenario: Scenario, table: Table) -> None:
    """Play one scenario and note it.

    Raises:
        Failed, AssertionError: as it does; or clients noticed what they were not to notice.
    """
    print(f"… {scenario.name}", flush=True)
    row = await meter.around(scenario)
    table.rows.append(row)
    print(describe(row), flush=True)
    assert not (scenario.unnoticed and row.failed), f"{row.failed} publishes failed"


async def _rest(life: Life, meter: Meter, table: Table) -> None:
    """Look at a minute in which only clients are busy.

    Raises:
        AssertionError: the operator wrote something.
    """
    before = await asyncio.to_thread(operator_usage, life.kube)
    await _play(meter, Scenario("a minute of rest", rest(REST_S)), table)
    after = await asyncio.to_thread(operator_usage, life.kube)
    if before and after:
        share = (after.cpu_s - before.cpu_s) / REST_S
        table.fact("operator at rest: CPU", f"{share:.1%} of a core")
        table.fact("operator at rest: memory", f"{after.memory_bytes / 2**20:.0f} MiB")
    writes = table.rows[-1].writes
    assert not writes, f"the operator wrote {writes} times in a minute of rest"


def _run(life: Life, scenarios: list[Scenario], table: Table, chosen: argparse.Namespace) -> None:
    delete_leftovers()
    create_namespace(life.kube)
    with contextlib.ExitStack() as stack:
        trail = None
        if chosen.audit_log:
            user = account(life.kube.namespace, RELEASE)
            trail = stack.enter_context(contextlib.closing(AuditTrail(chosen.audit_log, user)))
        install_operator(life.kube, chosen.operator_image, life.image)
        available_s = life.install()
        table.fact("from apply to Available", f"{available_s:.1f} s")
        print(f"available after {available_s:.1f} s", flush=True)
        table.verdict = asyncio.run(live(life, scenarios, table, seed=chosen.seed, trail=trail))
        assert table.verdict.is_clean, table.verdict
        if trail:
            _compare_rights(life.kube, trail, table)
    life.uninstall()
    table.is_complete = True


def _compare_rights(kube: Kube, trail: AuditTrail, table: Table) -> None:
    """Note what the operator may do and did not; whether that is too much, only a run of everything can tell.

    Raises:
        AssertionError: something was forbidden, or the log tells nothing.
    """
    found = problems(kube.namespace, RELEASE, trail.read())
    table.fact("rights of the operator", "; ".join(found) or "granted as used")
    wrong = [problem for problem in found if not problem.startswith(TOO_MUCH)]
    assert not wrong, wrong


def parse(words: list[str]) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.e2e",
        description=__doc__.splitlines()[0],
        epilog="SYBLINE_E2E_IMAGE, …_OPERATOR_IMAGE and …_AUDIT_LOG are the defaults (tests/e2e/cluster.py sets them).",
        allow_abbrev=False,
    )
    known = {
        name: os.environ.get(f"SYBLINE_E2E_{name}")
        for name in ("IMAGE", "OPERATOR_IMAGE", "AUDIT_LOG")
    }
    for flag, name, text in (
        ("--image", known["IMAGE"] or "sybline:0.1.0", "the broker's, loaded into the nodes"),
        ("--operator-image", known["OPERATOR_IMAGE"] or "sybline-operator:0.1.0", "likewise"),
    ):
        parser.add_argument(flag, default=name, metavar="NAME:TAG", help=f"{text} (%(default)s)")
    parser.add_argument(
        "--audit-log", type=Path, default=known["AUDIT_LOG"] or None, metavar="FILE",
        help="of the API server, to count the operator's writes",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=secrets.randbits(31))
    parser.add_argument("--long", action="store_true", help="all scenarios, not only the core")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="these scenarios")
    parser.add_argument("--list", action="store_true", help="print the scenarios' names")
    parser.add_argument("--no-tls", action="store_true", help="a cluster that speaks plain text")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the table there as well")
    return parser.parse_args(words)


def main() -> int:
    """Run all of it; the exit status says whether it is clean."""
    chosen = parse(sys.argv[1:])
    scenarios = all_scenarios()
    if chosen.list:
        print("\n".join(f"{'core' if s.core else 'long'}  {s.name}" for s in scenarios))
        return 0
    scenarios = choose(scenarios, chosen.only, long=chosen.long)
    signal.signal(signal.SIGTERM, _end)  # a run that is cut short still tells, and cleans up
    kube = Kube(f"sybline-e2e-{secrets.token_hex(3)}")
    life = Life(kube, chosen.image, tls=not chosen.no_tls)
    table = Table(f"End to end, seed {chosen.seed}, {'TLS' if life.tls else 'plain text'}")
    print(f"seed {chosen.seed}, namespace {kube.namespace}", flush=True)
    try:
        _run(life, scenarios, table, chosen)
    except (Failed, AssertionError):
        traceback.print_exc()
    finally:
        ending.clear()
        if not table.is_complete:
            tell_state(kube)
        _publish(table, chosen.report)
        delete_namespace(kube)
    return 0 if table.is_complete else 1


def _publish(table: Table, file: Path | None) -> None:
    print(f"\n{table.markdown()}", flush=True)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(table.markdown())


def _end(number: int, _: FrameType | None) -> None:
    ending.set()  # for the thread that plays a scenario
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
