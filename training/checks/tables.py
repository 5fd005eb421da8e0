"""Tables of a training report about the data's soundness."""

from __future__ import annotations

from ..tables import Table
from .contract import Contract, contract_gate
from .leaks import Leaks

_SHOWN = 10


def check_tables(contract: Contract | None, leaks: Leaks | None) -> list[Table]:
    """Return the tables of the contract and of the leaks that were looked for."""
    tables = []
    if contract is not None:
        tables.append(_contract(contract))
    if leaks is not None:
        tables.append(_leaks(leaks))
    return tables


def _contract(contract: Contract) -> Table:
    title = "Data contract"
    if not contract.violations:
        gate = contract_gate(contract)
        return Table(title, ["gate", "found"], [[gate.state, gate.words]])
    rows = [
        [each.feature_name, each.description, f"{each.claims:,}", ", ".join(each.claim_ids[:2])]
        for each in contract.violations[:_SHOWN]
    ]
    more = len(contract.violations) - _SHOWN
    if more > 0:
        rows.append([f"and {more} more", "", "", ""])
    accepted = ", accepted" if contract.accepted else ""
    return Table(f"{title}: broken{accepted}", ["feature", "limit", "claims", "such as"], rows)


def _leaks(leaks: Leaks) -> Table:
    rows = [[each.feature, f"{each.value:.3f}", f"{each.limit:.3f}", each.sign]
            for each in leaks.suspects]  # fmt: skip
    named = {each.feature for each in leaks.suspects}
    rows += [
        [each.feature, f"{each.value:.3f}", f"{each.limit:.3f}", "AUC alone, no suspicion"]
        for each in leaks.strongest[:3]
        if each.feature not in named
    ]
    if not leaks.early:
        rows.append(["verdicts before their claim", "0", "", "no suspicion"])
    else:
        sign = "such as " + ", ".join(leaks.early_ids[:2])
        rows.append(["verdicts before their claim", f"{leaks.early:,}", "", sign])
    return Table("Leaks looked for", ["feature", "found", "suspected from", "what"], rows)
