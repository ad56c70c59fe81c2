"""The table that comes out, as Markdown."""
from dataclasses import dataclass

SERVERS = ("tollgate", "nginx+Lua", "HAProxy", "nginx")


@dataclass
class Row:
    measure: str
    cells: dict  # {server: text}; who is not in it does nothing of the kind
    to_reach: str
    found: str
    reached: bool | None  # None: tried with less than it is about


def rate(per_second, per_cpu_second, spread):
    """Requests a second, for each second of processor time, and how far the rounds were apart."""
    return f"{per_second:,.0f}/s, {per_cpu_second:,.0f}/CPU s (±{spread / 2:.0%})"


def text_of(rows):
    lines = ["| measure | " + " | ".join(SERVERS) + " | to reach | found | |",
             "|---" * (len(SERVERS) + 4) + "|"]
    for row in rows:
        cells = [row.cells.get(server, "–") for server in SERVERS]
        verdict = {True: "reached", False: "**missed**", None: "not tried in full"}[row.reached]
        lines.append("| " + " | ".join([row.measure, *cells, row.to_reach, row.found, verdict])
                     + " |")
    return "\n".join(lines)
