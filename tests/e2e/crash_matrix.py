"""The operator killed at every step of every workflow: `python -m tests.e2e.crash_matrix --image sybline:TAG`.

For each crash point the operator is started with the point armed, ends there, and is started again; the cluster must
come to the same end as if nothing had happened. Workflows that take minutes meet all of their points on one passage.
Then whole lives in which no operator lives longer than one write. The operator runs on this machine
(`host_operator.py`), the cluster on whatever KUBECONFIG names. Prints a table; the exit status says whether it is fine.
"""

import argparse
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from sybline_operator.crash_points import EXIT_STATUS
from sybline_operator.names import CLUSTER_LABEL, TEMPLATE_ANNOTATION
from sybline_operator.reasons import STEPS
from tests.e2e.crash_workflows import (
    LIFE,
    NOT_PLAYED,
    REACHED_S,
    WORKFLOWS,
    Workflow,
    around,
    class_of,
    make_class,
    provide,
    resource,
)
from tests.e2e.host_operator import ROOT, HostOperator
from tests.e2e.kube import Failed, Json, Kube, run, wait_for
from tests.e2e.life import GONE_S, SETTLED_S, Life, is_at_rest

WRITES_MAX: Final = 400  # of one life, in which each operator makes one


def left_out() -> list[str]:
    """Return the points of the operator that no workflow passes."""
    literal = re.compile(r'reach\(\s*"([A-Za-z-]+)"')
    sources = (ROOT / "operator/src/sybline_operator").rglob("*.py")
    named = {name for source in sources for name in literal.findall(source.read_text())}
    stepped = set(around(*(STEPS - NOT_PLAYED.keys())))
    passed = {point for workflow in WORKFLOWS for point in workflow.points}
    return sorted((named | stepped) - passed - {"before-write", "after-write"})


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    workflow: str
    point: str
    crash_s: float  # until the operator had ended there
    rest_s: float  # from its restart until the cluster was at rest
    problem: str = ""

    def __str__(self) -> str:
        verdict = self.problem or ("the same end" if self.rest_s else "goes on")
        return f"| {self.workflow} | {self.point} | {self.crash_s:.1f} | {self.rest_s:.1f} | {verdict} |"


