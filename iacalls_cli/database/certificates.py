"""Why a server's certificate is not trusted: libpq only says that it is not.

The same handshake is made once more with Python's own TLS, which tells OpenSSL's reason. Nothing is
sent behind it: neither a user nor a password.
"""

import socket
import ssl
import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

SSL_REQUEST = struct.pack("!ii", 8, 80_877_103)
ACCEPTED = b"S"
PROTOCOL = "postgresql"
SECONDS = 3.0
# libpq's own places.
ROOT_FILE, REVOKED_FILE = "root.crt", "root.crl"


def find_certificate_problem(values: Mapping[str, str]) -> str:
    """Return OpenSSL's reason why the certificate of one server fails, as "certificate has expired"; '' if unknown.

    `values` are resolved parameters.
    """
    host = values.get("hostaddr") or values.get("host") or ""
    port = values.get("port") or "5432"
    if not host or host.startswith(("/", "@")) or "," in host + port:
        return ""
    with suppress(OSError, ValueError):
        context = make_context(values)
        with socket.create_connection((host, int(port)), SECONDS) as stream:
            if values.get("sslnegotiation") != "direct":
                stream.sendall(SSL_REQUEST)
                if stream.recv(1) != ACCEPTED:
                    return ""
            try:
                context.wrap_socket(stream, server_hostname=values.get("host") or host).close()
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
    return ""


def make_context(values: Mapping[str, str]) -> ssl.SSLContext:
    """Return what trusts the certificates that libpq would trust, and does not look at names."""
    own = Path.home() / ".postgresql"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.set_alpn_protocols([PROTOCOL])
    roots = values.get("sslrootcert") or str(own / ROOT_FILE)
    if roots == "system":
        context.set_default_verify_paths()
    else:
        context.load_verify_locations(roots)
    revoked = values.get("sslcrl") or str(own / REVOKED_FILE)
    if Path(revoked).is_file():
        context.load_verify_locations(revoked)
        context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    return context
