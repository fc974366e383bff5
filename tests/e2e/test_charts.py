"""What Kubernetes is told: which values are taken, who reaches whom, what a pod may, and that probes are answered."""

import json
import os
import re
import shutil
import tomllib

import pytest
import yaml
from harness.access import Tokens
from harness.server import Server, eventually, run
from harness.wire import ROOT
from test_deploy import (CHART, CLUSTER, DEPLOY, KNOWN, LINES, MONITORED, OPEN, check_settings, fails, kinds, passes,
                         rendered, secrets, tool)  # fmt: skip

BASE = DEPLOY / "kustomize/base"
CERTAIN = {"auth": {"tokensSecret": "t"}, "tls": {"secretName": "c"}}


def plain():
    """What the plain path makes."""
    tools = ("kubectl", "kustomize") if shutil.which("kubectl") else (tool("kustomize"), "build")
    return [document for document in yaml.safe_load_all(passes(*tools, BASE)) if document]


def with_values(tmp_path, **values):
    """Flags for a file of values: known callers and TLS, and these."""
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump({**CERTAIN, **values}), encoding="utf-8")
    return ["-f", path]


# --- values ---


@pytest.mark.parametrize("values", [
    # Numbers of a file of values come as fractions, and words of the switches as booleans.
    {"config": {"workers": 3, "read_only": True, "limits": {"max_streams": 100}, "traces": {"ratio": 0.5}}},
    {"config": {"max_total_bytes": "3072MiB"}, "resources": {"limits": {"memory": "4Gi"}}},
    {"tls": {"secretName": "c", "clientCertificates": True}, "config": {"tls": {"client_certificates": "optional"}}},
    {"auth": {}, "tls": {"secretName": "c", "clientCertificates": True}},
    {"auth": {}, "insecure": {"allowAnonymous": True}},
    {"tls": {}, "insecure": {"allowPlaintext": True}},
])  # fmt: skip
def test_the_server_takes_what_comes_of_files_of_values(values, tmp_path):
    text = check_settings(rendered(*with_values(tmp_path, **values)), tmp_path)
    made, asked = tomllib.loads(text), values.get("config", {})
    for key, value in asked.items():
        assert value.items() <= made[key].items() if isinstance(value, dict) else made[key] == value


MUTUAL = {"secretName": "c", "clientCertificates": True}


@pytest.mark.parametrize(("values", "told"), [
    ({"auth": {}}, "set auth.tokensSecret"),
    ({"tls": {}}, "set tls.secretName"),
    ({"tls": {"clientCertificates": True}, "insecure": {"allowPlaintext": True}}, "needs tls.secretName"),
    ({"auth": {}, "tls": MUTUAL, "config": {"tls": {"client_certificates": "optional"}}}, "set auth.tokensSecret"),
    ({"config": {"listen": "127.0.0.1:1"}}, "use service.port"),
    ({"config": {"insecure_allow_anonymous": True}}, "use insecure.allowAnonymous"),
    ({"config": {"tls": {"key_file": "/k"}}}, "use tls.secretName"),
    ({"config": {"max_total_bytes": "769MiB"}}, "three quarters"),
    ({"config": {"max_total_bytes": "1GiB"}}, "three quarters"),
    ({"config": {"max_total_bytes": "4GiB"}, "resources": {"limits": {"memory": "5Gi"}}}, "three quarters"),
    ({"config": {"max_total_bytes": 1000}}, "max_total_bytes"),
    ({"resources": {"limits": {"memory": None}}}, "memory"),
    ({"replicas": 2}, "replicas"),
    ({"insecure": {"allowanonymous": True}}, "allowanonymous"),
    ({"persistence": {"accessMode": "ReadWriteMany"}}, "accessMode"),
    ({"networkPolicy": {"adminFrom": ["monitoring"]}}, "adminFrom"),
])  # fmt: skip
def test_values_are_refused_with_what_to_set_instead(values, told, tmp_path):
    said = fails(tool("helm"), "template", "shop", CHART, *CLUSTER, *with_values(tmp_path, **values))
    assert told in said


