"""Rows of texts as a table of Markdown, which a terminal shows as well."""


def table(head, rows):
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in [head, *rows]) for at in range(len(head))]
    numbers = [all(row[at][:1].isdigit() or row[at] in ("", "-") for row in rows) for at in range(len(head))]

    def line(cells):
        padded = [cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(cells, widths, numbers)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - 1) + (":" if right else "-") for width, right in zip(widths, numbers)]
    return "\n".join([line(head), f"| {' | '.join(rule)} |", *map(line, rows)])
