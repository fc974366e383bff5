"""What starts the server elsewhere lets it do what it does: the image's context and settings, the unit's walls, the page."""

import functools
import json
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
import yaml
from harness.access import Tokens
from harness.certificates import Authority, write
from harness.server import Server, binary, environment, eventually, run
from harness.wire import ROOT
from test_deploy import environment_of, fails, passes, tool

DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "systemd/pykv.service"
SECRETS = DEPLOY / "systemd/secrets.conf"
PAGE = (DEPLOY / "README.md").read_text(encoding="utf-8")
# What the page shows, and what a test has in its place.
SHOWN_SERVER, SHOWN_DATA = "http://127.0.0.1:9090", "/var/lib/pykv"


# --- the image ---


def image_environment():
    """The variables that the image sets."""
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    block = re.search(r"^ENV ((?:.*\\\n)*.*)$", text, re.M).group(1)
    return dict(word.split("=", 1) for word in block.replace("\\\n", " ").split())


def context(target, ignored):
    """Copies what an image's build would be sent, by the lines that take it back in."""
    first, *taken = [line for line in ignored.splitlines() if line and not line.startswith("#")]
    assert first == "*", "what is not named must stay out"
    for line in taken:
        assert line.startswith("!"), line
        source, copy = ROOT / line[1:], target / line[1:]
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, copy)
    return target


def missing(directory):
    """Files that the manifest of a context names, or its sources compile in, and that are not in it."""
    command = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]
    [package] = json.loads(passes(*command, cwd=directory))["packages"]
    paths = [target["src_path"] for target in package["targets"]]
    assert len(paths) > 3
    found = [path for path in paths if not Path(path).is_file()]
    for source in (directory / "src").rglob("*.rs"):
        for name in re.findall(r'include_(?:str|bytes)!\("([^"]+)"\)', source.read_text(encoding="utf-8")):
            if not (source.parent / name).resolve().is_relative_to(directory.resolve()):
                found.append(f"{source}: {name}")
    return found


def test_the_image_is_sent_all_that_its_build_reads_and_little_else(tmp_path):
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8")
    whole = context(tmp_path / "whole", ignored)
    assert missing(whole) == []
    assert sum(file.stat().st_size for file in whole.rglob("*") if file.is_file()) < 8 * 1024 * 1024
    # It is a check: without the bench, which the manifest names, something is missing.
    assert missing(context(tmp_path / "less", ignored.replace("!tests/bench\n", "")))


def test_the_user_of_the_image_is_the_one_its_group_file_lets_read_secrets():
    text = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    user, uid, gid = re.search(r"echo '(\w+):x:(\d+):(\d+):", text).groups()
    assert (uid, gid) == ("65532", "65532") and f"\nUSER {uid}\n" in text
    assert f"secrets:x:1000:{user}\\n" in text and f"--chown={uid}:{gid}" in text


@pytest.fixture
def secrets(tmp_path):
    """The variables that name a token file and a certificate, as they are where somebody has made them."""
    tokens = Tokens(tmp_path / "tokens.toml")
    tokens.add("root", "*", "admin")
    write(tmp_path, *Authority().issue("localhost"))
    return {
        "PYKV_TOKENS_FILE": str(tokens.path),
        "PYKV_TLS_CERT_FILE": str(tmp_path / "cert.pem"),
        "PYKV_TLS_KEY_FILE": str(tmp_path / "key.pem"),
    }


ANONYMOUS = {"PYKV_INSECURE_ALLOW_ANONYMOUS": "true"}
PLAINTEXT = {"PYKV_INSECURE_ALLOW_PLAINTEXT": "true"}


def test_the_image_serves_with_files_or_flags_and_says_what_is_missing(secrets):
    image = image_environment()
    tokens = {"PYKV_TOKENS_FILE": secrets["PYKV_TOKENS_FILE"]}
    for told in (secrets, {**ANONYMOUS, **PLAINTEXT}, {**tokens, **PLAINTEXT}):
        checked = run("config", "check", env={**image, **told})
        assert checked.returncode == 0, (told, checked.stderr)
    for told, named in (({}, b"tokens_file"), (PLAINTEXT, b"tokens_file"), (tokens, b"tls.cert_file")):
        refused = run("config", "check", env={**image, **told})
        assert refused.returncode == 78 and named in refused.stderr, (told, refused.stderr)


