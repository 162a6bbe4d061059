"""GRANT and REVOKE of a dump: what on, for whom, and whether they are about objects of one database."""

import re
from dataclasses import dataclass

from iacalls_cli.operations.backup.statement import Statement
from iacalls_cli.sql_text import Token, unquote
from iacalls_cli.text import one_line

# Behind ON, where the kind is not left out for a table; the server-wide ones are not in it.
SERVER_WIDE = frozenset(("DATABASE", "TABLESPACE", "PARAMETER", "ROLE", "SYSTEM"))

CATALOG = re.compile(r'(?:^|[\s,])(?:pg_catalog|information_schema|"pg_catalog")(?:\.|$)')


@dataclass(frozen=True)
class Grant:
    """A GRANT or REVOKE: `target` is what it is on, `roles` are the roles that must exist."""

    statement: Statement
    target: str
    roles: tuple[str, ...]
    privileges: tuple[Token, ...]

    @property
    def is_on_catalog(self) -> bool:
        """Whether it is on an object of the system catalog."""
        return bool(CATALOG.search(self.target))

    @property
    def has_maintain(self) -> bool:
        """Whether it names MAINTAIN, which came with PostgreSQL 17."""
        return any(token.word == "MAINTAIN" for token in self.privileges)

    def without_maintain(self) -> bytes:
        """Return the statement without MAINTAIN; b'' where nothing is left."""
        kept = [token for token in self.privileges if token.word != "MAINTAIN"]
        words: list[bytes] = []
        for token in kept:
            if token.text == b"," and (not words or words[-1] == b","):
                continue
            words.append(token.text)
        while words and words[-1] == b",":
            words.pop()
        if not words:
            return b""
        tokens = list(self.statement.tokens())
        rest = self.statement.text[self.privileges[-1].end :]
        lead = self.statement.text[: tokens[tokens.index(self.privileges[0]) - 1].end]
        return lead + b" " + b" ".join(words) + rest


def read_grant(statement: Statement) -> Grant | None:
    """Return what a statement grants or revokes; None for one of roles or of the whole server, and for others."""
    tokens = [token for token in statement.tokens() if token.text != b";"]
    start = next((number for number, token in enumerate(tokens) if token.word in ("GRANT", "REVOKE")), None)
    if start is None or (start and statement.kind != "DEFAULT PRIVILEGES"):
        return None
    depth, on, to = 0, None, None
    for number in range(start + 1, len(tokens)):
        token = tokens[number]
        depth += (token.text == b"(") - (token.text == b")")
        if depth:
            continue
        if on is None and token.word == "ON":
            on = number
        elif token.word in ("TO", "FROM"):
            to = number
    if on is None or to is None or to < on or on + 1 >= len(tokens):
        return None
    kind = tokens[on + 1]
    if kind.word in SERVER_WIDE and tokens[on + 2].kind in ("word", "quoted") and on + 2 < to:
        return None
    privileges = tokens[start + 1 : on]
    if [token.word for token in privileges[:3]] == ["GRANT", "OPTION", "FOR"]:
        privileges = privileges[3:]
    roles = [*role_list(tokens[to + 1 :], statement), *default_roles(tokens[:start], statement)]
    target = one_line("".join(join(tokens[on + 1 : to], statement)))
    return Grant(statement, target, tuple(roles), tuple(privileges))


def role_list(tokens: list[Token], statement: Statement) -> list[str]:
    """Return the roles behind TO or FROM, and the grantor behind GRANTED BY."""
    names: list[str] = []
    for number, token in enumerate(tokens):
        if token.word in ("WITH", "CASCADE", "RESTRICT"):
            break
        if token.word == "GRANTED":
            names += [unquote(one.text, statement.encoding) for one in tokens[number + 2 : number + 3]]
            break
        if token.kind in ("word", "quoted") and token.word != "GROUP":
            names.append(unquote(token.text, statement.encoding))
    return names


def default_roles(tokens: list[Token], statement: Statement) -> list[str]:
    """Return the roles of ALTER DEFAULT PRIVILEGES FOR ROLE …."""
    words = [token.word for token in tokens]
    for word in ("ROLE", "USER"):
        if word in words[:5] and "FOR" in words[:4]:
            names = []
            for token in tokens[words.index(word) + 1 :]:
                if token.word == "IN":
                    break
                if token.kind in ("word", "quoted"):
                    names.append(unquote(token.text, statement.encoding))
            return names
    return []


def join(tokens: list[Token], statement: Statement) -> list[str]:
    """Return tokens as text, with spaces between words."""
    parts: list[str] = []
    for token in tokens:
        text = statement.decode(token.text)
        glued = text in (".", ",", "(", ")") or not parts or parts[-1].endswith((".", "("))
        parts.append(text if glued else f" {text}")
    return parts
