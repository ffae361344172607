"""Fetches histories with yfinance from the simulator: peer_driver.py URL CACHE START END CODE…

Runs with a Python of its own that has yfinance. Prints a JSON object per code. Nothing of yfinance is replaced but
where its requests go: its cookie, its crumb, its session with a browser's fingerprint and its parser are its own.
"""

from __future__ import annotations

import json
import math
import sys
import urllib.parse
import warnings
from typing import Any

warnings.simplefilter("ignore")

import curl_cffi.requests  # noqa: E402
import pandas  # noqa: E402
import yfinance  # noqa: E402

PROVIDER = ".yahoo.com"


def redirect(simulator: str) -> None:
    """From now on every request for the provider's hosts goes to the simulator, and any other one is an error."""
    send = curl_cffi.requests.Session.request

    def request(self: Any, method: str, url: str, *more: Any, **named: Any) -> Any:
        parts = urllib.parse.urlsplit(url)
        if not (parts.hostname or "").endswith(PROVIDER):
            raise ValueError(f"a request for {url}, which is no host of the provider")
        place = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        return send(self, method, simulator + place, *more, **named)

    curl_cffi.requests.Session.request = request


def number(value: Any) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else float(value)


def history(code: str, start_s: int, end_s: int) -> dict[str, Any]:
    """Bars and events by day."""
    start, end = (pandas.Timestamp(at_s, unit="s", tz="Asia/Tokyo") for at_s in (start_s, end_s))
    frame = yfinance.Ticker(f"{code}.T").history(
        start=start, end=end, interval="1d", auto_adjust=False, actions=True, repair=False, keepna=False
    )
    days = [day.strftime("%Y-%m-%d") for day in frame.index]
    prices = ("Open", "High", "Low", "Close", "Adj Close", "Volume")
    events = {"DIVIDEND": "Dividends", "SPLIT": "Stock Splits", "CAPITAL_GAIN": "Capital Gains"}
    return {
        "code": code,
        "bars": {day: [number(row[name]) for name in prices] for day, (_, row) in zip(days, frame.iterrows())},
        "events": [
            [kind, day, float(value)]
            for kind, column in events.items() if column in frame
            for day, value in zip(days, frame[column]) if value != 0
        ],
    }


def main() -> None:
    """All codes, in their order."""
    simulator, cache, start_s, end_s, *codes = sys.argv[1:]
    redirect(simulator)
    yfinance.set_tz_cache_location(cache)
    yfinance.config.debug.hide_exceptions = False
    for code in codes:
        print(json.dumps(history(code, int(start_s), int(end_s))), flush=True)


if __name__ == "__main__":
    main()
