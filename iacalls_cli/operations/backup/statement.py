"""What a statement of a dump is: its command, the kind of object, and the object's name.

Only the beginning of a statement is read. The kinds are those that pg_dump writes
(src/bin/pg_dump/pg_dump.c, versions 8.0 to 18).
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

from iacalls_cli.sql_text import WIDE_ENCODINGS, Token, read_tokens, unquote
from iacalls_cli.text import one_line

# Objects of one database, as CREATE, ALTER, DROP and COMMENT ON name them; the longer ones first.
KINDS = tuple(
    tuple(kind.split())
    for kind in (
        "TEXT SEARCH CONFIGURATION", "TEXT SEARCH DICTIONARY", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE",
        "FOREIGN DATA WRAPPER", "ACCESS METHOD", "CONSTRAINT TRIGGER", "DEFAULT PRIVILEGES", "EVENT TRIGGER",
        "FOREIGN SERVER", "FOREIGN TABLE", "LARGE OBJECT", "MATERIALIZED VIEW", "OPERATOR CLASS", "OPERATOR FAMILY",
        "PROCEDURAL LANGUAGE", "PROPERTY GRAPH", "USER MAPPING", "AGGREGATE", "CAST", "COLLATION", "COLUMN",
        "CONSTRAINT", "CONVERSION", "DOMAIN", "EXTENSION", "FUNCTION", "INDEX", "LANGUAGE", "OPERATOR", "POLICY",
        "PROCEDURE", "PUBLICATION", "ROUTINE", "RULE", "SCHEMA", "SEQUENCE", "SERVER", "STATISTICS", "SUBSCRIPTION",
        "TABLE", "TRANSFORM", "TRIGGER", "TYPE", "VIEW",
    )
)  # fmt: skip
# Words between CREATE and the kind of object, or between that and the name.
MODIFIERS = frozenset(
    ("OR", "REPLACE", "UNLOGGED", "UNIQUE", "TRUSTED", "RECURSIVE", "DEFAULT", "CONCURRENTLY", "IF", "NOT", "EXISTS",
     "ONLY")
)  # fmt: skip
# Where a name ends.
NAME_ENDS = frozenset(
    ("AS", "USING", "HANDLER", "RETURNS", "OPTIONS", "CONNECTION", "TO", "WITH", "IS", "OWNER", "SET", "ADD", "ALTER",
     "BEFORE", "AFTER", "INSTEAD", "ENABLE", "DISABLE", "FORCE", "ATTACH", "INCREMENT", "START", "TYPE", "VERSION",
     "CASCADE", "RESTRICT", "PARTITION", "OF", "VALUES", "CLUSTER", "REPLICA", "NO", "DROP", "FROM", "GRANT", "REVOKE",
     "DEPENDS", "OVERRIDING", "VALIDATE")
)  # fmt: skip
# Objects of a table, whose own name is one word: what the table's name stands behind.
TABLE_WORDS = {"TRIGGER": "ON", "CONSTRAINT TRIGGER": "ON", "RULE": "TO"}
USER_MAPPING = ("USER", "MAPPING")
MOST_NAME_TOKENS = 60
SHOWN_CHARACTERS = 120


class Statement:
    r"""One statement of a dump.

    `encoding` is how its text is encoded, by Python's name; `standard_strings` says whether a
    backslash in '…' is a character like any other (standard_conforming_strings).
    """

    def __init__(self, text: bytes, encoding: str = "utf-8", *, standard_strings: bool = True) -> None:
        self.text, self.encoding, self.standard_strings = text, encoding, standard_strings
        self.is_wide = encoding in WIDE_ENCODINGS.values()
        # The statement that sets the search_path it was written for; b'' where that is the session's.
        self.path = b""
        self._source = read_tokens(text, standard_strings, self.is_wide)
        self._read: list[Token] = []

    def tokens(self) -> Iterator[Token]:
        """Yield the tokens; as many are read as are asked for."""
        number = 0
        while True:
            if number == len(self._read):
                token = next(self._source, None)
                if token is None:
                    return
                self._read.append(token)
            yield self._read[number]
            number += 1

    @cached_property
    def command(self) -> str:
        """The first word in capitals: CREATE, ALTER, COPY; '' where there is none."""
        return next((token.word for token in self.tokens()), "")

    @cached_property
    def _object(self) -> tuple[str, list[Token]]:
        """The kind of the object that is created, changed, dropped, commented on or granted on, and what follows."""
        tokens = iter(list(self._head()))
        pending: list[Token] = []

        def words(count: int) -> tuple[str, ...]:
            while len(pending) < count and (token := next(tokens, None)) is not None:
                pending.append(token)
            return tuple(token.word for token in pending[:count])

        while words(1):
            for kind in KINDS:
                if words(len(kind)) == kind and not (kind == USER_MAPPING and is_role(words(3)[2:])):
                    del pending[: len(kind)]
                    return " ".join(kind), [*pending, *tokens]
            if words(1)[0] not in MODIFIERS:
                break
            pending.pop(0)
        return "", [*pending, *tokens]

    def _head(self) -> Iterator[Token]:
        """Yield the tokens from where the kind of object stands."""
        tokens = self.tokens()
        next(tokens, None)
        if self.command in ("COMMENT", "SECURITY"):
            # COMMENT ON kind name; SECURITY LABEL FOR provider ON kind name.
            for token in tokens:
                if token.word == "ON":
                    break
        for number, token in enumerate(tokens):
            yield token
            if number >= MOST_NAME_TOKENS:
                return

    @property
    def kind(self) -> str:
        """The kind of object in capitals (TABLE, EVENT TRIGGER), '' for one that no dump of one database names."""
        return self._object[0]

    @cached_property
    def name(self) -> str:
        """The object's name as the statement writes it: `public.t`, `p ON public.t`, `FOR app SERVER s`."""
        kind, tokens = self._object
        parts: list[str] = []
        depth = 0
        for number, token in enumerate(tokens):
            if not parts and token.word in MODIFIERS:
                continue
            if parts and kind in TABLE_WORDS:
                place = find_word(tokens[number:], TABLE_WORDS[kind])
                table = "" if place is None else "".join(map(self.decode, qualified(tokens[number + place + 1 :])))
                return one_line(f"{parts[0]} ON {table}" if table else parts[0])
            if parts and token.word == "FOR" and kind != "USER MAPPING":
                break
            if (
                token.kind == "string"
                or token.text == b";"
                or (token.word in NAME_ENDS and not depth and kind != "CAST")
            ):
                break
            if token.text == b"(":
                if not parts and kind != "CAST":
                    break
                if kind not in ("CAST", "FUNCTION", "PROCEDURE", "AGGREGATE", "OPERATOR"):
                    break
                depth += 1
            depth -= token.text == b")"
            text = self.decode(token.text)
            glued = text in (".", ")", ",", "(") or (parts and parts[-1].endswith((".", "(")))
            parts.append(text if glued or not parts else f" {text}")
        return one_line("".join(parts))[:SHOWN_CHARACTERS]

    @cached_property
    def identifiers(self) -> tuple[str, ...]:
        """The parts of the object's qualified name, unquoted: ('public', 'users')."""
        return tuple(
            unquote(token.text, self.encoding) for token in qualified_tokens(self.object_tokens) if token.text != b"."
        )

    def decode(self, text: bytes) -> str:
        """Text of the statement in characters."""
        return text.decode(self.encoding, "replace")

    def __str__(self) -> str:
        """What people are told of it: never a value, a password or a function's text."""
        if self.kind:
            return f"{self.command} {self.kind} {self.name}".strip()
        if self.command in ("COPY", "INSERT"):
            return f"{'COPY' if self.command == 'COPY' else 'INSERT INTO'} {self.target}"
        return self.command or "statement"

    @property
    def object_tokens(self) -> tuple[Token, ...]:
        """The tokens from the object's name on, modifiers such as IF NOT EXISTS left out."""
        tokens = self._object[1]
        start = next((number for number, token in enumerate(tokens) if token.word not in MODIFIERS), len(tokens))
        return tuple(tokens[start:])

    @cached_property
    def target_tokens(self) -> tuple[Token, ...]:
        """The tokens of the table of a COPY or INSERT."""
        tokens = list(self._head())
        start = next((number for number, token in enumerate(tokens) if token.word not in ("INTO", "ONLY")), 0)
        return tuple(qualified_tokens(tokens[start:]))

    @property
    def target(self) -> str:
        """The table of a COPY or INSERT, as the statement writes it."""
        return one_line("".join(self.decode(token.text) for token in self.target_tokens))

    @property
    def target_identifiers(self) -> tuple[str, ...]:
        """The parts of the name of a COPY's or INSERT's table, unquoted."""
        return tuple(unquote(token.text, self.encoding) for token in self.target_tokens if token.text != b".")


def qualified_tokens(tokens: Sequence[Token]) -> Iterator[Token]:
    """Yield the tokens of the qualified name that some tokens begin with."""
    expects_name = True
    for token in tokens:
        is_name = token.kind in ("word", "quoted")
        if is_name != expects_name or not (is_name or token.text == b"."):
            return
        yield token
        expects_name = not expects_name


def qualified(tokens: Sequence[Token]) -> Iterator[bytes]:
    """Yield the pieces of the qualified name that some tokens begin with."""
    return (token.text for token in qualified_tokens(tokens))


def is_role(words: Sequence[str]) -> bool:
    """Whether CREATE USER MAPPING is about a role of that name, by the words behind it."""
    return not words or words[0] not in ("FOR", "IF")


def find_word(tokens: Sequence[Token], word: str) -> int | None:
    """Return where a word stands outside parentheses."""
    depth = 0
    for number, token in enumerate(tokens):
        depth += (token.text == b"(") - (token.text == b")")
        if not depth and token.word == word:
            return number
    return None
