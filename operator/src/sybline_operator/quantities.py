"""Sizes as Kubernetes writes them. Pure."""

from kubernetes.utils import parse_quantity


def bytes_of(quantity: str) -> int:
    """Return the bytes of a quantity such as "10Gi".

    Raises:
        ValueError: it is none.
    """
    return int(parse_quantity(quantity))  # type: ignore[no-untyped-call]  # not annotated
