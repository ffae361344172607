"""The job that these proofs run, and the tables that it fills."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from ..lab import Simulator
from ..store import Store

Row = tuple[Any, ...]

# Who wrote a row and when says nothing about what it says.
PROVENANCE = frozenset({"batch_seq", "fetched_at"})
KEYS = {"stock_prices": ("code", "interval", "ts"), "stock_events": ("code", "kind", "date")}


def job(
    source: dict[str, Any], chart_url: str, *, span: str = "1y", day: date | None = None, **more: Any
) -> dict[str, Any]:
    """A spec, as of a day of Tokyo or of now."""
    as_of = {"timeZone": "Asia/Tokyo"} | ({} if day is None else {"date": str(day)})
    return source | {
        "asOf": as_of,
        "yahooChart": {"baseUrl": chart_url, "range": span},
        "fetch": {"requestsPerSecond": 1000, "burst": 100, "workers": 32},
    } | more


def whole_list(sim: Simulator) -> dict[str, Any]:
    """Every issue of the list that it serves."""
    return {"jpxListing": {"uri": sim.list_url}}


def these(codes: list[str]) -> dict[str, Any]:
    """These codes."""
    return {"inlineItems": {"items": [{"key": code} for code in codes]}}


def month_ends() -> list[date]:
    """The last days of the months before this one, latest first."""
    ends = [date.today().replace(day=1) - timedelta(days=1)]
    while len(ends) < 12:
        ends.append(ends[-1].replace(day=1) - timedelta(days=1))
    return ends


def table(store: Store, name: str, where: str = "true", *values: Any) -> dict[Row, dict[str, Any]]:
    """Rows of a dataset by their key, without their provenance."""
    rows = {}
    for row in store.rows(f"SELECT * FROM {name} WHERE {where}", *values):
        rows[tuple(row[column] for column in KEYS[name])] = {
            column: row[column] for column in row.keys() if column not in PROVENANCE
        }
    return rows
