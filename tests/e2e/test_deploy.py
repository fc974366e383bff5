"""What is shipped to run the server elsewhere: sound by the tools of each place, and by the server's own word."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from harness.access import Tokens
from harness.certificates import Authority, write
from harness.server import binary, run
from harness.wire import ROOT

DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm/pykv"
# A helm that was built from source takes another cluster for granted.
CLUSTER = ["--kube-version", "1.34.0"]
KNOWN = ["--set", "auth.tokensSecret=t", "--set", "tls.secretName=c"]
OPEN = ["--set", "insecure.allowAnonymous=true", "--set", "insecure.allowPlaintext=true"]
# Everything that can be turned on.
ALL = [*KNOWN, "--set", "tls.clientCertificates=true", "--set", "config.workers=3",
       "--set", "config.limits.max_streams=100", "--set", "config.max_total_bytes=512MiB",
       "--set", "config.traces.endpoint=http://collector:4317", "--set", "persistence.storageClass=fast",
       "--set", "networkPolicy.from[0].podSelector.matchLabels.app=web",
       "--set", "nodeSelector.disk=ssd", "--set", "podAnnotations.a=b"]  # fmt: skip
MONITORED = ["--set", "metrics.serviceMonitor.enabled=true",
             "--set", "metrics.prometheusRule.enabled=true"]  # fmt: skip


def tool(name):
    """A program that comes with the Python packages, or is on the path."""
    beside = Path(sys.executable).with_name(name)
    found = beside if beside.is_file() else shutil.which(name)
    assert found, f"{name} is missing: tests/run installs it"
    return str(found)


def passes(*command, **options):
    """The output of a command, which must succeed."""
    ran = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )
    assert ran.returncode == 0, f"{command}\n{ran.stdout}{ran.stderr}"
    return ran.stdout


def fails(*command, **options):
    """What a command says that must not succeed."""
    ran = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False, **options
    )
    assert ran.returncode != 0, f"{command} is well:\n{ran.stdout}"
    return ran.stdout + ran.stderr


def test_the_image_is_made_as_images_should_be(tmp_path):
    dockerfile = DEPLOY / "Dockerfile"
    passes(tool("hadolint"), "--failure-threshold", "info", dockerfile)
    text = dockerfile.read_text(encoding="utf-8")
    final = text.split("FROM scratch", 1)[1]
    for needed in ("USER 65532\n", "STOPSIGNAL SIGTERM", "HEALTHCHECK", "EXPOSE 8000 9090"):
        assert needed in final
    assert "--locked" in text and "RUN" not in final and "INSECURE_ALLOW_ANONYMOUS=" not in text
    worse = tmp_path / "Dockerfile"
    worse.write_text(text.replace("FROM rust:1.88-alpine3.22", "FROM rust"), encoding="utf-8")
    fails(tool("hadolint"), "--failure-threshold", "info", worse)
    # What is copied is what the build needs.
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    for needed in ("src", "proto", "build.rs", "Cargo.lock", "tests/bench"):
        assert f"!{needed}\n" in kept


def test_the_image_does_not_serve_strangers_unless_it_is_told_to(tmp_path):
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    block = re.search(r"^ENV (.*?)\nEXPOSE", text, re.S | re.M).group(1)
    env = dict(word.split("=", 1) for word in block.replace("\\\n", " ").split())
    env["PYKV_DATA_DIR"] = str(tmp_path / "data")
    refused = run("serve", env=env, timeout=20)
    assert refused.returncode == 78 and b"tokens_file" in refused.stderr
    told = {"PYKV_INSECURE_ALLOW_ANONYMOUS": "true", "PYKV_INSECURE_ALLOW_PLAINTEXT": "true"}
    assert run("config", "check", env={**env, **told}).returncode == 0


def test_the_unit_is_sound_and_shut_in(tmp_path):
    text = (DEPLOY / "systemd/pykv.service").read_text(encoding="utf-8")
    unit = tmp_path / "pykv.service"
    unit.write_text(text.replace("/usr/local/bin/pykv", str(binary())), encoding="utf-8")
    passes(tool("systemd-analyze"), "verify", unit)
    secure = [tool("systemd-analyze"), "security", "--offline=true", "--threshold=15"]
    passes(*secure, unit)
    looser = tmp_path / "looser.service"
    looser.write_text(unit.read_text().replace("DynamicUser=yes", "User=root"), encoding="utf-8")
    fails(*secure, looser)
    wrong = tmp_path / "wrong.service"
    wrong.write_text(unit.read_text().replace("Type=notify", "Type=notified"), encoding="utf-8")
    said = subprocess.run([tool("systemd-analyze"), "verify", str(wrong)], capture_output=True, text=True,
                          check=False)  # fmt: skip
    assert "notified" in said.stderr


def environment_of(service):
    """The settings in the environment of a service of compose or Render."""
    listed = service.get("environment") or {e["key"]: e["value"] for e in service["envVars"]}
    return {key: value for key, value in listed.items() if key == "PORT" or key.startswith("PYKV_")}


def test_compose_and_render_are_sound_and_so_are_their_settings(tmp_path):
    compose, render = DEPLOY / "compose.yaml", DEPLOY / "render.yaml"
    schema = Path(__file__).parent / "schemas/render.json"
    passes(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", compose)
    passes(tool("check-jsonschema"), "--schemafile", schema, render)
    passes(tool("yamllint"), "-d", LINES, compose, render, DEPLOY / "prometheus", DEPLOY / "grafana")
    wrong = tmp_path / "render.yaml"
    wrong.write_text(render.read_text().replace("healthCheckPath", "healthcheckPath"), encoding="utf-8")
    fails(tool("check-jsonschema"), "--schemafile", schema, wrong)
    services = yaml.safe_load(compose.read_text())["services"]
    for mount in services["prometheus"]["volumes"] + services["grafana"]["volumes"]:
        assert (DEPLOY / mount.split(":")[0]).exists(), mount
    assert run("config", "check", env=environment_of(services["pykv"])).returncode == 0
    [service] = yaml.safe_load(render.read_text())["services"]
    env = environment_of(service)
    tokens = Tokens(tmp_path / "tokens.toml")
    tokens.add("root", "*", "admin")
    printed = run("config", "print", env={**env, "PYKV_TOKENS_FILE": str(tokens.path)})
    assert printed.returncode == 0 and b'listen = "0.0.0.0:10000"' in printed.stdout
    # Without the file it does not start.
    assert run("config", "check", env=env).returncode == 78


LINES = "{extends: default, rules: {line-length: {max: 140}, document-start: disable, braces: disable}}"


def rendered(*flags):
    """What the chart makes of some values."""
    text = passes(tool("helm"), "template", "shop", CHART, "--namespace", "kv", *CLUSTER, *flags)
    return [document for document in yaml.safe_load_all(text) if document]


def kinds(documents):
    """Each object by what it is; there is one of each kind but services and pods."""
    return {document["kind"]: document for document in documents}


@pytest.mark.parametrize("flags", [KNOWN, OPEN, ALL], ids=["known", "open", "all"])
def test_the_chart_makes_sound_objects(flags, tmp_path):
    passes(tool("helm"), "lint", "--strict", CHART, *CLUSTER, *flags)
    documents = rendered(*flags)
    assert {"StatefulSet", "Service", "ConfigMap", "NetworkPolicy", "PodDisruptionBudget",
            "ServiceAccount", "Pod"} <= set(kinds(documents))  # fmt: skip
    check_objects(documents, tmp_path)


def check_objects(documents, tmp_path):
    """Holds objects against the schemas of Kubernetes, and against what is promised of the pod."""
    paths = []
    for number, document in enumerate(documents):
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(yaml.safe_dump(document), encoding="utf-8")
    # All at once: reading the schemas is what takes time.
    passes(tool("kubernetes-validate"), "--strict", *paths)
    pod = kinds(documents)["StatefulSet"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    context = container["securityContext"]
    assert context["readOnlyRootFilesystem"] and context["capabilities"] == {"drop": ["ALL"]}
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 600
    for probe, service in (("startup", "readiness"), ("readiness", "readiness"), ("liveness", "liveness")):
        assert container[f"{probe}Probe"]["grpc"] == {"port": 9090, "service": service}
    assert pod["terminationGracePeriodSeconds"] >= 30
    for volume in pod["volumes"]:
        if "secret" in volume:
            assert volume["secret"]["defaultMode"] & 0o007 == 0
    worse = json.loads(json.dumps(kinds(documents)["StatefulSet"]))
    worse["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]["grpc"]["path"] = "/"
    path = tmp_path / "worse.yaml"
    path.write_text(yaml.safe_dump(worse), encoding="utf-8")
    fails(tool("kubernetes-validate"), "--strict", path)


def secrets(directory):
    """The files that the objects mount."""
    tokens = Tokens(directory / "tokens.toml")
    tokens.add("root", "*", "admin")
    authority = Authority()
    write(directory, *authority.issue("pykv"))
    (directory / "ca.pem").write_bytes(authority.pem)
    return {
        "/etc/pykv/tokens/tokens.toml": tokens.path,
        "/etc/pykv/tls/tls.crt": directory / "cert.pem",
        "/etc/pykv/tls/tls.key": directory / "key.pem",
        "/etc/pykv/tls/ca.crt": directory / "ca.pem",
    }


def check_settings(documents, tmp_path):
    """Has the server itself read the settings, with its files where they are here."""
    text = kinds(documents)["ConfigMap"]["data"]["pykv.toml"]
    for there, here in secrets(tmp_path).items():
        text = text.replace(there, str(here))
    file = tmp_path / "pykv.toml"
    file.write_text(text, encoding="utf-8")
    [container] = kinds(documents)["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    checked = run("config", "check", "--config", file, env=env)
    assert checked.returncode == 0, checked.stderr.decode() + text
    return text


@pytest.mark.parametrize("flags", [KNOWN, OPEN, ALL], ids=["known", "open", "all"])
def test_the_server_takes_the_settings_that_the_chart_writes(flags, tmp_path):
    text = check_settings(rendered(*flags), tmp_path)
    assert ("tokens_file" in text) == (flags is not OPEN)


def test_the_chart_refuses_what_nobody_should_leave_undecided():
    lint = [tool("helm"), "template", "shop", CHART, *CLUSTER]
    assert "auth.tokensSecret" in fails(*lint)
    assert "tls.secretName" in fails(*lint, "--set", "auth.tokensSecret=t")
    assert "insecure.allowAnonymous" in fails(*lint, "--set", "tls.secretName=c")
    typo = fails(*lint, *KNOWN, "--set", "tls.secretname=c")
    assert "secretname" in typo
    fails(*lint, *KNOWN, "--set", "terminationGracePeriodSeconds=5")
    fails(*lint, *KNOWN, "--set", "resources.limits.memory=lots")


def test_the_chart_has_the_rules_and_can_hand_them_to_an_operator():
    copy = CHART / "files/rules.yml"
    assert copy.read_bytes() == (DEPLOY / "prometheus/rules.yml").read_bytes()
    documents = kinds(rendered(*KNOWN, *MONITORED))
    rules = documents["PrometheusRule"]["spec"]["groups"]
    assert rules == yaml.safe_load(copy.read_text())["groups"]
    [endpoint] = documents["ServiceMonitor"]["spec"]["endpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("admin", "/metrics")


def test_the_plain_path_has_the_same_guarantees(tmp_path):
    if shutil.which("kubectl"):
        text = passes("kubectl", "kustomize", DEPLOY / "kustomize/base")
    else:
        text = passes(tool("kustomize"), "build", DEPLOY / "kustomize/base")
    documents = [document for document in yaml.safe_load_all(text) if document]
    check_objects(documents, tmp_path)
    check_settings(documents, tmp_path)


def test_every_command_of_the_page_of_operations_is_one():
    page = (DEPLOY / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", page, re.S)
    commands = [line for block in blocks for line in block.splitlines() if line.startswith("pykv ")]
    assert len(commands) > 10
    for command in commands:
        words = command.split("|")[0].split(">")[0].split("#")[0].split()[1:]
        named = [word for word in words if re.fullmatch(r"[a-z]+", word)]
        verb = []
        for word in named:
            if run(*verb, word, "--help").returncode != 0:
                break
            verb.append(word)
        known = run(*verb, "--help").stdout.decode()
        assert verb, command
        for flag in re.findall(r"(?<= )--?[a-z][a-z-]*", " " + " ".join(words)):
            assert re.search(rf"(?<![\w-]){flag}(?![\w-])", known), f"{command}: {flag}"
    for path in re.findall(r"\]\(([\w./-]+)\)", page):
        assert (DEPLOY / path).exists(), path