def services(name):
    """The services of a file for compose or Render."""
    return yaml.safe_load((DEPLOY / name).read_text(encoding="utf-8"))["services"]


def test_compose_and_render_serve_with_what_the_image_sets_beneath_theirs(secrets, tmp_path):
    image = image_environment()
    compose = environment_of(services("compose.yaml")["pykv"])
    assert run("config", "check", env={**image, **compose}).returncode == 0
    for flag in (*ANONYMOUS, *PLAINTEXT):
        less = {key: value for key, value in compose.items() if key != flag}
        assert run("config", "check", env={**image, **less}).returncode == 78, flag
    [service] = services("render.yaml")
    render = {**image, **environment_of(service)}
    refused = run("config", "check", env=render)
    assert refused.returncode == 78 and b"/etc/secrets/tokens.toml" in refused.stderr
    render["PYKV_TOKENS_FILE"] = secrets["PYKV_TOKENS_FILE"]
    printed = run("serve", "--print-config", env=render)
    assert f'listen = "0.0.0.0:{render["PORT"]}"'.encode() in printed.stdout
    # Snapshots and metrics are to be had from its private network.
    assert b'admin_listen = "0.0.0.0:9090"' in printed.stdout
    assert service["disk"]["mountPath"] == render["PYKV_DATA_DIR"]


def test_every_container_of_compose_has_a_root_it_cannot_write_and_no_privileges():
    for name, service in services("compose.yaml").items():
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name
        # The image of the server has its own.
        assert name == "pykv" or "healthcheck" in service, name


def test_no_page_of_a_foreign_name_reaches_the_server_of_compose(data_dir):
    hosts = environment_of(services("compose.yaml")["pykv"])["PYKV_ALLOWED_HOSTS"]
    env = {**ANONYMOUS, **PLAINTEXT, "PYKV_ALLOWED_HOSTS": hosts}
    with Server(data_dir, env=env) as server:
        for host, expected in (("evil.example", b"403"), ("pykv", b"404"), ("localhost", b"404")):
            with socket.create_connection(server.address.split(":"), timeout=5) as wire:
                wire.sendall(f"GET /get/k HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n".encode())
                assert wire.recv(4096).split()[1] == expected, host


# --- the unit ---


def setting(name, text=None):
    """The values of a setting of the unit, in order."""
    return re.findall(rf"^{name}=(.*)$", text or UNIT.read_text(encoding="utf-8"), re.M)


def test_the_unit_with_its_secrets_is_sound_and_so_are_its_settings(tmp_path, secrets):
    unit, dropped = tmp_path / "pykv.service", tmp_path / "pykv.service.d"
    unit.write_text(UNIT.read_text().replace("/usr/local/bin/pykv", str(binary())), encoding="utf-8")
    dropped.mkdir()
    shutil.copy(SECRETS, dropped / "secrets.conf")
    verify = [tool("systemd-analyze"), "verify", unit]
    said = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert said.returncode == 0 and "secrets.conf" not in said.stderr, said.stderr
    (dropped / "secrets.conf").write_text(SECRETS.read_text().replace("LoadCredential", "LoadCredentials"))
    said = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert "LoadCredentials" in said.stderr
    # What is loaded is what is named, and the server takes it.
    text = SECRETS.read_text(encoding="utf-8")
    env = dict(line.split("=", 1) for line in setting("Environment") + setting("Environment", text))
    loaded = {line.split(":")[0] for line in setting("LoadCredential", text)}
    for name, real in secrets.items():
        assert env[name].removeprefix("%d/") in loaded
        env[name] = real
    settings = tmp_path / "pykv.toml"
    settings.touch()
    assert run("config", "check", "--config", settings, env=env).returncode == 0