class Matrix:
    """One cluster that lives through all of it."""

    def __init__(self, life: Life, log_directory: Path) -> None:
        self._life = life
        self._logs = log_directory

    # --- workflows ---
    def play(self, workflow: Workflow, points: Sequence[str]) -> Iterator[Row]:
        """Let operators crash at these points while one change is carried out; judge the end with the last."""
        life = self._life
        try:
            self._prepare(workflow)
            uid_before = life.status().get("clusterUid") if workflow.begins_at else None
            workflow.change(life)
        except Failed as error:
            yield Row(workflow.name, points[0], 0.0, 0.0, f"could not begin: {_one_line(error)}")
            return
        for point in points[:-1]:
            row = self._crash(workflow, point)
            yield row
            if row.problem:
                return
        row = self._crash(workflow, points[-1])
        if row.problem:
            yield row
            return
        began_s = time.monotonic()
        with self._operator():
            try:
                self._settle(workflow.ends_at, workflow.tend)
                problems = self._problems(workflow, uid_before)
            except (Failed, AssertionError) as error:
                problems = [_one_line(error)]
        yield replace(row, rest_s=time.monotonic() - began_s, problem="; ".join(problems))

    def _crash(self, workflow: Workflow, point: str) -> Row:
        """Run an operator until it ends at a point."""
        armed = self._operator(crash_at=point).start()
        began_s = time.monotonic()

        def has_ended() -> bool:
            workflow.tend(self._life)
            return not armed.is_running

        try:
            wait_for(f"the operator ends {point}", has_ended, deadline_s=REACHED_S)
            status = armed.wait_for_end(deadline_s=1.0)
        except Failed:
            return Row(workflow.name, point, REACHED_S, 0.0, "the point was not reached")
        finally:
            armed.kill()
        reached = status == EXIT_STATUS and f"crash point {point}" in armed.log_text()
        problem = "" if reached else f"ended with status {status}"
        return Row(workflow.name, point, time.monotonic() - began_s, 0.0, problem)

    def _prepare(self, workflow: Workflow) -> None:
        """Bring the cluster to where a workflow begins."""
        life, voters = self._life, workflow.begins_at
        if voters == 0:
            self._delete()
            return
        with self._operator():
            if life.kube.list("syb"):
                life.patch({"replicas": voters})
            else:
                life.kube.apply(resource(life, voters))
            self._settle(voters, provide)
            workflow.before(life)

    def _settle(self, voters: int, tend: Callable[[Life], None]) -> None:
        """Wait until nothing is left to do: also with the disks of those that left, and with certificates."""
        life = self._life
        wanted = {f"data-{life.name}-{ordinal}" for ordinal in range(voters)}

        def is_done() -> bool:
            tend(life)
            body = life.body()
            status = body.get("status", {})
            return (
                is_at_rest(body, voters)
                and not status.get("pendingRestart")
                and self._claims() == wanted
                and _has_rotated(body)
                and _sizes(life) <= {body["spec"]["storage"]["size"]}
            )

        wait_for(
            lambda: f"{voters} voters at rest; it says: {life.status().get('phase')}",
            is_done,
            deadline_s=SETTLED_S,
        )

    def _problems(self, workflow: Workflow, uid_before: str | None) -> list[str]:
        """Return what is not as it would be without the crash."""
        life, voters = self._life, workflow.ends_at
        status, pods = life.status(), life.pods()
        names = {f"{life.name}-{ordinal}" for ordinal in range(voters)}
        workload = life.kube.get("statefulset", life.name)
        template = workload["spec"]["template"]["metadata"]["annotations"][TEMPLATE_ANNOTATION]
        checks = {
            "founded again": workflow.keeps_identity
            and uid_before not in (None, status["clusterUid"]),
            "no identity": not status["clusterUid"],
            "other members": {member["name"] for member in status["members"]} != names,
            "other pods": set(pods) != names,
            "another size": workload["spec"]["replicas"] != voters,
            "old templates": {
                pod["metadata"]["annotations"][TEMPLATE_ANNOTATION] for pod in pods.values()
            }
            != {template},
            "the seed is left": any(
                body["metadata"]["name"] == f"{life.name}-seed" for body in self._config_maps()
            ),
        }
        return [problem for problem, is_so in checks.items() if is_so]

    # --- a whole life, one write at a time ---
    def live_by_writes(self, point: str) -> Row:
        """Live from founding to deletion with operators that end at a write; every write of a life is one of them."""
        life = self._life
        began_s, crashes, problem = time.monotonic(), 0, ""
        self._delete()
        try:
            for workflow in LIFE:
                workflow.change(life)
                crashes += self._crash_until_at_rest(workflow.ends_at, point, WRITES_MAX - crashes)
                problem = problem or "; ".join(self._problems(workflow, None))
            self._delete()
        except Failed as error:
            problem = _one_line(error)
        name = f"life 0 to 3 to 1 to 0, {crashes} crashes"
        return Row(name, point, 0.0, time.monotonic() - began_s, problem)

    def _crash_until_at_rest(self, voters: int, point: str, crashes_max: int) -> int:
        for crashes in range(crashes_max):
            operator = self._operator(crash_at=point).start()
            try:
                if self._rests_or_ends(operator, voters):
                    return crashes
            finally:
                operator.kill()
        raise Failed(f"not at rest after {crashes_max} crashes")

    def _rests_or_ends(self, operator: HostOperator, voters: int) -> bool:
        """Wait until the operator crashed (False), or has nothing left to write (True)."""
        rests = False

        def happened() -> bool:
            nonlocal rests
            if not operator.is_running:
                return True
            has_looked = any(line.get("event") == "watching" for line in operator.log_lines())
            rests = has_looked and is_at_rest(self._life.body(), voters)
            return rests

        wait_for(
            lambda: f"{voters} voters; it says {self._life.status().get('phase')}",
            happened,
            deadline_s=SETTLED_S,
        )
        return rests

    # --- parts ---
    def _operator(self, *, crash_at: str = "") -> HostOperator:
        namespace = self._life.kube.namespace
        log_file = self._logs / f"{namespace}.log"
        return HostOperator(namespace, image=self._life.image, crash_at=crash_at, log_file=log_file)

    def _claims(self) -> set[str]:
        found = self._life.kube.list("pvc", f"{CLUSTER_LABEL}={self._life.name}")
        return {claim["metadata"]["name"] for claim in found}

    def _config_maps(self) -> list[Json]:
        return self._life.kube.list("configmap", f"{CLUSTER_LABEL}={self._life.name}")

    def _delete(self) -> None:
        """Delete the resource, without an operator, and wait for what it owned."""
        if not self._life.kube.list("syb"):
            return
        self._life.uninstall()
        wait_for(
            "children and disks are gone",
            lambda: not self._claims() and not any(map(_is_owned, self._config_maps())),
            deadline_s=GONE_S,
        )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def _is_owned(body: Json) -> bool:
    return "ownerReferences" in body["metadata"]


