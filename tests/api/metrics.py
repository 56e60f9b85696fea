"""Checks what a broker serves as OpenMetrics with the strict parser of the Python client of Prometheus.

metrics.py URL TRACE: the URL of /metrics, and the trace that exemplars are expected of.
"""

import sys

import requests
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

url, trace = sys.argv[1:]
HISTOGRAMS = {
    "eventcast_publish_seconds": {},
    "eventcast_fanout_seconds": {"stage": "log_to_write"},
}


def get(accept, media):
    answer = requests.get(url, headers={"Accept": accept}, timeout=10)
    answer.raise_for_status()
    kind = answer.headers["Content-Type"]
    assert kind.startswith(media), kind
    answer.encoding = "utf-8"
    return answer.text


def series(families):
    found = set()
    for family in families:
        for sample in family.samples:
            labels = dict(sample.labels)
            if "le" in labels:
                labels["le"] = float(labels["le"])
            found.add((sample.name, tuple(sorted(labels.items()))))
    return found


families = list(
    openmetrics.text_string_to_metric_families(
        get("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0")
    )
)
text = series(parse_text(get("text/plain", "text/plain")))
assert series(families) == text, series(families) ^ text

for name, labels in HISTOGRAMS.items():
    samples = [sample for family in families if family.name == name for sample in family.samples]
    exemplars = [(sample, sample.exemplar) for sample in samples if sample.exemplar]
    assert exemplars, f"{name} has no exemplar"
    for sample, exemplar in exemplars:
        assert sample.name == f"{name}_bucket" and labels.items() <= sample.labels.items(), sample
        assert exemplar.labels["trace_id"] == trace and len(exemplar.labels["span_id"]) == 16, sample
        assert exemplar.value <= float(sample.labels["le"]) and exemplar.timestamp, sample
