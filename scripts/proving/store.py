"""The store, read from outside: tables counted again, views and counters beside them."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FINAL = ("SUCCEEDED", "FAILED", "SKIPPED")


@dataclass(frozen=True)
class Figures:
    """What is told of a batch, by whichever witness."""

    total: int
    succeeded: int
    failed: int
    skipped: int
    canceled: int
    records: int

    def __str__(self) -> str:
        counts = (f"{count:,} {name}" for name, count in vars(self).items() if count or name in ("total", "records"))
        return ", ".join(counts)


@dataclass(frozen=True)
class Item:
    """A row of batch_execution_details, with the attempts told of it. Times in seconds since the epoch."""

    index: int
    key: str
    status: str
    attempts: int
    records: int
    updated_s: float | None
    attempt_requests: int
    attempt_outcomes: tuple[str, ...]


class Store:
    """One store with one batch. Nothing is ever written, and no lock is held between calls."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Rows of a query."""
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=10)) as connection:
            connection.row_factory = sqlite3.Row
            return connection.execute(sql, values).fetchall()

    def value(self, sql: str, *values: Any) -> Any:
        """First column of the first row."""
        return self.rows(sql, *values)[0][0]

    @property
    def state(self) -> str:
        """State of the batch."""
        return str(self.value("SELECT status FROM batch_executions"))

    @property
    def requests(self) -> int:
        """Requests by the batch's counter."""
        return int(self.value("SELECT requests_count FROM batch_executions"))

    @property
    def attempts_max(self) -> int:
        """Charged attempts that each item may have."""
        return int(json.loads(self.value("SELECT spec FROM batch_executions"))["fetch"]["attempts_max"])

    def counters(self) -> Figures:
        """The batch's own counters."""
        return Figures(*self.rows(
            "SELECT total_count, successful_count, failed_count, skipped_count, canceled_count, records_count"
            " FROM batch_executions"
        )[0])

    def progress_view(self) -> Figures:
        """View batch_progress."""
        return Figures(*self.rows(
            "SELECT total_count, successful_count, failed_count, skipped_count, canceled_count, records_count"
            " FROM batch_progress"
        )[0])

    def recount(self) -> Figures:
        """Items counted one by one, canceled ones by their slices, records in the datasets' tables."""
        statuses = dict(
            (row[0], row[1])
            for row in self.rows("SELECT status, count(*) FROM batch_execution_details GROUP BY status")
        )
        canceled = self.value(
            "SELECT count(*) FROM batch_execution_details d JOIN batch_slices s USING (batch_seq, slice_no)"
            " WHERE d.status = 'PENDING' AND s.status = 'CANCELED'"
        )
        return self._figures(statuses, canceled, self.dataset_rows())

    def items_view(self) -> Figures:
        """View batch_items, counted by state; records as the items tell them."""
        statuses = dict(
            (row[0], row[1]) for row in self.rows("SELECT status, count(*) FROM batch_items GROUP BY status")
        )
        records = self.value("SELECT coalesce(sum(records_inserted), 0) FROM batch_items")
        return self._figures(statuses, statuses.get("CANCELED", 0), records)

    @staticmethod
    def _figures(statuses: dict[str, int], canceled: int, records: int) -> Figures:
        final = [statuses.get(status, 0) for status in FINAL]
        return Figures(sum(statuses.values()), final[0], final[1], final[2], canceled, records)

    def dataset_rows(self) -> int:
        """Rows of the datasets."""
        return int(self.value("SELECT (SELECT count(*) FROM stock_prices) + (SELECT count(*) FROM stock_events)"))

    def doubled_rows(self) -> int:
        """Rows that say again what another row says, whatever the tables' keys forbid."""
        return int(self.value(
            "SELECT (SELECT count(*) FROM stock_prices)"
            " - (SELECT count(*) FROM (SELECT DISTINCT code, interval, session_date FROM stock_prices))"
            " + (SELECT count(*) FROM stock_events)"
            " - (SELECT count(*) FROM (SELECT DISTINCT code, kind, date FROM stock_events))"
        ))

    def misfits(self) -> list[str]:
        """Keys whose rows in the datasets are not as many as their item tells."""
        return [row[0] for row in self.rows(
            "WITH held (code, n) AS (SELECT code, count(*) FROM"
            "   (SELECT code FROM stock_prices UNION ALL SELECT code FROM stock_events) GROUP BY code)"
            " SELECT d.item_key FROM batch_execution_details d LEFT JOIN held ON held.code = d.item_key"
            " WHERE coalesce(held.n, 0) <> d.records_inserted"
        )]

    def slice_faults(self) -> list[str]:
        """Slices of a completed batch that are not done, or that leave a gap or an overlap."""
        faults, expected = [], 0
        for row in self.rows("SELECT * FROM batch_slices ORDER BY slice_no"):
            if row["status"] != "DONE" or row["open_count"] != 0 or row["first_index"] != expected:
                faults.append(f"slice {row['slice_no']}: {row['status']}, {row['open_count']} open")
            expected = row["end_index"]
        if expected != self.value("SELECT total_count FROM batch_executions"):
            faults.append(f"slices end at {expected}")
        return faults

    def items(self) -> list[Item]:
        """All items by index."""
        attempts: dict[int, list[sqlite3.Row]] = {}
        for row in self.rows("SELECT item_index, requests, outcome FROM item_attempts ORDER BY item_index, number"):
            attempts.setdefault(row["item_index"], []).append(row)
        items = []
        for row in self.rows("SELECT * FROM batch_execution_details ORDER BY item_index"):
            told = attempts.get(row["item_index"], [])
            items.append(Item(
                index=row["item_index"],
                key=row["item_key"],
                status=row["status"],
                attempts=row["attempts"],
                records=row["records_inserted"],
                updated_s=None if row["updated_at"] is None else row["updated_at"] / 1e3,
                attempt_requests=sum(attempt["requests"] for attempt in told),
                attempt_outcomes=tuple(attempt["outcome"] for attempt in told),
            ))
        return items