def _has_rotated(body: Json) -> bool:
    wanted = body["spec"].get("tls", {}).get("rotateCA", "")
    tls = body["status"].get("tls") or {}
    return not wanted or (tls.get("rotateCA") == wanted and tls.get("phase") == "Serving")


def _sizes(life: Life) -> set[str]:
    """Return how large disks are, those of the future included."""
    workload = life.kube.get("statefulset", life.name)
    claims = [
        *life.kube.list("pvc", f"{CLUSTER_LABEL}={life.name}"),
        *workload["spec"]["volumeClaimTemplates"],
    ]
    return {claim["spec"]["resources"]["requests"]["storage"] for claim in claims}


def rows(matrix: Matrix, chosen: Callable[[str, str], bool], *, tls: bool) -> Iterator[Row]:
    """Play the rows that were asked for."""
    for workflow in WORKFLOWS:
        points = [point for point in workflow.points if chosen(workflow.name, point)]
        if not points or (workflow.needs_tls and not tls):
            continue
        passages = [points] if workflow.on_one_passage else [[point] for point in points]
        for passage in passages:
            yield from matrix.play(workflow, passage)
    for point in ("after-write:1", "before-write:2"):
        if chosen("life", point):
            yield matrix.live_by_writes(point)


def show(table: Iterable[Row]) -> bool:
    """Print the table as it grows and return whether all is fine."""
    print("| workflow | killed | until there, s | until at rest again, s | end |", flush=True)
    print("| --- | --- | --- | --- | --- |", flush=True)
    fine = True
    for row in table:
        print(row, flush=True)
        fine = fine and not row.problem
    return fine


def main() -> int:
    """Play the matrix in a namespace of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--image", required=True, help="the broker's image, loaded into the nodes")
    parser.add_argument("--only", default="", help="a regular expression for 'workflow point'")
    parser.add_argument("--no-tls", action="store_true")
    parser.add_argument("--namespace", default=f"sybline-crash-{secrets.token_hex(3)}")
    parser.add_argument("--logs", type=Path, default=Path("/tmp"), help="a directory")
    arguments = parser.parse_args()
    missing = left_out()
    if missing:
        print("no workflow passes: " + ", ".join(missing), flush=True)
    only = re.compile(arguments.only)
    kube = Kube(arguments.namespace)
    run(["kubectl", "create", "namespace", kube.namespace])
    make_class(kube)
    tls = not arguments.no_tls
    matrix = Matrix(Life(kube, arguments.image, tls=tls), arguments.logs)
    try:
        fine = show(rows(matrix, lambda *names: bool(only.search(" ".join(names))), tls=tls))
    finally:
        run(["kubectl", "delete", "storageclass", class_of(kube)])
        run(["kubectl", "delete", "namespace", kube.namespace, "--wait=false"])
    return 0 if fine and not missing else 1


if __name__ == "__main__":
    sys.exit(main())
