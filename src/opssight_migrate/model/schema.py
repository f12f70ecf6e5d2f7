"""The JSON Schema of the report; ``report.schema.json`` beside this file is what ships."""

from __future__ import annotations

import json
from pathlib import Path

from opssight_migrate.model.report import Report

SHIPPED = Path(__file__).with_name("report.schema.json")


def generated() -> str:
    """Return the schema that the classes of ``model.report`` make."""
    body = Report.model_json_schema(by_alias=True, mode="serialization")
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://opssight-migrate/report-1.schema.json",
    }
    return json.dumps(head | body, indent=2, ensure_ascii=False) + "\n"


def schema_text() -> str:
    """Return the schema as it ships."""
    return SHIPPED.read_text("utf-8")


if __name__ == "__main__":
    SHIPPED.write_text(generated(), "utf-8")
