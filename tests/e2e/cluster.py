"""`python -m tests.e2e.cluster`: where the tests get a Kubernetes from, with the images of this tree on its nodes.

In this order: the one that KUBECONFIG names (images are its owner's business); kind, where Docker works; the cluster of
this machine that ../shared/cluster describes. What was started here is ended here, unless it is to be kept.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Final, Protocol

from tests.e2e.images import ROOT, Images, build, wanted_images
from tests.e2e.kube import Failed, Json, run
from tests.e2e.processes import follow, stream

LOCAL: Final = ROOT.parent / "shared" / "cluster"
STATE: Final = ROOT / "build" / "e2e"
KIND_NAME: Final = "sybline"  # as in kind-config.yaml
START_S: Final = 600.0
COLD_START_S: Final = 2_700.0  # Kubernetes itself is built: a quarter of an hour on two idle cores
LOAD_S: Final = 600.0
STOP_S: Final = 120.0
PROBE_S: Final = 15.0
NOTHING_STATUS: Final = 2
NOTHING: Final = """\
there is no Kubernetes here to test on. One of these gives one:
  * KUBECONFIG=… of any cluster whose nodes have the images; SYBLINE_E2E_IMAGE and SYBLINE_E2E_OPERATOR_IMAGE name them
    (default: sybline:0.1.0 and sybline-operator:0.1.0, which `make image operator-image` builds)
  * a Docker engine that runs containers, with `kind`, `kubectl` and `helm` in PATH"""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a test run needs to know, for its environment."""

    kubeconfig: str
    images: Images
    programs: str = ""  # a directory with kubectl and helm; "": they are in PATH
    audit_log: str = ""  # of the API server, if it can be read

    @property
    def variables(self) -> dict[str, str]:
        """Return it as variables."""
        path = os.environ.get("PATH", "")
        return {
            "KUBECONFIG": self.kubeconfig,
            "PATH": f"{self.programs}:{path}" if self.programs else path,
            "SYBLINE_E2E_IMAGE": self.images.broker,
            "SYBLINE_E2E_OPERATOR_IMAGE": self.images.operator,
            "SYBLINE_E2E_AUDIT_LOG": self.audit_log,
        }


class Source(Protocol):
    """A way to a cluster."""

    text: str

    def up(self) -> Environment:
        """Start what is missing, and bring the images there."""
        ...

    def down(self) -> None:
        """End what `up` started, and nothing else."""
        ...


class Given:
    """The cluster that KUBECONFIG names."""

    text = "the cluster that KUBECONFIG names"

    def up(self) -> Environment:
        """Take it as it is."""
        images = Images(
            os.environ.get("SYBLINE_E2E_IMAGE", "sybline:0.1.0"),
            os.environ.get("SYBLINE_E2E_OPERATOR_IMAGE", "sybline-operator:0.1.0"),
        )
        audit_log = os.environ.get("SYBLINE_E2E_AUDIT_LOG", "")
        return Environment(os.environ["KUBECONFIG"], images, audit_log=audit_log)

    def down(self) -> None:
        """It is not ours."""


class Kind:
    """kind, by kind-config.yaml; SYBLINE_E2E_NODE_IMAGE chooses the version of Kubernetes."""

    text = "kind"

    def __init__(self) -> None:
        self._kubeconfig = STATE / "kind-kubeconfig"

    def up(self) -> Environment:
        """Create the cluster, unless it is there."""
        STATE.mkdir(parents=True, exist_ok=True)
        where = ["--name", KIND_NAME, "--kubeconfig", str(self._kubeconfig)]
        if KIND_NAME in run(["kind", "get", "clusters"]).split():
            stream(["kind", "export", "kubeconfig", *where], deadline_s=PROBE_S)
        else:
            _remember("kind")
            node = os.environ.get("SYBLINE_E2E_NODE_IMAGE", "")
            image = ["--image", node] if node else []
            config = ["--config", str(ROOT / "kind-config.yaml"), "--wait", "180s"]
            stream(["kind", "create", "cluster", *where, *config, *image], deadline_s=START_S)
        images = wanted_images()
        build(images)
        load = ["kind", "load", "docker-image", "--name", KIND_NAME, *images.both, *images.released]
        stream(load, deadline_s=LOAD_S)
        return Environment(str(self._kubeconfig), images)

    def down(self) -> None:
        """Delete the cluster if it was made here."""
        if "kind" in _remembered():
            stream(["kind", "delete", "cluster", "--name", KIND_NAME], deadline_s=STOP_S)
            _forget("kind")


