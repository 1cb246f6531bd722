"""What stands in deploy/, Dockerfile and docker-compose.yml fits the code: commands, settings, secrets, metrics."""

import json
import re
from pathlib import Path

import pytest
import yaml
from test_docs import metrics_in_source, settings_script

from iotistic.entrypoints import catalogue
from iotistic.entrypoints.authority import AuthoritySettings
from iotistic.entrypoints.installation import ClientSettings

ROOT = Path(__file__).parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
SETTINGS = settings_script().PROCESSES
SECRET = re.compile(r"(PASSWORD|TOKEN|SECRET|PASSPHRASE)(?!_URL$)")
METRIC = re.compile(r"iotistic_\w+")


def words(service):
    return service["command"][0]


def mounts(service):
    """Return where volumes are mounted: path -> (volume, options)."""
    found = (volume.split(":") for volume in service.get("volumes", ()))
    return {path: (name, rest) for name, path, *rest in found}


def texts(value):
    """Yield every string in a service."""
    if isinstance(value, dict):
        for one in value.values():
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("name", OURS)
def test_our_services_run_commands_that_exist(name):
    known = {*catalogue.PROCESSES, *(command.name for command in catalogue.COMMANDS)}

    assert words(OURS[name]) in known


@pytest.mark.parametrize("name", [name for name, service in OURS.items() if words(service) in SETTINGS])
def test_our_services_are_given_settings_that_they_read(name):
    fields = (
        SETTINGS[words(OURS[name])].model_fields
        | ClientSettings.model_fields
        | AuthoritySettings.model_fields
    )
    given = set(OURS[name].get("environment", {}))

    known = {spelling for field in fields for spelling in (field.upper(), f"{field.upper()}_FILE")}
    assert given - known == set()


@pytest.mark.parametrize("name", OURS)
def test_our_services_have_no_rights_and_no_writable_root(name):
    service = OURS[name]

    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["read_only"]
    assert "privileged" not in service
    assert "user" not in service  # the image's own, which is not root


def test_the_image_does_not_run_as_root():
    users = re.findall(r"^USER (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert users == ["10001:10001"]


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_are_files_that_the_service_is_given(name):
    service = SERVICES[name]
    paths = {path for text in texts(service) for path in re.findall(r"/secrets/[a-z]+", text)}
    spoken = {key for key in service.get("environment", {}) if SECRET.search(key)}

    assert paths - mounts(service).keys() == set()
    assert {key for key in spoken if not key.endswith("_FILE")} == set()


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "init"])
def test_nobody_but_init_may_write_secrets(name):
    writable = {path for path, (_volume, options) in mounts(SERVICES[name]).items() if options != ["ro"]}

    assert {path for path in writable if path.startswith(("/secrets", "/identity"))} == set()


def test_the_key_of_the_authority_is_for_the_authority_alone():
    holders = {
        name
        for name, service in SERVICES.items()
        if any(volume == "authority" for volume, _options in mounts(service).values())
    }

    assert holders == {"init", "pki"}


def test_every_volume_is_declared_and_used():
    used = {volume for service in SERVICES.values() for volume, _options in mounts(service).values()}

    assert {volume for volume in used if not volume.startswith(".")} == set(COMPOSE["volumes"])


@pytest.mark.parametrize("name", SERVICES)
def test_services_wait_for_what_can_tell_that_it_is_ready(name):
    for other, how in SERVICES[name].get("depends_on", {}).items():
        health = SERVICES[other].get("healthcheck", {})
        asked = how["condition"] == "service_healthy"
        tells = (other in OURS or "test" in health) and not health.get("disable")

        assert tells or not asked


def test_everything_that_stays_has_a_health_check():
    stays = {name for name, service in SERVICES.items() if service.get("restart") == "unless-stopped"}
    silent = {name for name in stays if SERVICES[name].get("healthcheck", {}).get("disable")}
    without = {name for name in stays - OURS.keys() if "test" not in SERVICES[name].get("healthcheck", {})}

    assert silent == {"simulator"}
    assert without == set()
    assert "\nHEALTHCHECK " in (ROOT / "Dockerfile").read_text()


def test_the_pipeline_is_whole_and_on_one_network():
    running = {
        "mosquitto",
        "kafka",
        "redis",
        "timescaledb",
        "pki",
        "connector",
        "processor",
        "sink",
        "api",
        "control",
    }
    apart = {name for name, service in SERVICES.items() if service.get("networks") != ["iot-network"]}

    assert running | {"init", "migrate", "maintenance"} <= SERVICES.keys()
    assert apart == {"init"}
    assert SERVICES["init"]["network_mode"] == "none"
    assert COMPOSE["networks"]["iot-network"]["name"] == "iot-network"


def test_only_ports_for_devices_are_open_to_the_network():
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]

    assert {port for port in published if "127.0.0.1" not in port} == {
        "${MQTT_LISTEN:-0.0.0.0}:8883:8883",
        "${MQTT_LISTEN:-0.0.0.0}:8884:8884",
        "${PKI_LISTEN:-0.0.0.0}:8080:8080",
    }


def base_names(text):
    """Return the metrics that an expression names, without what histograms add."""
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in METRIC.findall(text)}


def test_the_dashboard_names_only_metrics_that_exist():
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/pipeline.json").read_text())
    named = {
        name
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        for name in base_names(target["expr"])
    }

    assert len(named) > 20
    assert named - set(metrics_in_source()) == set()


def test_the_alerts_name_only_metrics_that_exist_and_say_what_to_do():
    rules = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"][0]["rules"]
    named = {name for rule in rules for name in base_names(rule["expr"])}

    assert named - set(metrics_in_source()) == set()
    assert all({"summary", "fix"} <= rule["annotations"].keys() for rule in rules)


def test_prometheus_asks_every_service_that_shows_figures():
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]
    asked = {job["dns_sd_configs"][0]["names"][0] for job in jobs}

    assert asked == {name for name, s in OURS.items() if "METRICS_TOKEN_FILE" in s.get("environment", {})}


def test_all_processes_are_asked_with_the_token():
    jobs = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"]

    assert {job["authorization"]["credentials_file"] for job in jobs} == {"/secrets/metrics/token"}
