"""The Prometheus text format: read back by the parser of prometheus_client."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sybline.telemetry.exposition import (
    Durations,
    Family,
    label_text,
    write_family,
    write_histograms,
)


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_family_is_read_back() -> None:
    family = Family("x_total", "counter", "Things.")
    text = write_family(family, [("", 7), (label_text(a="b", n=3), 0.25)])
    assert samples(text) == {("x_total", ()): 7, ("x_total", (("a", "b"), ("n", "3"))): 0.25}
    [read] = text_string_to_metric_families(text)
    assert (read.type, read.documentation) == ("counter", "Things.")


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\\nb", "a\nb", "a,b}", "ü€", ""])
def test_any_label_value_is_read_back(value: str) -> None:
    text = write_family(Family("x", "gauge", "Things."), [(label_text(queue=value), 1)])
    assert samples(text) == {("x", (("queue", value),)): 1}


def test_durations_fall_into_the_bucket_that_ends_at_or_above_them() -> None:
    durations = Durations((0.1, 1.0))
    for seconds in (0.05, 0.1, 0.5, 2.0):
        durations.observe(seconds)
    text = write_histograms(Family("t", "histogram", "Time."), [("", durations)])
    assert samples(text) == {
        ("t_bucket", (("le", "0.1"),)): 2,
        ("t_bucket", (("le", "1.0"),)): 3,
        ("t_bucket", (("le", "+Inf"),)): 4,
        ("t_sum", ()): pytest.approx(2.65),
        ("t_count", ()): 4,
    }
    assert durations.count == 4


def test_histograms_of_one_family_are_told_apart_by_their_labels() -> None:
    first, second = Durations((1.0,)), Durations((1.0,))
    second.observe(3.0)
    text = write_histograms(
        Family("t", "histogram", "Time."),
        [(label_text(m="a"), first), (label_text(m="b"), second)],
    )
    read = samples(text)
    assert read["t_count", (("m", "a"),)] == 0
    assert read["t_count", (("m", "b"),)] == 1
    assert read["t_bucket", (("le", "1.0"), ("m", "b"))] == 0
    assert read["t_bucket", (("le", "+Inf"), ("m", "b"))] == 1
