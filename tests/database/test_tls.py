"""TLS: a certificate that fails is named as such, and a session that was encrypted is never followed by one that is not."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import psycopg
import pytest

from iacalls_cli.config.target import Target
from iacalls_cli.database.connection import open_session
from iacalls_cli.errors import ConnectionFailed
from tests.support.command_line import run_process
from tests.support.servers import OWNER, PASSWORD, TestServer, local_bundle, make_private_server, remove_private_server

SETTINGS = ("ssl", "ssl_cert_file", "ssl_key_file", "ssl_ca_file")


def openssl(folder, *words):
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def make_ca(folder, name):
    words = ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.crt", "-subj", f"/CN={name}")
    openssl(folder, "req", "-x509", *words, "-days", "30")


def sign(folder, name, days):
    """A certificate for localhost, signed by the CA."""
    words = ("-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", "/CN=localhost")
    openssl(folder, "req", *words)
    (folder / "san").write_text("subjectAltName=DNS:localhost\n")
    words = ("-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-out", f"{name}.crt")
    openssl(folder, "x509", "-req", *words, "-days", str(days), "-extfile", "san")


def revoke(folder, name):
    """A list of revoked certificates with that one in it."""
    (folder / "index").write_text("")
    (folder / "ca.cnf").write_text(
        "[ca]\ndefault_ca=d\n[d]\ndatabase=index\ndefault_md=sha256\ndefault_crl_days=30\ncertificate=ca.crt\nprivate_key=ca.key\n"
    )
    openssl(folder, "ca", "-config", "ca.cnf", "-revoke", f"{name}.crt")
    openssl(folder, "ca", "-config", "ca.cnf", "-gencrl", "-out", "crl.pem")


@pytest.fixture(scope="module")
def keys():
    """Certificates of a CA (one of them expired), and another CA."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = Path(tempfile.mkdtemp(prefix="iacalls-tls-"))
    for name in ("ca", "other"):
        make_ca(folder, name)
    sign(folder, "server", 30)
    sign(folder, "expired", -1)
    revoke(folder, "server")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def tls_server(keys):
    """A server of this machine's PostgreSQL, which knows TLS; and its data folder."""
    if not list(Path("/usr/lib/postgresql").glob("*/bin/postgres")):
        pytest.skip("no PostgreSQL with TLS is installed on this machine")
    made, port = make_private_server(local_bundle())
    made.start()
    data = made.places.data
    for name in ("server", "expired", "ca"):
        for ending in ("crt", "key"):
            copied = Path(shutil.copy(keys / f"{name}.{ending}", data))
            copied.chmod(0o600)
            made.account.give(copied)
    opened = TestServer({**made.conninfo("postgres"), "host": "127.0.0.1", "port": port})
    opened.create_roles()
    yield opened, data
    remove_private_server(made)


@pytest.fixture
def tls(tls_server):
    """The server with TLS on; a function sets settings and has them read."""
    opened, data = tls_server
    hba = (data / "pg_hba.conf").read_text()

    def configure(hba_line="", **settings):
        (data / "pg_hba.conf").write_text(f"{hba_line}\n{hba}")
        with opened.connect("postgres") as admin:
            for name, value in settings.items():
                admin.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            admin.execute("SELECT pg_reload_conf()")
        wanted = settings.get("ssl")
        for _ in range(200):
            with psycopg.connect(opened.dsn("postgres"), sslmode="prefer") as session:
                if wanted is None or session.pgconn.ssl_in_use == (wanted == "on"):
                    return opened
        raise AssertionError("the settings were not read")

    configure(ssl="on", ssl_cert_file="server.crt", ssl_key_file="server.key", ssl_ca_file="ca.crt")
    configure.server = opened
    yield configure
    configure(ssl="off")


def refused(dsn):
    with pytest.raises(ConnectionFailed) as caught:
        open_session(Target("--dsn", dsn=dsn), "x")
    assert PASSWORD not in caught.value.message
    assert "offers no TLS" not in caught.value.hint
    return caught.value.message, caught.value.hint


