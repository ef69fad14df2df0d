"""Addresses of the open internet, and connections that lead to an address that was checked.

A name can lead to another address each time it is asked for. So it is resolved once, what was found
is checked by the caller, and the connection goes there. This module knows addresses. It does not
know files.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from collections.abc import Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether an address belongs to the open internet.

    Private, loopback, link-local, multicast, reserved and unspecified addresses do not, nor does
    an address of IP version 6 that carries such an address of version 4.
    """
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            carried = address.teredo[1]
        if address in _NAT64:
            carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address.is_site_local or (carried is not None and not is_public(carried)):
            return False
    refused = address.is_multicast or address.is_reserved or address.is_unspecified
    return address.is_global and not (refused and address not in _NAT64)


def resolve(host: str, port: int) -> list[Address]:
    """Every address that a name leads to now.

    Raises:
        OSError: the name is not known.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # no name that a resolver takes
        raise OSError(f"{host!r} is no name of a host") from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    return list(dict.fromkeys(addresses))


class CheckedConnection(http.client.HTTPConnection):
    """A connection to addresses that were checked, under the name that they were found by.

    Args:
        host: the name, which a certificate must be for.
        port: of the server.
        addresses: tried in order.
        timeout: seconds without an answer or a byte after which the connection counts as broken.
        secure: whether to speak TLS.
    """

    def __init__(
        self, host: str, port: int, addresses: Sequence[Address], timeout: float, secure: bool
    ) -> None:
        super().__init__(host, port, timeout=timeout)
        self.default_port = 443 if secure else 80
        self._addresses = addresses
        self._secure = secure

    def connect(self) -> None:
        """Connect to the first address that answers. The name is not resolved again."""
        failed: OSError | None = None
        for address in self._addresses:
            try:
                self.sock = socket.create_connection((str(address), self.port), self.timeout)
                break
            except OSError as error:
                failed = error
        else:
            raise failed or OSError("no address")
        if self._secure:
            context = ssl.create_default_context()
            self.sock = context.wrap_socket(self.sock, server_hostname=self.host)
