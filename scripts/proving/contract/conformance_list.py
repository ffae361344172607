"""Names of the conformance tests, in the contract's order, with parts of the names of the tests that hold them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pending:
    """Belongs to what is not built yet."""

    reason: str


CONFORMANCE: list[tuple[str, tuple[str, ...] | Pending]] = [
    ("every cell of 2.2", ("domain::batch::tests::every_cell_is_the_contracts", "every_command_in_every_state", "every_event_with_a_lease")),
]
