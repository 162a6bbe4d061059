"""How a table fits a terminal's width: folded headers, shortened texts, or one record a block."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

# Long text may be cut to this many cells, a time to its minutes; below that a table says
# nothing. Short text (a phone number, a state) is never cut.
TEXT_CELLS = 10
SHORT_CELLS = 16
PROSE_CELLS = 14
TIME_CELLS = len("2025-10-29 14:03…")
GAP = 2


@dataclass(frozen=True)
class Extent:
    """One column's needs, in terminal cells: of its widest cell and of its header."""

    kind: str
    widest: int
    header: str

    @property
    def least(self) -> int:
        """The narrowest this column may become."""
        body = self.widest
        if self.kind == "time":
            body = min(body, TIME_CELLS)
        elif self.kind == "prose":
            body = min(body, PROSE_CELLS)
        elif self.kind not in ("number", "bytes", "boolean") and self.widest > SHORT_CELLS:
            body = TEXT_CELLS
        return max(body, *(cell_len(part) for part in split_header(self.header)))

    @property
    def folded(self) -> int:
        """The width at which nothing is shortened, the header on as many lines as it can take."""
        return max(self.widest, self.least)

    @property
    def unfolded(self) -> int:
        """The width at which the header stands on one line too."""
        return max(self.widest, cell_len(self.header))


def split_header(name: str) -> list[str]:
    """Where a header may fold: behind spaces and underscores, which stay.

    >>> split_header("batch_total_recipients")
    ['batch_', 'total_', 'recipients']
    """
    return name.replace("_", "_\n").replace(" ", " \n").rstrip("\n").split("\n")


def fold_header(name: str, width: int) -> str:
    """A header on as few lines of at most `width` cells as possible."""
    lines = [""]
    for part in split_header(name):
        if lines[-1] and cell_len(lines[-1]) + cell_len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.rstrip() for line in lines)


def fits_whole(extents: Sequence[Extent], width: int) -> bool:
    """Whether all columns fit into `width` cells without shortening anything."""
    return excess_of([extent.folded for extent in extents], width) <= 0


def excess_of(widths: Sequence[int], width: int) -> int:
    """How many cells columns of these widths need beyond `width`."""
    return sum(widths) + GAP * (len(widths) - 1) - width


def fit_columns(extents: Sequence[Extent], width: int) -> list[int] | None:
    """Column widths that fit into `width` cells, or None when the table cannot.

    Headers are folded first, then prose is wrapped, then long text is cut: each time room is
    taken from the widest columns first, down to their least.

    >>> fit_columns([Extent("text", 60, "a"), Extent("number", 5, "b")], 40)
    [33, 5]
    """
    unfolded = [extent.unfolded for extent in extents]
    if excess_of(unfolded, width) <= 0:
        return unfolded
    widths = [extent.folded for extent in extents]
    for is_prose in (True, False):
        shrink(widths, [extent.least if (extent.kind == "prose") is is_prose else now
                        for extent, now in zip(extents, widths, strict=True)], width)  # fmt: skip
    return widths if excess_of(widths, width) <= 0 else None


def shrink(widths: list[int], leasts: Sequence[int], width: int) -> None:
    """Take from the widest columns what they need beyond `width`, none below its least."""
    while (excess := excess_of(widths, width)) > 0:
        spare = [now - least for now, least in zip(widths, leasts, strict=True)]
        widest = max((now for now, room in zip(widths, spare, strict=True) if room > 0), default=0)
        if not widest:
            return
        index = next(i for i, now in enumerate(widths) if now == widest and spare[i] > 0)
        # Down to the next widest in one step, so that long texts do not take long.
        below = max((now for i, now in enumerate(widths) if spare[i] > 0 and now < widest), default=0)
        widths[index] -= min(excess, spare[index], max(1, widest - below))
