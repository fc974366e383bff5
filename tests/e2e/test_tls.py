"""Encrypted connections: certificates that change under load, and callers who show theirs."""

import os
import signal
import socket
import ssl
import threading
import time

import grpc
import pytest
from harness import certificates
from harness.access import Tokens
from harness.calls import Client, refusal_of, require
from harness.certificates import DAY, Authority
from harness.server import Server, cycles, eventually, run
from harness.wire import pb, stubs

ROTATIONS = cycles("E2E_ROTATIONS", 50)


@pytest.fixture(scope="module")
def authority():
    """Who vouches for servers and callers."""
    return Authority()


def serve(data_dir, directory, authority, *flags):
    """A server with a certificate for 127.0.0.1."""
    paths = certificates.write(directory, *authority.issue("127.0.0.1", "localhost"))
    flags = ["--tls-cert-file", paths[0], "--tls-key-file", paths[1], *flags]
    server = Server(data_dir, *flags, wait=False)
    eventually("the server is ready", lambda: "ready: the log" in server.log(), 30)
    return server


def context(authority, *shown, least=ssl.TLSVersion.TLSv1_2, most=ssl.TLSVersion.TLSv1_3):
    """What a caller trusts and shows."""
    made = ssl.create_default_context(cadata=authority.pem.decode())
    made.minimum_version, made.maximum_version = least, most
    made.set_alpn_protocols(["h2", "http/1.1"])
    if shown:
        made.load_cert_chain(*shown)
    return made


def greet(address, made):
    """Agrees on encryption and asks whether the server is ready; the connection's socket."""
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), 10) as plain:
        with made.wrap_socket(plain, server_hostname=host) as encrypted:
            encrypted.settimeout(10)
            if encrypted.selected_alpn_protocol() == "h2":
                encrypted.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
                # Its settings come first; with TLS 1.3 a refused certificate shows only here.
                assert encrypted.recv(9)[3] == 4
            return encrypted.version(), encrypted.selected_alpn_protocol(), _serial(encrypted)


def _serial(encrypted):
    return encrypted.getpeercert()["serialNumber"]


def channel(address, authority, key=None, chain=None):
    """A channel of gRPC over TLS."""
    credentials = grpc.ssl_channel_credentials(authority.pem, key, chain)
    return grpc.secure_channel(address, credentials)


def test_versions_and_protocols_are_agreed_on(data_dir, tmp_path, authority):
    with serve(data_dir, tmp_path, authority) as server:
        newest = greet(server.address, context(authority))
        assert newest[:2] == ("TLSv1.3", "h2")
        older = context(authority, most=ssl.TLSVersion.TLSv1_2)
        assert greet(server.address, older)[:2] == ("TLSv1.2", "h2")
        oldest = context(authority, least=ssl.TLSVersion.TLSv1, most=ssl.TLSVersion.TLSv1_1)
        oldest.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            greet(server.address, oldest)
        with pytest.raises(ssl.SSLCertVerificationError):
            greet(server.address, context(Authority("another")))
        with channel(server.address, authority) as dialled:
            stub = stubs.KeyValueService(dialled)
            stub.Set(pb.SetRequest(namespace="acme", key="k", value=b"v" * 300_000), timeout=10)
            answer = stub.Get(pb.GetRequest(namespace="acme", key="k"), timeout=10)
            assert answer.entry.value == b"v" * 300_000
        pem = tmp_path / "ca.pem"
        pem.write_bytes(authority.pem)
        url = f"https://{server.address}"
        assert run("health", "-s", url, "--ca-file", pem).returncode == 0
        assert run("health", "-s", url).returncode == 69
        assert run("health", "-s", f"http://{server.address}").returncode == 69