FULL = "host=localhost sslmode=verify-full sslrootcert={keys}/ca.crt"
REFUSED = {
    "another CA": (
        FULL.replace("ca.crt", "other.crt"),
        "self-signed certificate in certificate chain|unable to get local issuer",
        "not signed by a CA",
    ),
    "public CAs": (
        "host=localhost sslmode=verify-full sslrootcert=system",
        "verify failed: .*issuer|self.signed",
        "not signed by a CA",
    ),
    "no file of a CA": (FULL.replace("ca.crt", "no.crt"), "root certificate file", "sslrootcert names the file"),
    "another name": (FULL.replace("localhost", "127.0.0.1"), "does not match host name", "for another name"),
    "revoked": (FULL + " sslcrl={keys}/crl.pem", "verify failed: certificate revoked", "is revoked"),
    "public CAs without a check": ("host=localhost sslmode=require sslrootcert=system", "weak sslmode", "verify-full"),
    "channel binding without TLS": ("sslmode=disable channel_binding=require", "hannel binding", "needs TLS"),
    "another login": (FULL + " require_auth=md5", "authentication method requirement", "require_auth forbids"),
    "no file of a key": (FULL + " sslcert={keys}/server.crt sslkey={keys}/no.key", "private key file", "sslkey"),
    "another CA's client": (FULL + " sslcert={keys}/other.crt sslkey={keys}/other.key", "", "client certificate"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_failure_of_a_certificate_or_login_is_named(tls, keys, name):
    options, reason, hint = REFUSED[name]
    dsn = f"{tls.server.dsn('postgres', OWNER)} {options.format(keys=keys)}"
    message, said = refused(dsn)
    assert re.search(reason, message)
    assert hint in said


def test_an_expired_certificate_is_named(tls, keys):
    tls(ssl_cert_file="expired.crt", ssl_key_file="expired.key")
    for _ in range(100):
        try:
            message, hint = refused(f"{tls.server.dsn('postgres', OWNER)} {FULL.format(keys=keys)}")
            break
        except (pytest.fail.Exception, AssertionError):
            continue  # the server has not read its settings yet
    assert "verify failed: certificate has expired" in message
    assert "the certificate is out of date" in hint


def test_a_client_certificate_that_is_wanted_is_named(tls, keys):
    tls(hba_line=f"hostssl all {OWNER} all cert")
    dsn = f"{tls.server.dsn('postgres', OWNER)} {FULL.format(keys=keys)}"
    message, hint = refused(dsn)
    assert "certificate" in message
    assert "sslcert and sslkey name its files" in hint


def test_a_whole_chain_of_trust_is_no_failure(tls, keys):
    session = open_session(Target("--dsn", dsn=f"{tls.server.dsn('postgres', OWNER)} {FULL.format(keys=keys)}"), "x")
    with session.connection:
        assert session.connection.pgconn.ssl_in_use


def test_a_server_that_offers_no_tls_is_still_told_so(tls, keys):
    tls(ssl="off")
    with pytest.raises(ConnectionFailed, match="does not support SSL") as caught:
        open_session(Target("--dsn", dsn=f"{tls.server.dsn('postgres', OWNER)} sslmode=require"), "x")
    assert "offers no TLS" in caught.value.hint


@pytest.mark.parametrize("command", [("maintain", "vacuum", "--jobs", "2"), ("maintain", "reindex", "--all")])
def test_a_later_session_is_never_less_encrypted_than_the_first(tls, iacalls, monkeypatch, command):
    """sslmode=prefer would go on without TLS, and say nothing."""
    from iacalls_cli.commands.maintain import reindex, vacuum

    original = vacuum.open_workers
    with tls.server.connect("postgres", OWNER) as owner, tls.server.connect("postgres") as admin:
        admin.execute(f"GRANT CREATE ON SCHEMA public TO {OWNER}")
        owner.execute("CREATE TABLE IF NOT EXISTS public.kept AS SELECT 1 AS id")
        owner.execute("CREATE INDEX IF NOT EXISTS kept_id ON public.kept (id)")

    def without_tls(*arguments):
        tls(ssl="off")
        return original(*arguments)

    for module in (vacuum, reindex):
        monkeypatch.setattr(module, "open_workers", without_tls)
    outcome = iacalls(*command, "--dsn", tls.server.dsn("postgres", OWNER))
    assert outcome.code == 3
    assert "does not support SSL, but SSL was required" in outcome.error


@pytest.mark.parametrize(("mode", "given"), [("", "require"), ("verify-ca", "verify-ca"), ("allow", "")])
def test_psql_is_as_encrypted_as_the_session_that_was_tried(tls, keys, tmp_path, mode, given):
    fake = tmp_path / "psql"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    dsn = f"{tls.server.dsn('postgres', OWNER)} host=localhost sslrootcert={keys}/ca.crt"
    environment = {"IACALLS_DSN": f"{dsn} sslmode={mode}" if mode else dsn, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    outcome = run_process("db", "shell", env=environment)
    assert outcome.code == 0, outcome.err
    assert f"sslmode={given or mode}" in outcome.out


def test_programs_that_lack_an_option_are_told_before_anything(tls, keys, tmp_path, iacalls):
    """The installed ones are too old, the bundled ones know no TLS."""
    dsn = f"{tls.server.dsn('postgres', OWNER)} {FULL.format(keys=keys)} require_auth=scram-sha-256"
    with tls.server.connect("postgres") as admin:
        if admin.info.server_version >= 160_000:
            pytest.skip("the installed client programs know the option")
    outcome = iacalls("backup", "create", "--directory", str(tmp_path / "backups"), "--dsn", dsn)
    assert outcome.code == 1
    assert "require_auth of this connection needs client programs of PostgreSQL 16 or newer" in outcome.error
    assert "postgresql-client-16" in outcome.error
    outcome = iacalls("db", "shell", "--dsn", dsn)
    assert outcome.code == 1
    assert "require_auth of this connection needs" in outcome.error
