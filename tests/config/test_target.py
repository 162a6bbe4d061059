"""Which database is chosen, by every source and in the contract's order."""

import pytest

from iacalls_cli.config.definition import Config, Profile
from iacalls_cli.config.target import choose_target
from iacalls_cli.errors import ConnectionFailed, UsageError

PRODUCTION = {
    "NODE_ENV": "production", "DB_HOST": "10.0.0.9", "DB_PORT": "5433", "DB_NAME": "calls", "DB_USER": "app",
    "DB_PASSWORD": "s3cret",
}  # fmt: skip


def profile(name, dsn="", **keywords):
    return Profile(name, dsn, keywords, "config.toml")


def choose(dsn=None, named=None, environment=None, config=None, terminal=False):
    return choose_target(dsn, named, environment or {}, lambda: config or Config(), lambda: terminal)


STAGING = Config(
    "staging", {"staging": profile("staging", host="st", dbname="x"), "prod": profile("prod", "service=prod")}
)


def test_order_of_precedence():
    everything = {"IACALLS_DSN": "host=env", "PGHOST": "pg", "DATABASE_LOCAL_URL": "postgresql://local/x"}
    assert choose("host=arg", None, everything, STAGING, terminal=True).dsn == "host=arg"
    assert choose(None, "prod", everything, STAGING).dsn == "service=prod"
    assert choose(None, None, everything, STAGING).dsn == "host=env"
    del everything["IACALLS_DSN"]
    assert choose(None, None, everything, STAGING).keywords == {"host": "st", "dbname": "x"}
    assert "PGHOST" in choose(None, None, everything).source
    del everything["PGHOST"]
    assert choose(None, None, everything).dsn == "postgresql://local/x"
    assert choose(None, None, {}, terminal=True).is_embedded


@pytest.mark.parametrize("name", ["PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE"])
def test_each_naming_variable_of_libpq_chooses(name):
    target = choose(environment={name: "x", **PRODUCTION})
    assert name in target.source
    assert (target.dsn, target.keywords) == ("", None)


@pytest.mark.parametrize("name", ["PGPASSWORD", "PGSSLMODE", "PGOPTIONS", "PGAPPNAME", "PGPASSFILE"])
def test_credentials_alone_choose_nothing(name):
    with pytest.raises(ConnectionFailed, match="no database is configured"):
        choose(environment={name: "x"})


def test_backend_in_production_is_read_as_the_backend_reads_it():
    target = choose(environment={**PRODUCTION, "DATABASE_LOCAL_URL": "postgresql://local/x"})
    assert target.keywords == {
        "host": "10.0.0.9", "port": "5433", "dbname": "calls", "user": "app", "password": "s3cret", "sslmode": "require",
    }  # fmt: skip


@pytest.mark.parametrize("missing", ["DB_HOST", "DB_PORT", "DB_NAME", "DB_USER"])
def test_half_a_production_configuration_is_refused(missing):
    environment = {**PRODUCTION, "DATABASE_URL": "postgresql://other/x"}
    environment[missing] = ""
    with pytest.raises(ConnectionFailed, match=f"{missing} not set"):
        choose(environment=environment, terminal=True)


def test_a_lone_production_password_is_half_a_configuration():
    environment = {"NODE_ENV": "production", "DB_PASSWORD": "x", "DATABASE_URL": "postgresql://other/x"}
    with pytest.raises(ConnectionFailed, match="DB_HOST"):
        choose(environment=environment, terminal=True)


def test_production_variables_elsewhere_are_not_passed_over():
    environment = {key: value for key, value in PRODUCTION.items() if key != "NODE_ENV"}
    with pytest.raises(ConnectionFailed, match="only where NODE_ENV is production"):
        choose(environment=environment, terminal=True)
    local = {**environment, "DATABASE_LOCAL_URL": "postgresql://local/x"}
    assert choose(environment=local).dsn == "postgresql://local/x"


def test_a_password_does_not_take_tls_away():
    url = {"DATABASE_URL": "postgresql://u:sslmode=no@h/x", "NODE_ENV": "production"}
    assert choose(environment=url).keywords == {"sslmode": "require"}


def test_production_without_a_variable_means_no_other_database():
    environment = {"NODE_ENV": "production", "DATABASE_LOCAL_URL": "postgresql://local/x"}
    with pytest.raises(ConnectionFailed, match="no DB_"):
        choose(environment=environment, terminal=True)


def test_a_production_password_may_come_from_pgpass():
    assert "password" not in choose(environment={k: v for k, v in PRODUCTION.items() if k != "DB_PASSWORD"}).keywords


def test_database_url_is_last_and_encrypted_in_production():
    url = {"DATABASE_URL": "postgresql://u@h/x"}
    assert choose(environment=url).keywords == {}
    assert choose(environment={**url, "NODE_ENV": "production"}).keywords == {"sslmode": "require"}
    own = {"DATABASE_URL": "postgresql://u@h/x?sslmode=verify-full", "NODE_ENV": "production"}
    assert choose(environment=own).keywords == {}
    both = {**url, "DATABASE_LOCAL_URL": "postgresql://local/x", "NODE_ENV": "development"}
    assert choose(environment=both).dsn == "postgresql://local/x"


def test_without_config_only_a_terminal_gets_the_embedded_server():
    assert choose(terminal=True).is_embedded
    with pytest.raises(ConnectionFailed) as caught:
        choose()
    assert "--dsn embedded" in caught.value.hint
    assert choose("embedded").is_embedded
    assert choose(environment={"IACALLS_DSN": "embedded"}).is_embedded


def test_with_profiles_but_no_default_nothing_is_guessed():
    config = Config("", STAGING.profiles)
    with pytest.raises(ConnectionFailed, match="staging, prod"):
        choose(config=config, terminal=True)
    assert choose(config=config, environment={"PGHOST": "h"}).source


@pytest.mark.parametrize("environment", [{"IACALLS_DSN": ""}, {"IACALLS_DSN": "  "}])
def test_an_empty_dsn_is_not_a_missing_one(environment):
    with pytest.raises(UsageError, match="is empty"):
        choose(environment=environment, terminal=True)
    with pytest.raises(UsageError, match="is empty"):
        choose("")


def test_contradictions_and_unknown_profiles_are_refused():
    with pytest.raises(UsageError, match="both name a target"):
        choose("host=a", "staging", config=STAGING)
    with pytest.raises(UsageError, match="no profile 'prd'") as caught:
        choose(None, "prd", config=STAGING)
    assert "staging, prod" in caught.value.hint
    with pytest.raises(UsageError, match="no profile 'gone'"):
        choose(config=Config("gone", STAGING.profiles))


def test_a_password_is_never_shown():
    target = choose(environment=PRODUCTION)
    assert "s3cret" not in target.source
