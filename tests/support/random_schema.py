"""Random tables with random foreign keys and rows, and what rules of a cleanup should do to them, worked out in Python."""

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from psycopg import sql

TYPES = {
    "text": ("", "NULL", "\\N", "\\", '"', "',", "tab\there", "a\nb\rc", "\x01\x02\x1f\x7f\x0b\x0c\x08", "\u2028é🎉", "50 % {x}"),
    "varchar(20)": ("x", "", "\\.", "%s"),
    "char(4)": ("a", "", '"'),
    "jsonb": ("null", "{}", '{"a": "\\u00f1\\n\\""}', "[1, null, 1e30]", '"\\\\"'),
    "json": ("null", '{"a":1,  "a":2}', '"\\u0000"'),
    "text[]": ("{}", '{NULL,"NULL","a,b","\\"","\\\\"}', "[3:4]={x,y}"),
    "bytea": ("\\x", "\\x00ff5c0a22"),
    "numeric": ("NaN", "0.000", "-1e-30", "123456789012345678901234567890.5"),
    "double precision": ("NaN", "-Infinity", "0.1", "1e-320"),
    "boolean": ("t", "f"),
    "interval": ("1 mon -2 days 03:00", "-00:00:01"),
    "point": ("(1,2)", "(0.1,-1e10)"),
    "int4range": ("empty", "[1,5)", "(,)"),
    "uuid": ("00000000-0000-0000-0000-000000000001",),
    "inet": ("10.0.0.1/8", "::1"),
}  # fmt: skip
AGES = ("timestamp", "timestamp(3)", "timestamptz", "date")
DAYS = (None, "-infinity", "infinity", 1, 12, 40, 70, 120, 700)
STATUSES = ("failed", "ok", "it's", "", None)
FILTERS = {
    "": lambda row: True,
    "status = 'failed'": lambda row: row.status == "failed",
    "status IS NULL OR status LIKE '%''%' -- open": lambda row: row.status is None or "'" in row.status,
    "NOT coalesce(status, '{}') = ''": lambda row: row.status != "",
    "uid % 2 = 0": lambda row: row.uid % 2 == 0,
}
ACTIONS = {"c": "CASCADE", "n": "SET NULL", "d": "SET DEFAULT", "a": "NO ACTION", "r": "RESTRICT"}


@dataclass
class Key:
    """A foreign key of `child`; `action` is PostgreSQL's letter."""

    name: str
    child: "RandomTable"
    parent: "RandomTable"
    action: str
    columns: list[str]
    is_required: bool
    default: int | None

    @property
    def refuses(self):
        """Whether it keeps what it refers to: a column that may not be NULL cannot be set so."""
        return self.action in "ar" or (self.action == "n" and self.is_required)


@dataclass
class RandomTable:
    """A table; `others` are its columns of values."""

    name: str
    key: list[str]
    age_type: str
    others: dict[str, str]
    partitions: str
    has_trigger: bool
    is_identity: bool
    keys: list[Key] = field(default_factory=list)
    rows: list["Row"] = field(default_factory=list)

    @property
    def identifier(self):
        return sql.Identifier("public", self.name)


@dataclass(eq=False)
class Row:
    """A row; `refs` are the rows it refers to, by the name of the foreign key."""

    table: RandomTable
    uid: int
    number: int
    days: object
    status: str | None
    refs: dict[str, "Row"]


@dataclass(frozen=True)
class RandomRule:
    name: str
    table: RandomTable
    days: int
    filter: str

    def fits(self, row):
        """Whether a row of its table is old."""
        is_old = row.days == "-infinity" or (isinstance(row.days, int) and row.days > self.days)
        return is_old and FILTERS[self.filter](row)


@dataclass
class Expected:
    """What a rule does: rows and references, told by (uid) and (uid, key)."""

    deleted: set[int]
    cascaded: Counter
    changed: Counter
    kept: int


def make_tables(random):
    tables = []
    for number in range(random.randint(2, 5)):
        partitions = random.choice(("", "", "", "RANGE", "HASH", "LIST"))
        tables.append(
            RandomTable(
                name=random.choice(("t{}", "Tabla {}", "t%s_{}", 'q"{}')).format(number),
                key=random.choice((["id"], ["id"], ["id", "code"])),
                age_type=random.choice(AGES),
                others={f"v{n}": random.choice(list(TYPES)) for n in range(random.randint(1, 4))},
                partitions=partitions,
                has_trigger=random.random() < 0.5,
                is_identity=not partitions and random.random() < 0.3,
            )
        )
    for number, table in enumerate(tables):
        for n in range(random.randint(0, 3)):
            parent = random.choice(tables[: number + 1])
            add_key(random, table, parent, n, random.choice("cccnnndar"))
        if random.random() < 0.2 and number + 1 < len(tables):  # against the order: never a cascade
            add_key(random, table, random.choice(tables[number + 1 :]), 9, random.choice("nd"))
    return tables


