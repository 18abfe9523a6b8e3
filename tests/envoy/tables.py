"""The tables of host calls by callback, as files and as facts."""

import pathlib

Cells = dict[tuple[str, str], str]


# `+`: the context was created; `call+ef`: after proxy_set_effective_context.
_ORDER = (
    "root+ vm_start configure tick stream+ rq_h call call+ef rq_body rq_trailers "
    "rs_h rs_body rs_trailers log done delete"
).split()


def callbacks(cells: Cells) -> list[str]:
    """The columns, in the order of a stream's life."""
    met = {callback for _, callback in cells}
    return [name for name in _ORDER if name in met] + sorted(met - set(_ORDER))


def render(cells: Cells) -> str:
    """A table for people and for `parse`: columns by position."""
    columns = callbacks(cells)
    rows = list(dict.fromkeys(call for call, _ in cells))
    head = max(len(row) for row in rows) + 1
    width = {
        column: max(len(column), *(len(cells.get((row, column), "-")) for row in rows)) + 1
        for column in columns
    }
    lines = ["host call".ljust(head) + "| " + "".join(column.ljust(width[column]) for column in columns)]
    for row in rows:
        lines.append(
            row.ljust(head) + "| " + "".join(cells.get((row, c), "-").ljust(width[c]) for c in columns)
        )
    return "".join(f"{line.rstrip()}\n" for line in lines)


def parse(text: str) -> Cells:
    """The cells of a rendered table."""
    head, *rows = [line.split("|", 1) for line in text.splitlines() if line.strip()]
    columns, cells = head[1].split(), {}
    for call, answers in rows:
        for column, answer in zip(columns, answers.split(), strict=True):
            if answer != "-":
                cells[(call.strip(), column)] = answer
    return cells


def expected(directory: pathlib.Path, name: str) -> Cells | None:
    """What Envoy was seen to answer, if it is on record."""
    file = directory / f"{name}.txt"
    return parse(file.read_text()) if file.exists() else None


def facts(cells: Cells) -> dict[str, object]:
    """The cells as parts of a case."""
    return {f"{call} in {callback}": answer for (call, callback), answer in cells.items()}
