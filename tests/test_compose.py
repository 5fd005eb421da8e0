"""What users with Docker get: no Docker here, so all that can be known without it is checked.

Every setting, command, metric, label and file that is named exists; nothing is open to the network.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from claimtrace.rooms import ROOMS
from claimtrace.settings.loading import ENV_PREFIX, load_settings
from cli.__main__ import app
from stream.adapters.reporting.prometheus import METRICS, OTHER, REBALANCES, STORES

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, each in SERVICES.items() if "build" in each]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
ALERTS = yaml.safe_load((DEPLOY / "alerts.yml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "claimtrace.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

LABELS = {series: set(row.labels) for row in METRICS for series in row.series}
LABELS |= {row.name + "_bucket": {*row.labels, "le"} for row in METRICS if row.buckets}
LABELS |= {
    "up": set(),
    "ALERTS": {"alertname", "alertstate", "severity"},
    "process_resident_memory_bytes": set(),
    "process_cpu_seconds_total": set(),
}
TARGET = {"job", "instance"}
"""Labels that Prometheus adds to every series."""


def expressions() -> list[str]:
    """Every PromQL expression that we ship."""
    asked = [target["expr"] for panel in PANELS for target in panel["targets"]]
    asked += [each["query"]["query"] for each in DASHBOARD["templating"]["list"]]
    asked += [each["expr"] for each in DASHBOARD["annotations"]["list"]]
    return asked + [rule["expr"] for rule in RULES]


def metrics_in(expression: str) -> set[str]:
    """The series that an expression asks for."""
    return set(re.findall(r"\b(?:claimtrace_\w+|process_\w+|up(?=\{)|ALERTS)\b", expression))


def labels_in(expression: str) -> set[str]:
    """The labels that it selects or groups by."""
    chosen = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    grouped = re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression)
    return {*chosen, *(word.strip() for each in grouped for word in each.split(","))}


# The containers


def test_the_parts_are_there():
    assert {"kafka", "topics", "worker", "producer", "kinesis", "redis", "prometheus",
            "grafana"} == set(SERVICES)  # fmt: skip
    assert set(OURS) == {"topics", "worker", "producer"}
    assert SERVICES["worker"]["command"] == ["stream"]
    assert SERVICES["kafka"]["environment"]["KAFKA_PROCESS_ROLES"] == "broker,controller"
    assert not any("zookeeper" in json.dumps(each).lower() for each in SERVICES.values())


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_is_pinned(name):
    image, _, tag = SERVICES[name]["image"].rpartition(":")
    assert image, name
    assert re.fullmatch(r"v?\d+\.\d+\.\d+(-\w+)?", tag), f"{name}: {tag}"
    if name in OURS:
        assert (image, tag) == ("claimtrace", PROJECT["project"]["version"])


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_open_to_this_machine_only(name):
    assert "network_mode" not in SERVICES[name]
    for port in SERVICES[name].get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port), port


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_watched_and_bounded(name):
    service = SERVICES[name]
    limits = service["deploy"]["resources"]["limits"]
    assert {"cpus", "memory"} <= set(limits)
    assert service["restart"] in ("unless-stopped", "on-failure", "no")
    assert "privileged" not in service
    if service["restart"] == "unless-stopped":
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
    else:
        assert service["healthcheck"] == {"disable": True}, "it serves no /live"
    for word in ("logging", "security_opt") if name in OURS else ("logging",):
        assert service[word]


@pytest.mark.parametrize("name", SERVICES)
def test_what_it_waits_for_can_come(name):
    for other, how in SERVICES[name].get("depends_on", {}).items():
        check = SERVICES[other].get("healthcheck", {})
        if how["condition"] == "service_healthy":
            assert "test" in check, f"{name} waits for {other}, which has no health check"
        else:
            assert how["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"] != "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_what_it_mounts_exists(name):
    for mount in SERVICES[name].get("volumes", []):
        source, target, *how = mount.split(":")
        assert target.startswith("/")
        if source.startswith("."):
            assert (ROOT / source).exists(), source
            assert how == ["ro"], "our files are read only"
        else:
            assert source in COMPOSE["volumes"]


@pytest.mark.parametrize("name", OURS)
def test_every_setting_exists(name):
    environment = SERVICES[name]["environment"]
    assert all(isinstance(value, str) for value in environment.values())
    assert all(key.startswith(ENV_PREFIX) for key in environment)
    settings = load_settings(None, environment, "docker-compose.yml")
    host, port = settings.source.removeprefix("kafka://").split(":")
    assert (
        f"INSIDE://{host}:{port}" in SERVICES["kafka"]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    )
    assert not re.search(r"password|secret", json.dumps(environment), re.IGNORECASE)


@pytest.mark.parametrize("name", OURS)
def test_every_command_exists(name):
    command: Any = get_command(app)
    rest = list(SERVICES[name]["command"])
    while hasattr(command, "commands"):
        word = rest.pop(0)
        assert word in command.commands, f"claimtrace {' '.join(SERVICES[name]['command'])}"
        command = command.commands[word]
    options = {option: each for each in command.params for option in each.opts}
    while rest:
        word = rest.pop(0)
        assert word in options, f"{word} of {SERVICES[name]['command']}"
        if not getattr(options[word], "is_flag", False):
            rest.pop(0)


def test_the_worker_serves_what_prometheus_asks_for():
    worker = SERVICES["worker"]
    listen = load_settings(None, worker["environment"]).metrics.listen
    port = listen.rpartition(":")[2]
    assert f"127.0.0.1:{port}:{port}" in worker["ports"]
    assert any(f":{port}/live" in word for word in worker["healthcheck"]["test"])
    assert f"EXPOSE {port}" in DOCKERFILE
    assert f":{port}/live" in DOCKERFILE
    config = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    jobs = {
        job["job_name"]: job["static_configs"][0]["targets"] for job in config["scrape_configs"]
    }
    assert jobs["claimtrace"] == [f"worker:{port}"]
    mounted = [volume.split(":")[1] for volume in SERVICES["prometheus"]["volumes"]]
    for name in (*config["rule_files"], "prometheus.yml"):
        assert f"/etc/prometheus/{name}" in mounted
        assert (DEPLOY / name).is_file()


# The image


def test_the_image_has_all_rooms_and_only_them():
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert set(ROOMS) <= sources
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    let_through = {line[1:] for line in ignored if line.startswith("!")}
    assert "*" in ignored
    assert let_through == sources
    for source in sources:
        assert (ROOT / source).exists(), source


def test_the_image_is_locked_and_not_root():
    stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert len(set(stages)) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", stages[0])
    assert "--require-hashes -r requirements.lock" in DOCKERFILE
    last = DOCKERFILE.rindex("FROM ")
    user = re.findall(r"^USER (\S+)$", DOCKERFILE[last:], re.MULTILINE)
    assert user == ["10001:10001"]
    assert "HEALTHCHECK" in DOCKERFILE[last:]
    entry = re.search(r"^ENTRYPOINT (.+)$", DOCKERFILE, re.MULTILINE)
    assert entry is not None
    assert json.loads(entry.group(1)) == ["claimtrace"]
    variables = dict(re.findall(rf"({ENV_PREFIX}\w+)=(\S+)", DOCKERFILE))
    assert load_settings(None, variables).folder == "/data"


# Alerts and dashboard


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_every_metric_and_label_exists(expression):
    asked = metrics_in(expression)
    assert asked, "an expression asks for something"
    assert asked <= set(LABELS), asked - set(LABELS)
    known = TARGET.union(*(LABELS[name] for name in asked))
    assert labels_in(expression) <= known, labels_in(expression) - known
    assert expression.count("(") == expression.count(")")
    for name in asked:
        if name.endswith(("_total", "_bucket")):
            follows = re.findall(rf"(\w+)\(\s*{name}", expression)
            reads_total = f"sum({name}" in expression
            assert reads_total or set(follows) <= {"rate", "increase", "changes"}, expression


@pytest.mark.parametrize(
    ("expression", "metrics", "labels"),
    [
        ('sum by (topic) (rate(claimtrace_x_total{store="y"}[5m]))', {"claimtrace_x_total"},
         {"topic", "store"}),
        ('up{job="claimtrace"} == 0', {"up"}, {"job"}),
        ("a / on (x, y) process_b", {"process_b"}, {"x", "y"}),
    ],
)  # fmt: skip
def test_expressions_are_read(expression, metrics, labels):
    assert metrics_in(expression) == metrics
    assert labels_in(expression) == labels


def test_values_of_labels_exist():
    words = {
        "store": {*STORES, OTHER},
        "kind": {*REBALANCES, OTHER},
        "kernel": {"numba", "xgboost"},
        "job": {"claimtrace"},
        "alertstate": {"firing"},
        "instance": {"$instance"},
    }
    for expression in expressions():
        for label, value in re.findall(r"(\w+)\s*(?:=~|!=|=)\s*\"([^\"]*)\"", expression):
            assert value in words[label], expression


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do(rule):
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert {"summary", "description", "runbook"} == set(rule["annotations"])
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor == rule["alert"].lower()
    assert f"\n### {rule['alert']}\n" in (ROOT / page).read_text()
    for label in re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])):
        known = TARGET.union(*(LABELS[name] for name in metrics_in(rule["expr"])))
        assert label in known, label


def test_the_asked_for_alerts_are_there():
    names = {rule["alert"] for rule in RULES}
    assert len(names) == len(RULES)
    assert {"WorkerNotReady", "LagGrows", "DeadLetters", "Pauses", "DriftAlert",
            "SnapshotOld"} <= names  # fmt: skip
    share = next(rule for rule in RULES if rule["alert"] == "DeadLetters")
    assert "[5m]" in share["expr"]
    assert share["expr"].rstrip().endswith("> 0.01")


def test_every_alert_has_its_test():
    text = (DEPLOY / "alerts_test.yml").read_text()
    assert yaml.safe_load(text)["rule_files"] == ["alerts.yml"]
    assert set(re.findall(r'alertname="(\w+)"', text)) == {rule["alert"] for rule in RULES}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool isn't installed")
def test_prometheus_agrees():
    for words in (("test", "rules", "alerts_test.yml"), ("check", "config", "prometheus.yml")):
        done = subprocess.run(["promtool", *words], cwd=DEPLOY, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_can_be_read(panel):
    assert panel["title"]
    assert panel["description"].endswith((".", "!"))
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    assert panel["datasource"] == {"type": "prometheus", "uid": "prometheus"}
    for target in panel["targets"]:
        assert len(panel["targets"]) == 1 or target["legendFormat"]
        for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
            known = TARGET.union(*(LABELS[name] for name in metrics_in(target["expr"])))
            assert label in known, label


def test_panels_have_their_own_place():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert len(set(titles)) == len(titles)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert max(x for x, _ in cells) < 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_dashboard_shows_what_matters_first():
    asked = {
        name for panel in PANELS for each in panel["targets"] for name in metrics_in(each["expr"])
    }
    for suffix in ("ready", "lag_records", "records_total", "decisions_total",
                   "batch_seconds_bucket", "dead_letters_total", "drift_alerts_total",
                   "rebalances_total", "pauses_total", "snapshot_timestamp_seconds",
                   "model_info"):  # fmt: skip
        assert f"claimtrace_{suffix}" in asked, suffix
    first = [panel["title"] for panel in PANELS[:2]]
    assert first == ["Ready", "Workers that answer"]


def provisioned(folder: str) -> Iterator[dict[str, Any]]:
    for path in sorted((DEPLOY / "grafana" / "provisioning" / folder).glob("*.yml")):
        yield yaml.safe_load(path.read_text())


def test_grafana_finds_the_dashboard_and_asks_for_no_password():
    grafana = SERVICES["grafana"]
    (source,) = [each for page in provisioned("datasources") for each in page["datasources"]]
    assert source["uid"] == "prometheus"
    assert source["url"] == "http://prometheus:9090"
    (provider,) = [each for page in provisioned("dashboards") for each in page["providers"]]
    inside = {volume.split(":")[1]: volume.split(":")[0] for volume in grafana["volumes"]}
    folder = ROOT / inside[provider["options"]["path"]]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (folder / Path(home).name).is_file()
    assert home.startswith(provider["options"]["path"])
    assert inside["/etc/grafana/provisioning"] == "./deploy/grafana/provisioning"
    told = grafana["environment"]
    assert told["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert told["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert told["GF_AUTH_BASIC_ENABLED"] == "false"
    assert not any("PASSWORD" in name for name in told)