def add_key(random, child, parent, number, action):
    columns = [f"r{number}_{column}" for column in parent.key]
    is_required = random.random() < 0.2 and parent is not child and number != 9
    default = 1 if action == "d" and (is_required or random.random() < 0.5) else None
    key = Key(f"fk{number}_{child.name}", child, parent, action, columns, is_required, default)
    child.keys.append(key)


def create(connection, random, tables):
    """Make the tables, with their triggers, partitions and foreign keys."""
    connection.execute(
        "CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.updated_at := clock_timestamp(); RETURN NEW; END $$"
    )
    for table in tables:
        columns = [
            sql.SQL("uid int NOT NULL"),
            sql.SQL("id int NOT NULL{}").format(sql.SQL(" GENERATED ALWAYS AS IDENTITY" if table.is_identity else "")),
            sql.SQL("code text NOT NULL DEFAULT '1'"),
            sql.SQL("age " + table.age_type),
            sql.SQL("status text"),
            sql.SQL("updated_at timestamp DEFAULT '2020-02-02 02:02:02.123456'"),
            *(sql.SQL("{} " + kind).format(sql.Identifier(name)) for name, kind in table.others.items()),
        ]
        if random.random() < 0.3:
            columns.append(sql.SQL("twice int GENERATED ALWAYS AS (uid * 2) STORED"))
        for key in table.keys:
            for position, column in enumerate(key.columns):
                default = sql.SQL(" DEFAULT 1" if position == 0 else " DEFAULT '1'") if key.default else sql.SQL("")
                columns.append(
                    sql.SQL("{} {}{}{}").format(
                        sql.Identifier(column),
                        sql.SQL("text" if column.endswith("code") else "int"),
                        sql.SQL(" NOT NULL" if key.is_required else ""),
                        default,
                    )
                )
        random.shuffle(columns)
        columns.append(sql.SQL("PRIMARY KEY ({})").format(sql.SQL(", ").join(map(sql.Identifier, table.key))))
        by = sql.SQL(f" PARTITION BY {table.partitions} (id)" if table.partitions else "")
        connection.execute(sql.SQL("CREATE TABLE {} ({}){}").format(table.identifier, sql.SQL(", ").join(columns), by))
        bounds = {
            "": (),
            "RANGE": ("FOR VALUES FROM (MINVALUE) TO (8)", "FOR VALUES FROM (8) TO (15)", "DEFAULT"),
            "LIST": ("FOR VALUES IN (1, 3, 5, 7, 9, 11, 13)", "DEFAULT"),
            "HASH": ("FOR VALUES WITH (MODULUS 2, REMAINDER 0)", "FOR VALUES WITH (MODULUS 2, REMAINDER 1)"),
        }
        for n, bound in enumerate(bounds[table.partitions]):
            connection.execute(
                sql.SQL("CREATE TABLE {} PARTITION OF {} {}").format(
                    sql.Identifier("public", f"{table.name}_{n}"), table.identifier, sql.SQL(bound)
                )
            )
        if table.has_trigger:
            connection.execute(
                sql.SQL("CREATE TRIGGER touch BEFORE UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION public.touch()").format(
                    table.identifier
                )
            )
    for table in tables:
        for key in table.keys:
            deferred = " DEFERRABLE INITIALLY DEFERRED" if key.action != "r" and random.random() < 0.2 else ""
            connection.execute(
                sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ON DELETE {}").format(
                    table.identifier,
                    sql.Identifier(key.name),
                    sql.SQL(", ").join(map(sql.Identifier, key.columns)),
                    key.parent.identifier,
                    sql.SQL(ACTIONS[key.action] + deferred),
                )
            )
            if random.random() < 0.5:
                connection.execute(
                    sql.SQL("CREATE INDEX ON {} ({})").format(
                        table.identifier, sql.SQL(", ").join(map(sql.Identifier, key.columns))
                    )
                )


