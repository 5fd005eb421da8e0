"""All published versions of our schemas, one folder each; run this file to publish the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from claimtrace.schemas.event_schemas import avro_schema, json_schema
from claimtrace_examples.auto_claims import DOMAIN as AUTO
from claimtrace_examples.card_payments import DOMAIN as CARDS

FOLDER = Path(__file__).resolve().parents[1] / "claimtrace" / "schemas"
KINDS = [*AUTO.events, *(kind for kind in CARDS.events if kind.topic not in AUTO.topics)]


def made() -> dict[str, Any]:
    """Return the schemas that the code makes now, by file name."""
    return {
        f"{kind.topic}.{ending}": make(kind)
        for kind in KINDS
        for ending, make in (("avsc", avro_schema), ("json", json_schema))
    }


def published() -> list[dict[str, Any]]:
    """Return the published versions, oldest first."""
    folders = sorted(FOLDER.glob("v*"), key=lambda folder: int(folder.name[1:]))
    return [{path.name: json.loads(path.read_text()) for path in sorted(folder.iterdir())}
            for folder in folders]  # fmt: skip


if __name__ == "__main__":
    versions = published()
    if versions[-1:] != [made()]:
        into = FOLDER / f"v{len(versions) + 1}"
        into.mkdir(parents=True)
        for name, schema in made().items():
            (into / name).write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n")
