"""The README's five commands, run as they are written there: `python -m tests.e2e.readme`, with KUBECONFIG set.

Only building the images and loading them into kind is left out, for the cluster here has them under the same names
already (tests/e2e/cluster.py). The commands run in a namespace of their own, which is the kubeconfig's current one.
"""

import os
import re
import secrets
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Final

from tests.e2e.images import ROOT
from tests.e2e.installation import (
    CRD,
    LABEL,
    RELEASE,
    create_namespace,
    delete_namespace,
    exists,
    tell_state,
)
from tests.e2e.kube import Failed, Kube, run

HEADING: Final = "five commands"
DONE_HERE: Final = re.compile(r"^(make (image|operator-image)\b|docker build|kind (create|load) )")
OPERATOR_NAMESPACE: Final = "sybline-system"  # as the README has it
COMMAND_S: Final = 420.0
MESSAGES: Final = ["one", "two", "three"]  # what examples/client.yaml publishes


def commands(readme: str) -> list[str]:
    """Return the commands of the block below the heading."""
    section = readme.partition(HEADING)[2].partition("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert block, "the README has no block of commands where it promises five"
    lines = block[1].replace("\\\n", " ").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def play(kubeconfig: str) -> str:
    """Run the commands and return what the last one printed."""
    found = commands((ROOT / "README.md").read_text())
    assert len(found) == 5, found
    printed = ""
    for command in found:
        if DONE_HERE.match(command):
            print(f"(done already) {command}", flush=True)
            continue
        print(f"$ {command}", flush=True)
        shell = ["bash", "-euo", "pipefail", "-c", f"cd {ROOT} && {command}"]
        printed = run(["env", f"KUBECONFIG={kubeconfig}", *shell], deadline_s=COMMAND_S)
        print(printed, flush=True)
    return printed


def main() -> int:
    """Run the commands, look at what the client printed, and clean up."""
    here, operator = Kube(f"sybline-e2e-{secrets.token_hex(3)}"), Kube(OPERATOR_NAMESPACE)
    _make_room(operator)
    create_namespace(here)
    try:
        with tempfile.TemporaryDirectory(prefix="sybline-readme-") as directory:
            printed = play(_kubeconfig(Path(directory), here.namespace))
        assert printed.splitlines()[-3:] == MESSAGES, printed
    except (Failed, AssertionError):
        traceback.print_exc()
        for kube in (here, operator):
            tell_state(kube)
        return 1
    finally:
        delete_namespace(here)
        _uninstall(operator)
    print("the README's five commands lead to a client that publishes and consumes", flush=True)
    return 0


def _kubeconfig(directory: Path, namespace: str) -> str:
    """Return a copy of the kubeconfig whose current namespace is another one."""
    copy = directory / "kubeconfig"
    copy.write_text(Path(os.environ["KUBECONFIG"]).read_text())
    copy.chmod(0o600)
    current = ["config", "set-context", "--current", f"--namespace={namespace}"]
    run(["kubectl", "--kubeconfig", str(copy), *current])
    return str(copy)


def _make_room(operator: Kube) -> None:
    """Take away what an earlier run left; what is somebody else's stays, and ends this run.

    Raises:
        SystemExit: an operator is installed that is not ours.
    """
    if exists("namespace", operator.namespace):
        labels = operator.get("namespace", operator.namespace)["metadata"]["labels"]
        if LABEL not in labels:
            raise SystemExit(f"e2e: namespace {operator.namespace} is somebody's, not a test's")
        _uninstall(operator)
    if exists("crd", CRD):  # from other tests: to Helm, it is then its own
        run(["kubectl", "label", "crd", CRD, "app.kubernetes.io/managed-by=Helm", "--overwrite"])
        for key, value in (("name", RELEASE), ("namespace", operator.namespace)):
            owner = f"meta.helm.sh/release-{key}={value}"
            run(["kubectl", "annotate", "crd", CRD, owner, "--overwrite"])
    # Helm creates it where it is missing; this way it is known as a test's from the beginning.
    create_namespace(operator)


def _uninstall(operator: Kube) -> None:
    run(["helm", "uninstall", RELEASE, "-n", operator.namespace, "--ignore-not-found", "--wait"])
    delete_namespace(operator)


if __name__ == "__main__":
    sys.exit(main())
