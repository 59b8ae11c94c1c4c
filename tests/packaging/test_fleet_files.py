"""What runs a fleet: the dashboard and the rules are complete; compose file and unit start what they say."""

import configparser
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli.main import main
from app.settings.load import load_settings

FOLDER = Path(__file__).parents[2] / "packaging" / "fleet"
COMPOSE: dict[str, Any] = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
DASHBOARD = json.loads((FOLDER / "grafana-dashboard.json").read_text("utf-8"))
RULES = yaml.safe_load((FOLDER / "prometheus-rules.yaml").read_text("utf-8"))["groups"][0]["rules"]
UNIT = (FOLDER / "maskwatch-node.conf").read_text("utf-8")


def test_prometheus_reads_the_hub_and_the_rules() -> None:
    prometheus = yaml.safe_load((FOLDER / "prometheus.yaml").read_text("utf-8"))
    (job,) = prometheus["scrape_configs"]
    assert job["static_configs"][0]["targets"] == ["hub:8080"]
    assert Path(prometheus["rule_files"][0]).name == "prometheus-rules.yaml"
    assert f'job="{job["job_name"]}"' in json.dumps(RULES).replace("\\", "")


def test_the_hub_of_the_compose_file_starts_as_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its commands are ours, and a web view that others can reach needs the token."""
    pytest.importorskip("cryptography", reason="needs maskwatch[fleet]")
    monkeypatch.chdir(tmp_path)
    line = next(line for line in (FOLDER / "compose.yaml").read_text("utf-8").splitlines() if "fleet init" in line)
    assert main(shlex.split(line.partition("run --rm hub ")[2])) == 0
    assert (tmp_path / "hub" / "sites" / "shop-1.creds").is_file()
    hub = COMPOSE["services"]["hub"]
    assert hub["command"][:3] == ["fleet", "hub", "hub"]
    token = tmp_path / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    for name, value in hub["environment"].items():
        monkeypatch.setenv(name, value.replace("/run/secrets/token", str(token)))
    assert load_settings().web.token_file == token


def test_the_rules_are_complete() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES) >= 6
    for rule in RULES:
        assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


def test_the_panels_of_the_dashboard_do_not_overlap() -> None:
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_unit_of_a_node_hands_the_credentials_over() -> None:
    unit = configparser.ConfigParser(interpolation=None)
    unit.read_string(UNIT)
    name, _, source = unit["Service"]["LoadCredential"].partition(":")
    variable, _, path = unit["Service"]["Environment"].partition("=")
    assert path == f"/run/credentials/maskwatch.service/{name}"
    assert variable == "MASKWATCH_FLEET__CREDS_FILE"
    assert f"fleet join --creds {source} " in UNIT
    assert re.search(r"/etc/systemd/system/maskwatch\.service\.d/\S+\.conf", UNIT)