# systemd's own score is too coarse to miss any one of these.
WALLS = """
DynamicUser=yes StateDirectory=pykv StateDirectoryMode=0700 UMask=0077 CapabilityBoundingSet= AmbientCapabilities=
NoNewPrivileges=yes LockPersonality=yes MemoryDenyWriteExecute=yes PrivateDevices=yes PrivateTmp=yes PrivateUsers=yes
ProtectClock=yes ProtectControlGroups=yes ProtectHome=yes ProtectHostname=yes ProtectKernelLogs=yes
ProtectKernelModules=yes ProtectKernelTunables=yes ProtectProc=invisible ProtectSystem=strict RemoveIPC=yes
RestrictNamespaces=yes RestrictRealtime=yes RestrictSUIDSGID=yes SystemCallArchitectures=native
""".split()


def test_no_wall_of_the_unit_is_missing():
    assert set(WALLS) <= set(UNIT.read_text(encoding="utf-8").splitlines())


def test_the_unit_leaves_what_a_person_must_see_to_as_it_is():
    never = setting("RestartPreventExitStatus")[0].split()
    assert never == ["65", "78"] and setting("Restart") == ["on-failure"]
    assert setting("Type") == ["notify"] and setting("ExecReload") == ["/bin/kill -HUP $MAINPID"]
    stop, drain = int(setting("TimeoutStopSec")[0]), 25
    assert stop > drain and int(setting("WatchdogSec")[0]) > 0
    refused = run("serve", "--set", "nonsense=1", timeout=20)
    assert str(refused.returncode) in never


@functools.cache
def members(group):
    """The system calls of a group, as systemd has it here."""
    lines = passes(tool("systemd-analyze"), "syscall-filter", group).splitlines()[1:]
    words = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    assert words, group
    return frozenset().union(*(members(word) if word[0] == "@" else {word} for word in words))


def allowed(filters):
    """The system calls that lines of SystemCallFilter leave."""
    left = set()
    for line in filters:
        calls = frozenset().union(*map(members, line.removeprefix("~").split()))
        left = left - calls if line.startswith("~") else left | calls
    return left


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """Every system call of a server that does all it does: each line as strace writes it, without the id."""
    room = tmp_path_factory.mktemp("trace")
    tokens = Tokens(room / "tokens.toml")
    (room / "token").write_text(tokens.add("root", "*", "admin"), encoding="utf-8")
    (room / "token").chmod(0o600)
    authority = Authority()
    (room / "ca.pem").write_bytes(authority.pem)
    cert, key = write(room, *authority.issue("127.0.0.1"))
    # With -D the process that was started is the server, so that signals reach it.
    traced = room / "traced"
    command = f'exec strace -D -f -q -s 0 -o {room}/lines {binary()} "$@"'
    traced.write_text(f"#!/bin/sh\n{command}\n", encoding="utf-8")
    traced.chmod(0o755)
    flags = ["--tokens-file", tokens.path, "--admin-listen", "127.0.0.1:0", "--tls-cert-file", cert]
    flags += ["--tls-key-file", key, "--set", "traces.endpoint=http://localhost:1"]
    flags += ["--set", "compaction_interval=1s"]
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(room / "notify"))
    with heard, pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYKV_BIN", str(traced))
        server = Server(room / "data", *flags, env={"NOTIFY_SOCKET": str(room / "notify")}, wait=False)
        patch.undo()
        with server:
            work(server, room)
            server.process.send_signal(signal.SIGHUP)
            eventually("it reloads", lambda: "read again" in server.log())
            assert server.terminate()[0] == 0
    end = eventually("strace ends", lambda: re.search(r"\+\+\+ exited with 0 \+\+\+\n\Z", read(room / "lines")))
    return [line.split(maxsplit=1)[1] for line in end.string.splitlines()], room / "data"


def read(path):
    """The text of a file that may not be there yet."""
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""