class Local:
    """The cluster without containers' engine that ../shared/cluster makes of this machine; needs root."""

    text = "../shared/cluster"

    def up(self) -> Environment:
        """Start it, and the engine that builds the images, unless they run."""
        if not self._is_up():
            _remember("cluster")
        if self._is_cold():
            print("e2e: Kubernetes is built first: 15 to 22 minutes on two cores, once", flush=True)
        limit_s = COLD_START_S if self._is_cold() else START_S
        kubeconfig = _last_line(stream([str(LOCAL / "up")], deadline_s=limit_s))
        programs = _last_line(stream([str(LOCAL / "build")], deadline_s=START_S))
        # For the commands here; the test run gets its own copy.
        os.environ.update(KUBECONFIG=kubeconfig, PATH=f"{programs}:{os.environ['PATH']}")
        images = wanted_images()
        if not _are_on_all_nodes(images):
            self._bring(images)
        audit_log = Path(kubeconfig).parent / "cp" / "log" / "audit.log"
        return Environment(kubeconfig, images, programs, str(audit_log))

    def _bring(self, images: Images) -> None:
        stream([str(LOCAL / "base-image"), "3.12"], deadline_s=START_S)
        socket = _state("engine") / "engine" / "docker.sock"
        if not _succeeds(["docker", "--host", f"unix://{socket}", "version"]):
            _remember("engine")
        engine = [str(LOCAL / "engine"), "start"]
        os.environ["DOCKER_HOST"] = _last_line(stream(engine, deadline_s=START_S))
        build(images, network="host")
        with tempfile.TemporaryDirectory(prefix="sybline-e2e-") as directory:
            archive = str(Path(directory) / "images.tar")
            names = (*images.both, *images.released)
            stream(["docker", "save", "-o", archive, *names], deadline_s=LOAD_S)
            stream([str(LOCAL / "load-image"), archive], deadline_s=LOAD_S)

    def down(self) -> None:
        """End what was started here; what was built for it stays in its cache."""
        if "engine" in _remembered():
            stream([str(LOCAL / "engine"), "stop"], deadline_s=STOP_S)
            _forget("engine")
        if "cluster" in _remembered():
            stream([str(LOCAL / "down")], deadline_s=STOP_S)
            _forget("cluster")

    def _is_up(self) -> bool:
        kubeconfig, programs = _state("cluster") / "kubeconfig", _programs()
        if not kubeconfig.exists() or programs is None:
            return False
        ask = [
            str(programs / "kubectl"),
            "--kubeconfig",
            str(kubeconfig),
            "get",
            "--raw",
            "/readyz",
        ]
        return _succeeds([*ask, "--request-timeout", "5s"])

    def _is_cold(self) -> bool:
        return _programs() is None


def find() -> Source | None:
    """Return the first way to a cluster that is open; None: none is."""
    if os.environ.get("KUBECONFIG"):
        return Given()
    if _has_kind():
        return Kind()
    if (LOCAL / "up").exists():
        return Local()
    return None


def _has_kind() -> bool:
    """Return whether kind can run here. The engine of ../shared/cluster builds images only."""
    if shutil.which("kind") is None or shutil.which("docker") is None:
        return False
    if str(_state("engine")) in os.environ.get("DOCKER_HOST", ""):
        return False
    return _succeeds(["docker", "info"])


def _succeeds(command: list[str]) -> bool:
    try:
        run(command, deadline_s=PROBE_S)
    except Failed:
        return False
    return True


def _state(part: str) -> Path:
    """Return where a part of ../shared/cluster keeps what it runs with."""
    chosen = os.environ.get(f"SYBLINE_{part.upper()}_STATE")
    base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return Path(chosen) if chosen else base / f"sybline-{part}"


def _programs() -> Path | None:
    """Return where the programs of ../shared/cluster are; None: they are not built yet."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sybline-cluster"
    built = [found.parent for found in sorted(cache.glob("v*/tools.made-from"))]
    built = [version / "bin" for version in built if (version / "kubernetes.made-from").exists()]
    return built[-1] if built else None


def _are_on_all_nodes(images: Images) -> bool:
    """Return whether every node has each image, under both of its names."""
    nodes: list[Json] = json.loads(run(["kubectl", "get", "nodes", "-o", "json"]))["items"]
    wanted = [
        {f"docker.io/library/{image}", f"docker.io/library/{released}"}
        for image, released in zip(images.both, images.released, strict=True)
    ]
    return all(
        any(names <= set(found["names"]) for found in node["status"].get("images", []))
        for node in nodes
        for names in wanted
    )


# --- what was started here, for `down` in another process ---
def _remembered() -> set[str]:
    file = STATE / "started"
    return set(file.read_text().split()) if file.exists() else set()


def _remember(part: str) -> None:
    STATE.mkdir(parents=True, exist_ok=True)
    (STATE / "started").write_text(" ".join(sorted(_remembered() | {part})))


def _forget(part: str) -> None:
    (STATE / "started").write_text(" ".join(sorted(_remembered() - {part})))


def _last_line(text: str) -> str:
    return text.strip().splitlines()[-1]


def _run(source: Source, arguments: argparse.Namespace) -> int:
    try:
        environment = source.up()
        print(f"e2e: on {source.text}, {environment.images.broker}", flush=True)
        return follow(
            arguments.command, deadline_s=arguments.limit_s, environment=environment.variables
        )
    finally:
        if not arguments.keep:
            source.down()


def main() -> int:
    """Do what the command line says; exit status 2 if there is no way to a cluster."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.cluster", allow_abbrev=False)
    actions = parser.add_subparsers(dest="action", required=True)
    actions.add_parser("find", help="say which cluster it would be")
    actions.add_parser("down", help="end what an earlier run left")
    command = actions.add_parser(
        "run", help="run a command with a cluster, and end what was started"
    )
    command.add_argument("--keep", action="store_true", help="leave it running, for `down`")
    command.add_argument("--limit-s", type=float, default=7_200.0, help="of the command")
    command.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)
    source = find()
    if source is None:
        print(f"e2e: {NOTHING}", file=sys.stderr)
        return NOTHING_STATUS
    try:
        if arguments.action == "run":
            return _run(source, arguments)
        if arguments.action == "down":
            source.down()
        else:
            print(source.text)
    except Failed as error:
        print(f"e2e: {error}", file=sys.stderr)
        return 1
    return 0


def _end(number: int, _: FrameType | None) -> None:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
