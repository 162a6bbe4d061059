"""The built-in rules of `iacalls maintain cleanup`: a row here is a rule, and reserves its name."""

from dataclasses import dataclass


@dataclass(frozen=True)
class BuiltInRule:
    """Rows of a table of the documented schema are old after so many days; `filter` is SQL, or ''."""

    name: str
    table: str
    age_column: str
    days: int
    filter: str = ""


# In the order in which they run. What no rule deletes is in operations/maintain/cleanup/protection.py.
BUILT_IN_RULES = (
    BuiltInRule("whatsapp", "whatsapp_conversations", "created_at", 30),
    BuiltInRule("failed-calls", "call_records", "created_at", 60, "status OPERATOR(pg_catalog.=) 'failed'"),
)
