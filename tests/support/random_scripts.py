"""Random SQL scripts of fragments that are hard to split into statements."""

import random

# Where whole texts stand, with standard strings and without: 'a;' and so on, not what is behind them.
STRINGS = (
    "'a;b'", "''", "'it''s;'", "E'a\\';b'", "E'\\\\'", "e'\\\\\\';'", "$$;'\"$$", "$a$ $$;$$ $a$", "$_1$;\n$_1$", "'a'\n';b'",
    "E'a\\''\n'b\\';'", "E'a' -- ';\n 'b\\';'", "U&'d\\0061;'", "B'1'::text", "x'1F'::text", "N';'", "'--'", "'/*'", "'\n;\n'", "'$$'",
    "$é$;$é$", "'begin atomic;'", "'ñ;'", "''''", "E''''",
)  # fmt: skip
STANDARD = ("'\\'", "'a\\'\n'\\;'", "'\\'';\\'", "N'\\'")
ESCAPED = ("'\\''", "'\\\\'", "'a\\';b'", "'a'\n'\\';'")
SPACES = (
    " ",
    "\n",
    "\t",
    " \r\n",
    "\r",
    "\n\n",
    " -- it's;\n",
    " --\r",
    " /* ; */ ",
    " /* /* ' */ ; \" */ ",
    "/**/",
    " --;'\r\n",
    " -- $$\n",
    "\f",
)
NAMES = (
    "begin", "atomic", "a", '"begin"', '"end"', '"case"', '"a;b"', "\"'\"", '"a""b;"', "begin_at", "caseless", "a$b", "a$$b",
    "e", "x", "n", "u", 'U&"d\\0061;"', '"--"', '"/*"', '"$$"', "endless", "$1".replace("$1", "end_"), "ñ", '"("', '")"',
)  # fmt: skip
LABELS = (*NAMES, "end", "case")


class Scripts:
    """Makes scripts; `number` keeps the names of objects apart."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.number = 0
        self.is_standard = True

    def space(self) -> str:
        """White space, perhaps with comments."""
        return self.random.choice(SPACES) if self.random.random() < 0.4 else " "

    def text(self) -> str:
        """A string constant."""
        more = STANDARD if self.is_standard else ESCAPED
        usable = STRINGS if self.is_standard else tuple(one for one in STRINGS if not one.startswith("U&"))
        return self.random.choice(usable + more)

    def name(self) -> str:
        """An identifier that needs no quotes, or has them."""
        return self.random.choice(NAMES)

    def new(self) -> str:
        """The name of a new object."""
        self.number += 1
        return self.random.choice((f"o{self.number}", f'"o;{self.number}"', f"begin{self.number}", f"o$${self.number}"))

    def value(self, depth: int = 0) -> str:
        """An expression without columns."""
        kind = self.random.randrange(9 if depth < 3 else 4)
        space = self.space
        if kind < 3:
            return self.text() if self.random.random() < 0.9 else "1::text"
        if kind == 3:
            return f"({space()}{self.text()}{space()})"
        if kind == 4:
            return f"({self.value(depth + 1)}{space()}||{space()}{self.value(depth + 1)})"
        if kind == 5:
            return (
                f"case{space()}when{space()}true{space()}then{space()}{self.value(depth + 1)}{space()}else"
                f"{space()}{self.value(depth + 1)}{space()}end"
            )
        if kind == 6:
            return f"(SELECT{space()}{self.value(depth + 1)}{space()}AS{space()}{self.name()})"
        if kind == 7:
            return f"coalesce({self.value(depth + 1)},{space()}{self.value(depth + 1)})"
        return f"CASE{space()}{self.value(depth + 1)}{space()}WHEN{space()}{self.text()}{space()}THEN{space()}{self.text()}{space()}END"

    def select(self) -> str:
        """A query."""
        parts = []
        for _ in range(self.random.randint(1, 3)):
            value = self.value()
            parts.append(
                f"{value}{self.space()}AS{self.space()}{self.name()}" if self.random.random() < 0.5 else f"{value}"
            )
        return f"SELECT{self.space()}" + f",{self.space()}".join(parts)

    def head(self) -> str:
        """Parameters of a routine whose names are words of its syntax."""
        words = self.random.sample(("begin", "atomic", '"end"', '"case"', '"a;"', "e", "n"), self.random.randint(0, 3))
        return f"({self.space()}" + ", ".join(f"{word}{self.space()}text" for word in words) + ")"

    def statement(self) -> str:
        """A statement without its semicolon."""
        kind, space = self.random.randrange(12), self.space
        if kind < 4:
            return self.select()
        if kind == 4:
            return f'CREATE{space()}TABLE{space()}{self.new()} ({space()}begin text, atomic{space()}text, "end" text DEFAULT {self.text()})'
        if kind == 5:
            return f"CREATE{space()}VIEW{space()}{self.new()}{space()}AS{space()}SELECT{space()}{self.value()}{space()}AS{space()}begin,{space()}{self.value()} AS atomic"
        if kind in (6, 7):
            body = "".join(f"{space()}{self.select()};" for _ in range(self.random.randint(1, 3)))
            returns = (
                self.random.choice(("SETOF text", "TABLE(begin text)", "TABLE(atomic text)"))
                if self.random.random() < 0.5
                else "text"
            )
            last = f"{space()}SELECT{space()}{self.value()};"
            return (
                f"CREATE{space()}OR REPLACE{space()}FUNCTION{space()}{self.new()}{self.head()}{space()}RETURNS{space()}{returns}"
                f"{space()}LANGUAGE{space()}sql{space()}{self.random.choice(('', 'IMMUTABLE', 'STABLE'))}{space()}"
                f"BEGIN{space()}ATOMIC{body}{last}{space()}END"
            )
        if kind == 8:
            return f"CREATE{space()}FUNCTION{space()}{self.new()}{self.head()}{space()}RETURNS text LANGUAGE sql{space()}RETURN{space()}{self.value()}"
        if kind == 9:
            return f"CREATE{space()}FUNCTION{space()}{self.new()}{self.head()}{space()}RETURNS text LANGUAGE sql AS{space()}$f$ SELECT 'begin;'; $f$"
        if kind == 10:
            return f"CREATE{space()}PROCEDURE{space()}{self.new()}{self.head()}{space()}LANGUAGE sql{space()}BEGIN{space()}ATOMIC{space()}END"
        self.number += 1
        table = f"r{self.number}"
        return f"CREATE TABLE {table} (begin text)\0CREATE{space()}RULE{space()}begin AS ON INSERT TO {table} DO ({space()}DELETE FROM {table};{space()}UPDATE {table} SET begin = {self.value()};{space()})"

    def script(self) -> str:
        """Some statements with their semicolons; a setting is changed by a statement of its own."""
        self.is_standard = True
        parts = []
        if self.random.random() < 0.3:
            self.is_standard = False
        for _ in range(self.random.randint(1, 5)):
            parts += [
                statement + self.random.choice(("", self.space())) + ";" + self.space()
                for statement in self.statement().split("\0")
            ]
        return "".join(parts)
