"""What to do about a failure of TLS, or of the login that TLS protects."""

import re

# Patterns in libpq's and OpenSSL's words, the particular ones first.
HINTS = {
    r"does not match host name": "the server's certificate is for another name: use that name as host, or "
    "sslmode=verify-ca, which checks none",
    r"root certificate file|root\.crt": "sslrootcert names the file with the certificate of the server's CA; "
    "`system` is for public CAs",
    r"unable to get local issuer|self.signed certificate": "the server's certificate is not signed by a CA that is "
    "trusted here; sslrootcert=FILE names its CA",
    r"certificate has expired|certificate expired|not yet valid": "the certificate is out of date; renew it, and check "
    "the clocks",
    r"certificate revoked|sslcrl|revocation list": "the certificate is revoked, or the revocation list is out of date",
    r"certificate verify failed": "the server's certificate is not trusted: it is out of date, revoked (sslcrl), or "
    "not signed by the CA in sslrootcert",
    r"certificate required|valid client certificate|no certificate": "the server wants a client certificate: sslcert "
    "and sslkey name its files",
    r"unknown ca|bad certificate|unsupported certificate|certificate unknown": "the server does not accept the client "
    "certificate in sslcert; have its CA sign one",
    r"private key file|certificate file|does not match certificate|key values mismatch": "check the files in sslcert "
    "and sslkey; the key must be readable by you alone (chmod 600)",
    r"channel binding": "channel_binding=require needs TLS and a SCRAM password; another server may be in between",
    r"authentication method requirement": "the server asks for a login that require_auth forbids; it may be another "
    "server",
    r"weak sslmode": "sslrootcert=system needs sslmode=verify-full",
    r"alert protocol version|unsupported protocol|no protocols available|handshake failure|wrong version number": (
        "client and server have no TLS version in common; see ssl_min_protocol_version"
    ),
}


def tls_hint(reason: str) -> str:
    """Return the hint for a reason; '' if it is not about certificates, TLS versions or the way of logging in."""
    return next((hint for words, hint in HINTS.items() if re.search(words, reason, re.IGNORECASE)), "")
