"""`make bench`: what the cluster does beside what the machine can do, in one run, as markdown.

    python -m tests.bench [--only NAME ...] [--seconds N] [--messages N] [--members N] [--directory DIR]
    python -m tests.bench --only backlog-small backlog-large install soak [--scale 0.1]

Without --only: the short sections, on one cluster. The long ones have a cluster of their own each, and fill gigabytes.
All members, their disks and the clients share this machine; every process is ended by its pid, also after Ctrl-C.
"""

import argparse
import asyncio
import os
import platform
import shlex
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.bench.backlogs import backlog_large, backlog_small
from tests.bench.checkpoints import checkpoints
from tests.bench.install import install
from tests.bench.machine import NoRoom
from tests.bench.own_cluster import OwnCluster
from tests.bench.report import Report, Say
from tests.bench.sections import SECTIONS, Bench
from tests.bench.soak import soak
from tests.support.cluster import Cluster

LONG_SECTIONS = {
    "backlog-small": backlog_small,
    "backlog-large": backlog_large,
    "checkpoints": checkpoints,
    "install": install,
    "soak": soak,
}


def say(text: str) -> None:
    """Print at once: whoever waits sees each figure as it comes."""
    print(text, flush=True)


async def run(arguments: argparse.Namespace, directory: Path) -> None:
    """Run the sections named, the short ones first."""
    say(f"# Bench: {shlex.join(['python', '-m', 'tests.bench', *sys.argv[1:]])}\n")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    say(f"{os.cpu_count()} cores, load before {load}, Python {platform.python_version()}\n")
    named = arguments.only or list(SECTIONS)
    short = [name for name in named if name in SECTIONS]
    if short:
        await run_short(arguments, directory, short, say)
    for name in named:
        if name in LONG_SECTIONS:
            own = OwnCluster(
                Report(say), directory, arguments.keep_at, arguments.scale, arguments.members
            )
            await LONG_SECTIONS[name](own)
            say("")


async def run_short(
    arguments: argparse.Namespace, directory: Path, names: list[str], say: Say
) -> None:
    """Run sections on one cluster, one after the other."""
    with Cluster(directory, members=arguments.members) as cluster:
        await cluster.start_and_wait()
        bench = Bench(cluster, directory, arguments.seconds, arguments.messages, say)
        await bench.prepare()
        for name in names:
            await SECTIONS[name](bench)
            say("")


def main() -> None:
    """Parse, run, and remove the data."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=[*SECTIONS, *LONG_SECTIONS])
    parser.add_argument("--seconds", type=float, default=3.0, help="of each figure")
    parser.add_argument("--messages", type=int, default=1_000_000, help="waiting, for `memory`")
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="size of the long sections")
    parser.add_argument("--directory", type=Path, help="where the data goes; kept")
    parser.add_argument("--keep-at", type=Path, default=Path(), help="where curves are written")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a time limit ends it like Ctrl-C
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="sybline-bench-"))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(arguments, directory))
    except NoRoom as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        say("stopped")
    finally:
        if arguments.directory is None:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