def fill(connection, random, tables):
    """Insert random rows; the first one of each table is new and refers to first ones alone."""
    now = datetime.now(UTC)
    uid = 0
    for table in tables:
        for number in range(1, random.randint(2, 22)):
            uid += 1
            days, status = (1, "ok") if number == 1 else (random.choice(DAYS), random.choice(STATUSES))
            table.rows.append(Row(table, uid, number, days, status, {}))
    for table in tables:
        for row in table.rows:
            for key in table.keys:
                # Its own table's rows only upwards: rows that refer to one another in a circle are for another test.
                there = [one for one in key.parent.rows if key.parent is not table or one.number <= row.number]
                is_first = row.number == 1
                if key.is_required or (not is_first and random.random() < 0.6):
                    row.refs[key.name] = there[0] if is_first else random.choice(there)
    with connection.transaction():
        connection.execute("SET LOCAL session_replication_role = replica")
        for table in tables:
            for row in random.sample(table.rows, len(table.rows)):
                insert(connection, random, table, row, now)


def insert(connection, random, table, row, now):
    values = {
        "uid": row.uid,
        "id": row.number,
        "code": str(row.number),
        "age": moment(table.age_type, row.days, now),
        "status": row.status,
    }
    for name, kind in table.others.items():
        values[name] = None if random.random() < 0.2 else random.choice(TYPES[kind])
    for key in table.keys:
        parent = row.refs.get(key.name)
        for column in key.columns:
            values[column] = (
                None if parent is None else str(parent.number) if column.endswith("code") else parent.number
            )
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({})").format(
            table.identifier,
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join(map(sql.Literal, (None if v is None else str(v) for v in values.values()))),
        )
    )


def moment(kind, days, now):
    if days is None or isinstance(days, str):
        return days
    then = now - timedelta(days=days, hours=3)
    return then.isoformat() if kind == "timestamptz" else then.replace(tzinfo=None).isoformat()


def make_rules(random, tables):
    return [
        RandomRule(f"r{n}", random.choice(tables), random.choice((10, 30, 60, 90)), random.choice(list(FILTERS)))
        for n in range(random.randint(1, 3))
    ]


def config_of(rules):
    return "".join(
        f"[maintain.rules.{rule.name}]\ntable = {json.dumps(rule.table.name)}\nage_column = 'age'\n"
        f"age = '{rule.days}d'\n" + (f"filter = {json.dumps(rule.filter)}\n" if rule.filter else "")
        for rule in rules
    )


def keep_one_another(tables, rule):
    """Whether a rule's rows refer to rows of the same rule and keep them: such a rule is refused."""
    emptied, keys = {rule.table.name}, [key for table in tables for key in table.keys]
    while more := {k.child.name for k in keys if k.action == "c" and k.parent.name in emptied} - emptied:
        emptied |= more
    return any(key.refuses and {key.parent.name, key.child.name} <= emptied for key in keys)


def expect(tables, rule):
    """Apply a rule to the model; returns what it should do."""
    rows = [row for table in tables for row in table.rows]
    keys = [key for table in tables for key in table.keys]
    children = {row: [] for row in rows}
    for row in rows:
        for key in row.table.keys:
            if key.name in row.refs:
                children[row.refs[key.name]].append((key, row))
    roots = [row for row in rule.table.rows if rule.fits(row)]
    doomed = {}
    for root in roots:
        found, waiting = {root}, [root]
        while waiting:
            for key, child in children[waiting.pop()]:
                if key.action == "c" and child not in found:
                    found.add(child)
                    waiting.append(child)
        doomed[root] = found
    kept = {root for root, found in doomed.items() if any(key.refuses for row in found for key, _ in children[row])}
    gone = set().union(*(found for root, found in doomed.items() if root not in kept))
    changed = Counter()
    for row in gone:
        for key, child in children[row]:
            if key.action in "nd" and child not in gone:
                changed[key.name] += 1
                del child.refs[key.name]
                if key.default:
                    child.refs[key.name] = key.parent.rows[0]
    deleted = {row.uid for row in roots if row in gone}
    cascaded = Counter(row.table.name for row in gone if row.uid not in deleted)
    for table in tables:
        table.rows = [row for row in table.rows if row not in gone]
    assert keys or not changed
    return Expected(deleted, cascaded, changed, len(kept))


def random_schema(seed, connection):
    """Make and fill a random schema; returns its tables and rules."""
    random = Random(seed)
    tables = make_tables(random)
    create(connection, random, tables)
    fill(connection, random, tables)
    return tables, make_rules(random, tables)
