"""`make bench`: what the cluster does beside what the machine can do, in one run, as markdown.

    python -m tests.bench [--only NAME ...] [--seconds N] [--messages N] [--members N] [--directory DIR]

All members, their disks and the clients share this machine; every process is ended by its pid, also after Ctrl-C.
"""

import argparse
import asyncio
import os
import platform
import shutil
import tempfile
from pathlib import Path

import uvloop

from tests.bench.sections import SECTIONS, Bench
from tests.support.cluster import Cluster


async def run(arguments: argparse.Namespace, directory: Path) -> None:
    """Start a cluster and run the sections named."""
    say = lambda text: print(text, flush=True)  # noqa: E731
    say(f"# Bench: {arguments.members} members, {arguments.seconds:g} s per figure\n")
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    say(f"{os.cpu_count()} cores, load before {load}, Python {platform.python_version()}\n")
    with Cluster(directory, members=arguments.members) as cluster:
        await cluster.start_and_wait()
        bench = Bench(cluster, directory, arguments.seconds, arguments.messages, say)
        await bench.prepare()
        for name in arguments.only or SECTIONS:
            await SECTIONS[name](bench)
            say("")


def main() -> None:
    """Parse, run, and remove the data."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS))
    parser.add_argument("--seconds", type=float, default=3.0, help="of each figure")
    parser.add_argument("--messages", type=int, default=1_000_000, help="waiting, for `memory`")
    parser.add_argument("--members", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="where the data goes; kept")
    arguments = parser.parse_args()
    directory = arguments.directory or Path(tempfile.mkdtemp(prefix="sybline-bench-"))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(arguments, directory))
    except KeyboardInterrupt:
        print("stopped", flush=True)
    finally:
        if arguments.directory is None:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