def work(server, room):
    """Has a server do what it can do, at both listeners."""
    data = f"https://{server.address}"
    found = eventually("both listen", lambda: re.search(r"address=(\S+) side=Admin", server.log()))
    admin = f"http://{found.group(1)}"
    eventually("it is ready", lambda: run("health", "--server", admin).returncode == 0, 60)
    known = ["--token-file", room / "token", "--timeout", "60s"]
    for words in (["set", "k", "v" * 100_000, "--ca-file", room / "ca.pem", "--server", data],
                  ["snapshot", "save", room / "all.pykv", "--server", admin],
                  ["snapshot", "restore", room / "all.pykv", "--mode", "replace", "--server", admin],
                  ["stats", "--server", admin]):  # fmt: skip
        done = run(*words, *known)
        assert done.returncode == 0, (words, done.stderr)
    eventually("it compacts", lambda: list((room / "data").glob("*.snapshot")))


def test_the_server_calls_nothing_that_the_unit_forbids(trace):
    lines, _ = trace
    called = {match.group() for line in lines if (match := re.match(r"[a-z][a-z0-9_]+(?=\()", line))}
    assert {"fdatasync", "accept4", "execve", "statfs"} <= called
    assert called - allowed(setting("SystemCallFilter")) == set()
    # It is a check: what is forbidden is found.
    assert "fdatasync" in called - allowed([*setting("SystemCallFilter"), "~@sync"])


def test_the_server_stays_within_the_walls_of_the_unit(trace):
    lines, data = trace
    families = {match.group(1) for line in lines if (match := re.match(r"socket\((AF_\w+)", line))}
    # The resolver of names asks the kernel for its addresses where it may, and does without where not.
    assert {"AF_INET", "AF_UNIX"} <= families
    assert families - {"AF_NETLINK"} <= set(setting("RestrictAddressFamilies")[0].split())
    assert setting("MemoryDenyWriteExecute") == ["yes"]
    mapped = [line for line in lines if line.startswith(("mmap(", "mprotect("))]
    assert len(mapped) > 10
    writable_code = [line for line in mapped if "PROT_WRITE|PROT_EXEC" in line]
    made_code = [line for line in mapped if line.startswith("mprotect(") and "PROT_EXEC" in line]
    assert not writable_code and not made_code
    assert not [line for line in lines if "CLONE_NEW" in line or line.startswith("unshare(")]
    # Everything is read-only for it but its own directory.
    writing = [line for line in lines if re.match(r"open(at)?\(.*(O_WRONLY|O_RDWR|O_CREAT)", line)]
    paths = [re.search(r'"([^"]*)"', line).group(1) for line in writing]
    assert paths and all(path.startswith((str(data), "/dev/")) for path in paths), paths


# --- the page of operations ---


def blocks(page):
    """The blocks of commands, in order, each as its text."""
    return re.findall(r"```sh\n(.*?)```", page, re.S)


