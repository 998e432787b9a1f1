"""What the process answers to Kubernetes and Prometheus, and that the documentation lists all of it."""

import re
from pathlib import Path

import aiohttp
import pytest

from sybline_operator.metrics import Metrics
from sybline_operator.probes import serve
from sybline_operator.reasons import Refusal

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations" / "operator.md"
KEY = ("here", "orders")


async def fetch(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, await answer.text()


@pytest.mark.parametrize(("ready", "status"), [(True, 200), (False, 503)])
async def test_the_answers_follow_the_state(ready: bool, status: int) -> None:
    async with serve("127.0.0.1:0", Metrics(), lambda: {"ready": ready, "acts": True}) as port:
        assert await fetch(port, "/livez") == (200, "ok\n")
        code, text = await fetch(port, "/readyz")
        assert code == status
        assert '"acts": true' in text
        code, text = await fetch(port, "/metrics")
        assert code == 200
        assert "sybline_operator_build_info" in text


def told() -> Metrics:
    metrics = Metrics()
    metrics.clusters.ages_s = lambda: {KEY: 3.0}
    metrics.clusters.tell(
        KEY,
        {
            "conditions": [
                {"type": "Available", "status": "True"},
                {"type": "Degraded", "status": "False"},
            ],
            "tls": {"notAfter": "2026-01-01T00:00:00Z", "caNotAfter": None},
        },
    )
    metrics.answered("get", 200)
    metrics.answered("get", 0)
    return metrics


def test_conditions_and_certificates_of_clusters_are_series_until_the_cluster_goes() -> None:
    metrics = told()
    text = metrics.render().decode()
    where = 'cluster="orders"'
    assert re.search(rf'cluster_condition{{{where},condition="Available",.*}} 1\.0', text)
    assert re.search(rf'cluster_condition{{{where},condition="Degraded",.*}} 0\.0', text)
    assert re.search(r"not_after_seconds{.*kind=\"certificate\".*} 1\.7672256e\+09", text)
    assert 'kind="ca"' not in text
    assert 'api_requests_total{code="none",verb="get"} 1.0' in text
    metrics.clusters.forget(KEY)
    assert "cluster_condition{" not in metrics.render().decode()


def test_every_series_and_every_refusal_is_documented() -> None:
    document = DOCUMENT.read_text()
    names = set(re.findall(r"^# TYPE (sybline_operator_\w+)", told().render().decode(), re.M))
    assert [name for name in sorted(names) if name not in document] == []
    assert [reason for reason in Refusal if reason not in document] == []