def test_who_does_not_agree_in_time_is_closed(data_dir, tmp_path, authority):
    with serve(data_dir, tmp_path, authority) as server:
        host, port = server.address.rsplit(":", 1)
        silent = [socket.create_connection((host, int(port)), 10) for _ in range(3)]
        silent[1].sendall(b"\x16\x03\x01\x00\xff")
        silent[2].sendall(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n")
        begun = time.monotonic()
        for plain in silent:
            plain.settimeout(10)
            try:
                while plain.recv(1000):
                    pass
            except ConnectionError:
                pass
            assert time.monotonic() - begun < 6
            plain.close()


def test_certificates_change_under_load_and_no_handshake_fails(data_dir, tmp_path, authority):
    failed, done, stop = [], [], threading.Event()

    def load(server):
        made = context(authority)
        while not stop.is_set():
            try:
                done.append(greet(server.address, made)[2])
            except (OSError, AssertionError) as error:
                failed.append(error)

    with serve(data_dir, tmp_path, authority) as server:
        greeters = [threading.Thread(target=load, args=(server,)) for _ in range(3)]
        for greeter in greeters:
            greeter.start()
        try:
            with channel(server.address, authority) as dialled:
                stub = stubs.KeyValueService(dialled)
                for number in range(ROTATIONS):
                    issued = authority.issue("127.0.0.1")
                    certificates.write(tmp_path, *issued)
                    server.process.send_signal(signal.SIGHUP)
                    expected = ssl.PEM_cert_to_DER_cert(issued[0].decode())
                    eventually("the new one is shown", lambda: shown(server, expected), 10)
                    # A connection from before goes on.
                    value = str(number).encode()
                    stub.Set(pb.SetRequest(namespace="a", key="k", value=value), timeout=10)
        finally:
            stop.set()
            for greeter in greeters:
                greeter.join()
    assert not failed, failed[:3]
    print(f"{len(done)} handshakes, {len(set(done))} certificates")
    assert len(set(done)) > ROTATIONS // 2


def shown(server, expected):
    """Whether a new connection is shown that certificate."""
    host, port = server.address.rsplit(":", 1)
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, int(port)))) == expected


def test_a_certificate_that_cannot_be_used_changes_nothing(data_dir, tmp_path, authority):
    with serve(data_dir, tmp_path, authority) as server:
        before = greet(server.address, context(authority))[2]
        other_key = authority.issue("127.0.0.1")[1]
        good = (tmp_path / "cert.pem").read_bytes(), (tmp_path / "key.pem").read_bytes()
        for certificate, key, told in (
            (good[0], other_key, "cannot be used with its key"),
            (b"junk", good[1], "no certificate"),
            (good[0], b"junk", "no private key"),
        ):
            certificates.write(tmp_path, certificate, key)
            server.process.send_signal(signal.SIGHUP)
            eventually(f"it is told: {told}", lambda told=told: told in server.log())
            assert greet(server.address, context(authority))[2] == before
        flags = ["--tls-cert-file", tmp_path / "cert.pem", "--tls-key-file", tmp_path / "key.pem"]
        checked = run("config", "check", "--set", f"tls.cert_file={tmp_path / 'cert.pem'}")
        assert checked.returncode == 78 and b"go together" in checked.stderr
        assert run("serve", "--data-dir", tmp_path / "d", *flags).returncode == 78


@pytest.fixture
def mutual(data_dir, tmp_path, authority):
    """A server that asks for certificates and knows one by its name."""
    tokens = Tokens(tmp_path / "tokens.toml")
    tokens.entries["billing"] = (
        '[[certificates]]\nname = "billing"\nsan = "spiffe://test/billing"\n'
        'grants = [{ namespaces = ["acme"], role = "writer" }]\n'
    )
    tokens.add("holder", "acme", "reader")
    (tmp_path / "ca.pem").write_bytes(authority.pem)

    def start(certificates):
        flags = ["--tls-client-ca-file", tmp_path / "ca.pem", "--tokens-file", tokens.path]
        flags += ["--set", f"tls.client_certificates={certificates}"]
        return serve(data_dir, tmp_path, authority, *flags)

    return start, tokens


def test_callers_are_known_by_their_certificates(mutual, authority):
    start, _ = mutual
    with start("required") as server:
        chain, key = authority.issue("other.example", "spiffe://test/billing")
        with channel(server.address, authority, key, chain) as dialled:
            stub = stubs.KeyValueService(dialled)
            stub.Set(pb.SetRequest(namespace="acme", key="k", value=b"v"), timeout=10)
            with pytest.raises(grpc.RpcError) as caught:
                stub.Get(pb.GetRequest(namespace="other", key="k"), timeout=10)
            require(refusal_of(caught.value), "PERMISSION_DENIED", "ROLE_INSUFFICIENT")
        chain, key = authority.issue("spiffe://test/unknown")
        with channel(server.address, authority, key, chain) as dialled:
            with pytest.raises(grpc.RpcError) as caught:
                stubs.KeyValueService(dialled).Get(pb.GetRequest(namespace="acme", key="k"), timeout=10)
            require(refusal_of(caught.value), "UNAUTHENTICATED", "TOKEN_INVALID")