@pytest.fixture
def shell(tmp_path, data_dir):
    """Runs a block of the page as a reader would, in one room; returns what it says."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/pykv").symlink_to(binary())
    (tmp_path / "pykv.toml").touch()
    exported = []

    def run_block(block, server=None):
        block = block.replace(SHOWN_DATA, str(data_dir)).replace("/etc/pykv/pykv.toml", "pykv.toml")
        block = block.replace(SHOWN_SERVER, f"http://{server.address}") if server else block
        exported.extend(line for line in block.splitlines() if line.startswith("export "))
        env = environment()
        env["PATH"] = f"{tmp_path / 'bin'}:{env['PATH']}"
        script = "\n".join(["set -e", "umask 077", *exported, block])
        done = subprocess.run(["sh", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True,
                              timeout=60, check=False)  # fmt: skip
        return done

    return run_block


def test_the_page_can_be_followed_from_its_first_command_to_its_last(shell, tmp_path, data_dir):
    page = [block for block in blocks(PAGE) if re.search(r"^(pykv|export) ", block, re.M)]
    made, said, *serving = page
    [damaged] = [block for block in serving if "wal repair" in block]
    serving.remove(damaged)
    assert len(serving) >= 4
    assert shell(made).returncode == 0
    with Server(data_dir, "--tokens-file", tmp_path / "tokens.toml") as server:
        assert shell(said, server).returncode == 0
        assert shell("pykv namespaces create acme\npykv set k v -n acme").returncode == 0
        for block in serving:
            done = shell(block, server)
            assert done.returncode == 0, (block, done.stdout, done.stderr)
        # It is a check: without what the page has exported before, they are refused.
        assert shell("unset PYKV_TOKEN_FILE\npykv stats").returncode != 0
        for number in range(20):
            assert shell(f"pykv set k{number} v -n acme").returncode == 0
        assert server.terminate()[0] == 0
    repair(shell, damaged, Path(data_dir))
    with Server(data_dir, "--tokens-file", tmp_path / "tokens.toml") as server:
        shell(said, server)
        assert shell("pykv get k -n acme").stdout == "v"


def repair(shell, damaged, data_dir):
    """Damages the log near its end, and has the page's commands mend it."""
    verify, dump, cut, own = damaged.splitlines()
    segment = max(data_dir.glob("*.segment"))
    whole = segment.read_bytes()
    at = len(whole.rstrip(b"\0")) - 200
    segment.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
    told = shell(verify)
    assert told.returncode == 65
    named = re.search(r"--truncate (\d+:\d+)", told.stderr + told.stdout).group(1)
    assert shell(dump).returncode == 65
    cut = re.sub(r"\d+:\d+", named, cut)
    assert shell(cut.replace(" --accept-loss", "")).returncode == 65
    assert shell(f"{cut}\n{own}").returncode == 0
    assert list(data_dir.glob("*.cut-at-*")) and shell(verify).returncode == 0


def unknown(text):
    """What is said between backticks of a text as a command, and is none."""
    wrong = []
    for command in re.findall(r"`(?:[^`]* /)?(pykv [^`]*)`", text):
        words = [word for word in command.split()[1:] if not word.startswith("-")]
        verbs = []
        while words and re.fullmatch("[a-z]+", words[0]) and (not verbs or "Commands:" in help_of(verbs)):
            verbs.append(words.pop(0))
        if not verbs or not help_of(verbs):
            wrong.append(command)
    return wrong


@functools.cache
def _help(verbs):
    done = run(*verbs, "--help")
    return done.stdout.decode() if done.returncode == 0 else ""


def help_of(verbs):
    """The help of a command, empty where there is none."""
    return _help(tuple(verbs))


def test_the_commands_and_files_that_the_page_speaks_of_exist():
    assert unknown(PAGE) == []
    assert unknown("`pykv namespaces describe NAME`, `pykv health`, `x /pykv nonsense`") == [
        "pykv namespaces describe NAME", "pykv nonsense"]  # fmt: skip
    code = "\n".join(blocks(PAGE)) + "\n".join(re.findall(r"`([^`]*)`", PAGE))
    named = set(re.findall(r"(?<![\w./])(deploy/[\w./-]+)", code))
    assert len(named) > 5
    for path in named:
        assert (ROOT / path).exists(), path


def test_the_settings_and_reasons_that_the_page_speaks_of_exist():
    printed = run("config", "print").stdout.decode()
    reasons = (ROOT / "proto/pykv/v1/error_reason.proto").read_text(encoding="utf-8")
    words = set(re.findall(r"`((?:limits|wal|drain|traces|tls|default_policy)\.\w+|max_\w+|admin_listen)`", PAGE))
    assert len(words) > 8
    for word in words:
        room, _, key = word.rpartition(".")
        assert re.search(rf"^{key} = ", printed, re.M) and (not room or f"[{room}]" in printed), word
    told = set(re.findall(r"\b[A-Z]+(?:_[A-Z]+)+\b", re.sub(r"`[^`]*`|```.*?```", "", PAGE, flags=re.S)))
    assert {"DISK_FULL", "VALUE_TOO_LARGE"} <= told
    for word in told:
        assert f"ERROR_REASON_{word} " in reasons, word
