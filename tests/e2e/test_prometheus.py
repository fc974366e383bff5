"""A real Prometheus: it scrapes a real server, its rules load, and the dashboard's queries find something."""

import itertools
import json
import re
import shutil
import socket
import subprocess
import threading
import urllib.parse
import urllib.request

import pytest
from harness.calls import Client
from harness.server import Server, eventually
from harness.wire import ROOT, at_most, pb, ttl

DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus/rules.yml"
CONFIG = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: pykv
    static_configs: [{{targets: ["{target}"]}}]
"""
# How long Grafana would look back for a rate, for scrapes of one second.
INTERVAL = "5s"


def program(name):
    """A program of the distribution's package."""
    found = shutil.which(name)
    assert found, f"{name} is missing: apt-get install prometheus"
    return found


def test_the_rules_are_sound_and_fire_when_they_should_and_not_before():
    for command in (["check", "rules", "rules.yml"], ["test", "rules", "rules.test.yml"]):
        ran = subprocess.run(
            [program("promtool"), *command],
            cwd=RULES.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
    text = RULES.read_text(encoding="utf-8")
    tested = (RULES.parent / "rules.test.yml").read_text(encoding="utf-8")
    alerts = re.findall(r"alert: (\w+)", text)
    assert len(alerts) > 10
    for alert in alerts:
        assert f'alertname="{alert}"' in tested, alert
    assert text.count("runbook:") == text.count("summary:") == len(alerts)


class Prometheus:
    """One that scrapes a server each second."""

    def __init__(self, target, directory):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = directory / "prometheus.yml"
        config.write_text(CONFIG.format(rules=RULES, target=target), encoding="utf-8")
        flags = [f"--config.file={config}", f"--storage.tsdb.path={directory / 'data'}"]
        flags += [f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"]
        self.process = subprocess.Popen([program("prometheus"), *flags])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def ask(self, what, **query):
        """What it answers, or none while it is not there."""
        address = f"http://127.0.0.1:{self.port}/api/v1/{what}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]
        except OSError as error:
            assert not isinstance(error, urllib.error.HTTPError), error.read()
            return None

    def values(self, expression):
        """The samples of an expression now."""
        found = self.ask("query", query=expression)
        return [] if found is None else found["result"]


def work(client, stopping):
    """Everything that a panel shows, over and over."""
    for round in itertools.count():
        if stopping.is_set():
            return
        for name in ("acme", "other"):
            client.set(name, f"k{round % 50}", b"v" * 200, expiration=ttl(1500))
            client.get(name, f"k{round % 50}")
            client.get(name, "none")
            client.delete(name, f"k{round % 50}")
            client.set(name, f"e{round}", b"v" * 200)
        client.kv.Get.future(pb.GetRequest(namespace="acme", key="")).exception()
        for _ in range(3):
            request = pb.SetRequest(namespace="limited", key="k", value=b"v")
            client.kv.Set.future(request).exception()
        stopping.wait(0.02)


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    """A server under load, and a Prometheus that has watched it for a while."""
    data = tmp_path_factory.mktemp("data")
    with Server(data / "server") as server, Client(server.address) as client:
        for name in ("acme", "other"):
            client.create(name, max_keys=at_most(40), max_bytes=at_most(1 << 20))
        client.create("limited", max_operations_per_second=at_most(1))
        client.admin.Compact(pb.CompactRequest(wait=True), timeout=20)
        watch = client.kv.Watch(pb.WatchRequest(namespace="acme"))
        stopping = threading.Event()
        worker = threading.Thread(target=work, args=(client, stopping), daemon=True)
        worker.start()
        with Prometheus(server.address, data) as prometheus:

            def has_seen_enough():
                assert worker.is_alive() and prometheus.process.poll() is None
                seen = prometheus.values("count_over_time(pykv_ready[1m])")
                return seen and float(seen[0]["value"][1]) >= 8

            eventually("it has scraped a while", has_seen_enough, 60, 0.2)
            yield prometheus
        stopping.set()
        worker.join()
        watch.cancel()


def test_it_scrapes_the_server_and_loads_the_rules(watched):
    targets = watched.ask("targets")["activeTargets"]
    assert [target["health"] for target in targets] == ["up"], targets
    groups = watched.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 15
    for rule in rules:
        assert rule["health"] == "ok" and not rule.get("lastError"), rule
    assert watched.values("pykv:requests:rate5m") and watched.values("pykv:hit:ratio5m")


def queries():
    """Every query of the dashboard, with the panel it is of."""
    dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text(encoding="utf-8"))
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]


def test_every_query_of_the_dashboard_returns_data(watched):
    asked = 0
    for title, expression in queries():
        for variable in ("job", "instance", "namespace", "method"):
            expression = expression.replace(f"${variable}", ".*")
        expression = expression.replace("$__rate_interval", INTERVAL)
        assert "$" not in expression, (title, expression)

        def finds(expression=expression):
            numbers = [sample["value"][1] for sample in watched.values(expression)]
            return [number for number in numbers if number != "NaN"]

        eventually(f"{title}: {expression}", finds, 20, 0.5)
        asked += 1
    assert asked > 35


def test_every_metric_that_rules_and_dashboard_name_exists(watched):
    known = set(watched.ask("label/__name__/values"))
    text = RULES.read_text(encoding="utf-8") + "".join(e for _, e in queries())
    named = set(re.findall(r"\b(?:pykv|grpc_server|process)_\w+\b", text))
    missing = {name for name in named if name not in known}
    assert not missing and len(named) > 30


def test_the_dashboard_is_bound_to_no_installation():
    dashboard = json.loads((DEPLOY / "grafana/dashboard.json").read_text(encoding="utf-8"))
    assert "uid" not in dashboard and "id" not in dashboard
    uids = re.findall(r'"uid": "([^"]+)"', json.dumps(dashboard))
    assert set(uids) == {"${datasource}"}
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
