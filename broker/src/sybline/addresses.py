"""Network addresses as people write them: shape only, nothing is resolved. Pure."""

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Final

from sybline import limits

_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
_PORT_TEXT: Final = re.compile(r"[0-9]{1,5}")


def split_address(address: str) -> tuple[str, int | None]:
    """Return host and port of `host[:port]`; an IPv6 host stands in brackets and keeps them.

    Raises:
        ValueError: it has another shape.
    """
    if address.startswith("["):
        inner, closed, rest = address[1:].partition("]")
        check_ipv6(inner)
        host, colon, port = f"[{inner}]", rest[:1], rest[1:]
        if not closed or colon not in ("", ":"):
            raise ValueError("unbalanced brackets")
    else:
        host, colon, port = address.partition(":")
        check_host_name(host)
    if not colon:
        return host, None
    if not _PORT_TEXT.fullmatch(port) or not 1 <= int(port) <= limits.PORT_MAX:
        raise ValueError("not a port")
    return host, int(port)


def check_host_name(host: str) -> None:
    """Refuse what cannot be a host name or an IPv4 address.

    Raises:
        ValueError: it cannot.
    """
    if len(host) > limits.HOST_CHARACTERS_MAX or not _HOST.fullmatch(host):
        raise ValueError("not a host name")


def check_ipv6(host: str) -> None:
    """Refuse what is no IPv6 address.

    Raises:
        ValueError: it is none.
    """
    try:
        IPv6Address(host)
    except AddressValueError as error:
        raise ValueError("not an IPv6 address") from error