def test_callers_with_bad_certificates_or_none_get_no_connection(mutual, authority, tmp_path):
    start, _ = mutual
    with start("required") as server:
        greeted = 0
        for name, issued in (
            ("good", authority.issue("spiffe://test/billing")),
            ("expired", authority.issue("spiffe://test/billing", good_for=-DAY)),
            ("of somebody else", Authority("test").issue("spiffe://test/billing")),
            ("none", None),
        ):
            shown = []
            if issued:
                (tmp_path / name).mkdir()
                shown = certificates.write(tmp_path / name, *issued)
            try:
                greet(server.address, context(authority, *shown))
                greeted += 1
                assert name == "good"
            except (ssl.SSLError, ConnectionError, IndexError):
                assert name != "good"
        assert greeted == 1


def test_where_certificates_are_optional_a_token_does_as_well(mutual, authority):
    start, tokens = mutual
    with start("optional") as server, channel(server.address, authority) as dialled:
        stub, get = stubs.KeyValueService(dialled), pb.GetRequest(namespace="acme", key="k")
        stub.Get(get, metadata=tokens.metadata("holder"), timeout=10)
        with pytest.raises(grpc.RpcError) as caught:
            stub.Get(get, timeout=10)
        require(refusal_of(caught.value), "UNAUTHENTICATED", "TOKEN_MISSING")


def test_the_listener_for_administration_has_what_is_not_for_everybody(data_dir, tmp_path):
    import re

    tokens = Tokens(tmp_path / "tokens.toml")
    tokens.add("root", "*", "admin")
    flags = ["--tokens-file", tokens.path, "--admin-listen", "127.0.0.1:0"]
    with Server(data_dir, *flags) as server:
        found = re.findall(r"address=\"?(127\.0\.0\.1:\d+)\"? side=(\w+)", server.log())
        public, admin = (next(a for a, side in found if side == s) for s in ("Public", "Admin"))
        from harness.http import ask

        root = tokens.headers("root")
        status = {}
        for path in ("/metrics", "/livez", "/readyz", "/v1/stats", "/v1/namespaces", "/stats"):
            status[path] = [ask(a, "GET", path, headers=root).status for a in (public, admin)]
        assert status == {
            "/metrics": [404, 200], "/livez": [200, 200], "/readyz": [200, 200],
            "/v1/stats": [501, 200], "/v1/namespaces": [200, 501], "/stats": [501, 200],
        }  # fmt: skip
        assert ask(admin, "GET", "/metrics").status == 200, "scrapers show nothing"
        assert ask(admin, "GET", "/v1/stats").status == 401
        with Client(public) as data, Client(admin) as administration:
            assert data.serving("readiness") == administration.serving("readiness") == "SERVING"
            get = pb.GetRequest(namespace="acme", key="k")
            data.kv.Get(get, metadata=tokens.metadata("root"))
            stats = pb.GetStatsRequest()
            administration.admin.GetStats(stats, metadata=tokens.metadata("root"))
            for call, request in ((data.admin.GetStats, stats), (administration.kv.Get, get)):
                with pytest.raises(grpc.RpcError) as caught:
                    call(request, metadata=tokens.metadata("root"))
                require(refusal_of(caught.value), "UNIMPLEMENTED", "UNSUPPORTED")


def test_beyond_this_machine_nobody_is_served_by_accident(tmp_path):
    data = ["--data-dir", tmp_path / "data", "--listen", "0.0.0.0:0"]
    for flags in ([], ["--insecure-allow-anonymous"], ["--insecure-allow-plaintext"]):
        ended = run("serve", *data, *flags)
        assert ended.returncode == 78 and b"0.0.0.0:0" in ended.stderr, flags
        for name in (b"anonymous", b"plaintext"):
            flag = b"--insecure-allow-" + name
            assert (flag in ended.stderr) != (flag.decode() in flags)
    assert not os.path.exists(tmp_path / "data")