def test_the_texts_and_versions_of_the_chart_and_the_plain_path_are_in_order(tmp_path):
    written = [CHART / "values.yaml", CHART / "Chart.yaml", BASE]
    passes(tool("yamllint"), "-s", "-d", LINES, *written)
    worse = tmp_path / "values.yaml"
    worse.write_text((CHART / "values.yaml").read_text() + "image: {}\n", encoding="utf-8")
    fails(tool("yamllint"), "-s", "-d", LINES, worse)
    version = tomllib.loads((ROOT / "Cargo.toml").read_text(encoding="utf-8"))["package"]["version"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version
    images = {kinds(made)["StatefulSet"]["spec"]["template"]["spec"]["containers"][0]["image"]
              for made in (plain(), rendered(*KNOWN))}  # fmt: skip
    assert images == {f"pykv:{version}"}


def test_the_rules_that_an_operator_gets_are_rules(tmp_path):
    spec = kinds(rendered(*KNOWN, *MONITORED))["PrometheusRule"]["spec"]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    assert "SUCCESS" in passes(tool("promtool"), "check", "rules", path)
    path.write_text(yaml.safe_dump(spec).replace("expr: ", "expr: )", 1), encoding="utf-8")
    fails(tool("promtool"), "check", "rules", path)


# --- who reaches whom ---


def selects(selector, labels):
    """Whether a selector of labels, which has nothing but labels, selects these."""
    wanted = selector.get("matchLabels", {}) if set(selector) <= {"matchLabels"} else selector
    return wanted.items() <= labels.items()


def selectors(documents):
    """Everything that picks pods, by what it is for."""
    for document in documents:
        spec, name = document.get("spec", {}), f"{document['kind']} {document['metadata']['name']}"
        chosen = spec.get("podSelector") or spec.get("selector")
        if document["kind"] in ("Service", "StatefulSet", "PodDisruptionBudget", "NetworkPolicy"):
            assert chosen, name
            yield name, chosen


def labels(document):
    """The labels of the pods that something makes, or is."""
    return document["spec"].get("template", document)["metadata"]["labels"]


@pytest.mark.parametrize("make", [plain, lambda: rendered(*KNOWN), lambda: rendered(*OPEN)],
                         ids=["plain", "known", "open"])  # fmt: skip
def test_everything_picks_the_server_and_nothing_picks_the_pod_of_the_test(make):
    documents = make()
    made = kinds(documents)
    assert len(list(selectors(documents))) == 5
    for name, chosen in selectors(documents):
        assert selects(chosen, labels(made["StatefulSet"])), name
        assert "Pod" not in made or not selects(chosen, labels(made["Pod"])), name


def admits(policy, port, pod, same_namespace):
    """Whether a pod may reach a port, as the policy has it."""
    for rule in policy["spec"]["ingress"]:
        if port not in [entry["port"] for entry in rule["ports"]]:
            continue
        peers = rule.get("from")
        if not peers or any("namespaceSelector" not in peer and same_namespace and selects(peer["podSelector"], pod)
                            for peer in peers):  # fmt: skip
            return True
    return False


def test_administration_is_for_the_namespace_and_calls_are_for_everybody():
    foreign = {"app": "web"}
    for documents in (plain(), rendered(*KNOWN), rendered(*OPEN)):
        policy = kinds(documents)["NetworkPolicy"]
        assert admits(policy, "grpc", foreign, same_namespace=False)
        assert admits(policy, "admin", foreign, same_namespace=True)
        assert not admits(policy, "admin", foreign, same_namespace=False)
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"] and policy["spec"]["egress"] == []


def test_nobody_but_those_named_may_administer_and_the_test_always_asks(tmp_path):
    documents = rendered(*with_values(tmp_path, networkPolicy={"adminFrom": []}))
    policy, pod = kinds(documents)["NetworkPolicy"], kinds(documents)["Pod"]
    assert admits(policy, "admin", labels(pod), same_namespace=True)
    assert not admits(policy, "admin", {"app": "web"}, same_namespace=True)


# --- the pod ---


BOTH = pytest.mark.parametrize("make", [plain, lambda: rendered(*KNOWN)], ids=["plain", "chart"])


def container(documents):
    """The one container of the server."""
    [only] = kinds(documents)["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    return only


def settings_of(documents):
    """The file of settings."""
    return tomllib.loads(kinds(documents)["ConfigMap"]["data"]["pykv.toml"])


@BOTH
def test_there_is_one_server_with_one_volume_and_a_bound_of_memory(make):
    documents = make()
    spec = kinds(documents)["StatefulSet"]["spec"]
    assert spec["replicas"] == 1
    [claim] = spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    resources = container(documents)["resources"]
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    assert kinds(documents)["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1


@BOTH
def test_every_pod_is_nobodys_and_may_nothing(make):
    pods = [document["spec"].get("template", document)["spec"] for document in make()
            if document["kind"] in ("Pod", "StatefulSet")]  # fmt: skip
    for pod in pods:
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 65532
        assert not pod["automountServiceAccountToken"] and not pod["enableServiceLinks"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        for only in pod["containers"]:
            assert only["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                                               "capabilities": {"drop": ["ALL"]}}  # fmt: skip


@BOTH
def test_ports_and_paths_of_the_settings_are_those_of_the_pod(make):
    documents = make()
    only, made, told = container(documents), kinds(documents), settings_of(documents)
    ports = {entry["name"]: entry["containerPort"] for entry in only["ports"]}
    assert told["listen"] == f"0.0.0.0:{ports['grpc']}" and told["admin_listen"] == f"0.0.0.0:{ports['admin']}"
    probes = [only[f"{probe}Probe"]["grpc"]["port"] for probe in ("startup", "readiness", "liveness")]
    assert set(probes) == {ports["admin"]}
    for document in documents:
        for entry in document["spec"]["ports"] if document["kind"] == "Service" else []:
            assert entry["targetPort"] == entry["name"] and entry["port"] == ports[entry["name"]]
    mounts = {mount["mountPath"]: mount for mount in only["volumeMounts"]}
    paths = [told["data_dir"], told["tokens_file"], *told["tls"].values(), only["args"][2]]
    for path in paths:
        [below] = [mount for at, mount in mounts.items() if path.startswith(f"{at}/")]
        assert (below["name"] == "data") != below.get("readOnly", False), path
    spec = made["StatefulSet"]["spec"]
    volumes = {each["name"] for each in spec["template"]["spec"]["volumes"]}
    volumes |= {each["metadata"]["name"] for each in spec["volumeClaimTemplates"]}
    assert {mount["name"] for mount in mounts.values()} == volumes


def test_the_plain_path_and_the_chart_make_the_same_pod():
    pods = []
    for documents in (plain(), rendered(*KNOWN)):
        pod = kinds(documents)["StatefulSet"]["spec"]["template"]["spec"]
        own = {"env", "imagePullPolicy"}
        kept = {key: value for key, value in container(documents).items() if key not in own}
        # Names are each one's own.
        volumes = [(each["name"], *(key for key in each if key != "name")) for each in pod["volumes"]]
        pods.append({**pod, "serviceAccountName": "", "containers": [kept], "volumes": volumes})
    assert pods[0] == pods[1]
    theirs = settings_of(rendered(*KNOWN))
    # What is off by itself, the chart says too.
    assert not theirs.pop("insecure_allow_anonymous") and not theirs.pop("insecure_allow_plaintext")
    assert settings_of(plain()) == theirs


# --- a server ---


@BOTH
def test_the_server_so_configured_answers_its_probes_and_the_test(make, tmp_path, data_dir):
    documents = make()
    text = kinds(documents)["ConfigMap"]["data"]["pykv.toml"]
    for there, here in secrets(tmp_path).items():
        text = text.replace(there, str(here))
    file = tmp_path / "pykv.toml"
    file.write_text(text, encoding="utf-8")
    flags = ["--config", file, "--admin-listen", "127.0.0.1:0"]
    env = {each["name"]: each["value"] for each in container(documents)["env"]}
    with Server(data_dir, *flags, env=env, wait=False) as server:
        seen = re.compile(r'address\W+(127[\d.:]+)\W+side\W+Admin')
        admin = eventually("both listen", lambda: seen.search(server.log())).group(1)
        address = f"http://{admin}"
        eventually("it is ready", lambda: run("health", "--server", address).returncode == 0)
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            asked = container(documents)[probe]["grpc"]
            assert run("health", "--server", address, "--service", asked["service"]).returncode == 0
        assert run("health", "--server", address, "--service", "nonsense").returncode == 2
        if "Pod" in kinds(documents):
            check_test(documents, address)
        # The listener for calls speaks TLS only.
        assert run("health", "--server", f"http://{server.address}").returncode == 69


def check_test(documents, address):
    """Runs what the pod of `helm test` runs, at this address instead of the name and port it is told."""
    [only] = kinds(documents)["Pod"]["spec"]["containers"]
    headless = next(document for document in documents if document.get("spec", {}).get("clusterIP") == "None")
    ports = {entry["name"]: entry["port"] for entry in headless["spec"]["ports"]}
    told = f"http://{headless['metadata']['name']}:{ports['admin']}"
    assert told in only["args"]
    assert run(*[address if word == told else word for word in only["args"]]).returncode == 0


def test_a_probe_that_takes_its_time_ends_no_server():
    for documents in (plain(), rendered(*KNOWN)):
        assert container(documents)["livenessProbe"]["timeoutSeconds"] >= 5
        assert container(documents)["readinessProbe"]["timeoutSeconds"] >= 2


def test_secrets_that_kubernetes_replaces_are_read_again(tmp_path, data_dir):
    """A mounted secret is a link to a directory behind a link, and that link is what gets replaced."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        tokens = Tokens(tmp_path / name / "tokens.toml")
        file = tmp_path / f"{name}.token"
        file.write_text(tokens.add(name, "*", "admin"), encoding="utf-8")
        file.chmod(0o600)
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "tokens.toml").symlink_to("..data/tokens.toml")
    with Server(data_dir, "--tokens-file", tmp_path / "tokens.toml") as server:

        def knows(name):
            told = ["--server", f"http://{server.address}", "--token-file", tmp_path / f"{name}.token"]
            return run("stats", *told).returncode == 0

        assert knows("first") and not knows("second")
        (tmp_path / "..data_tmp").symlink_to("second")
        os.rename(tmp_path / "..data_tmp", tmp_path / "..data")
        eventually("the new token is known", lambda: knows("second"), 20, 0.1)
        assert not knows("first")


def test_one_wrong_object_among_many_is_found(tmp_path):
    paths = []
    for number, document in enumerate(rendered(*KNOWN)):
        if document["kind"] == "NetworkPolicy":
            document = json.loads(json.dumps(document).replace("policyTypes", "policytypes"))
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(yaml.safe_dump(document), encoding="utf-8")
    assert "policytypes" in fails(tool("kubernetes-validate"), "--strict", *paths)
