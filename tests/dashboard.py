"""What docs/metrics/ asks Prometheus for."""

import json
from collections.abc import Iterator
from typing import Any

import promql_parser
from promql_parser import VectorSelector

from tests.tiny_app import ROOT

FOLDER = ROOT / "docs" / "metrics"


def dashboard() -> dict[str, Any]:
    return dict(json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8")))


def queries() -> list[str]:
    """Every query of the dashboard's, with Grafana's own variable for a span replaced."""
    panels = [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]
    return [each.replace("$__rate_interval", "1m") for each in panels]


def selected() -> Iterator[tuple[str, set[str]]]:
    """The name of each metric that the dashboard asks for, and the labels by which."""
    for query in queries():
        found: list[VectorSelector] = []

        def note(expression: object, found: list[VectorSelector] = found) -> None:
            if isinstance(expression, VectorSelector):
                found.append(expression)

        promql_parser.walk(promql_parser.parse(query), note)
        assert found, query
        for each in found:
            yield str(each.name), {matcher.name for matcher in each.matchers.matchers}
