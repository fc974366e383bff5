//! What is compared: how each server is found, started and known to be ready.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::Outcome;
use super::process::{Probe, Process};

/// A server of the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// This package's.
    Pykv,
    /// Stock tonic, default release build.
    EchoPlain,
    /// The layout of this package's server with nothing in it.
    EchoBare,
    /// Stock axum, default release build.
    EchoAxum,
    /// Redis without a log.
    Redis,
    /// Redis with its log synced each second.
    RedisEverysec,
    /// Redis with its log synced before each answer.
    RedisAlways,
    Memcached,
    Etcd,
}

impl Server {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Server::Pykv => "pykv",
            Server::EchoPlain => "plain echo",
            Server::EchoBare => "bare echo",
            Server::EchoAxum => "bare axum",
            Server::Redis => "redis",
            Server::RedisEverysec => "redis everysec",
            Server::RedisAlways => "redis always",
            Server::Memcached => "memcached",
            Server::Etcd => "etcd",
        }
    }

    /// Whether it is somebody else's program, which may be missing.
    pub(crate) fn is_peer(self) -> bool {
        !matches!(self, Server::Pykv | Server::EchoPlain | Server::EchoBare | Server::EchoAxum)
    }

    /// Starts it on a free port of this machine; its files go to `directory`.
    pub(crate) fn start(self, programs: &Programs, directory: &Path) -> Outcome<Process> {
        self.start_with(programs, directory, &[])
    }

    /// The same with more words on its command line.
    pub(crate) fn start_with(
        self,
        programs: &Programs,
        directory: &Path,
        words: &[&str],
    ) -> Outcome<Process> {
        let program = programs.of(self)?;
        let command = |address| {
            let mut command = self.command(program, address, directory);
            command.args(words);
            command
        };
        Process::start(command, self.probe(), directory)
    }

    fn command(self, program: PathBuf, address: SocketAddr, directory: &Path) -> Command {
        let mut command = Command::new(program);
        let port = address.port().to_string();
        command.current_dir(directory);
        match self {
            Server::Pykv => {
                let listen = address.to_string();
                command.args(["serve", "--listen", &listen, "--data-dir", "data"])
            }
            Server::EchoPlain | Server::EchoBare | Server::EchoAxum => {
                command.arg(address.to_string())
            }
            Server::Redis => redis(&mut command, &port, "no", "no"),
            Server::RedisEverysec => redis(&mut command, &port, "yes", "everysec"),
            Server::RedisAlways => redis(&mut command, &port, "yes", "always"),
            Server::Memcached => command
                .args(["-l", "127.0.0.1", "-p", &port, "-U", "0", "-m", "2048", "-t", "2"])
                // It refuses to run as root unless told to.
                .args(["-u", "root"]),
            Server::Etcd => etcd(&mut command, address),
        };
        command
    }

    fn probe(self) -> Probe {
        match self {
            Server::Pykv => Probe {
                ask: "GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n",
                good: "HTTP/1.1 200",
            },
            Server::EchoPlain | Server::EchoBare | Server::EchoAxum => Probe { ask: "", good: "" },
            Server::Redis | Server::RedisEverysec | Server::RedisAlways => {
                Probe { ask: "PING\r\n", good: "+PONG" }
            }
            Server::Memcached => Probe { ask: "version\r\n", good: "VERSION" },
            Server::Etcd => Probe {
                ask: "GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n",
                good: r#""health":"true""#,
            },
        }
    }
}

fn redis<'a>(
    command: &'a mut Command,
    port: &str,
    appendonly: &str,
    appendfsync: &str,
) -> &'a mut Command {
    command
        .args(["--port", port, "--bind", "127.0.0.1", "--save", ""])
        .args(["--appendonly", appendonly, "--appendfsync", appendfsync])
        .args(["--auto-aof-rewrite-percentage", "0"])
}

fn etcd(command: &mut Command, address: SocketAddr) -> &mut Command {
    // The port for its own kind is not used; any free one will do.
    let client = format!("http://{address}");
    let peer = "http://127.0.0.1:0";
    command
        .args(["--data-dir", "data", "--quota-backend-bytes", "4294967296"])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", peer])
}

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The folder of Cargo's output.
    target: PathBuf,
    /// The folder in it of the profile in which our own server is built.
    profile: String,
    /// Our own server.
    pykv: PathBuf,
}

impl Programs {
    /// Builds what is ours: the server and the bare echo in `profile`, the stock ones as plain
    /// releases.
    pub(crate) fn build(profile: &str) -> Outcome<Programs> {
        // The folder that Cargo gives to benches lies in its output folder.
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().ok_or("no target folder")?;
        let ours = ["--profile", profile, "--bin", "pykv", "--example", "echo_bare"];
        let stock = ["--profile", "release", "--example", "echo_plain", "--example", "echo_axum"];
        for what in [&ours[..], &stock] {
            let mut cargo = Command::new(env!("CARGO"));
            let root = env!("CARGO_MANIFEST_DIR");
            cargo.current_dir(root).args(["build", "--quiet", "--locked", "--target-dir"]);
            if !cargo.arg(target).args(what).status()?.success() {
                return Err(format!("cannot build: cargo build {}", what.join(" ")).into());
            }
        }
        let target = target.to_path_buf();
        let pykv = target.join(profile).join("pykv");
        Ok(Programs { target, profile: profile.to_owned(), pykv })
    }

    /// The same with another build of our own server.
    pub(crate) fn with_pykv(self, pykv: PathBuf) -> Programs {
        Programs { pykv, ..self }
    }

    /// Whether a server's program is on this machine.
    pub(crate) fn has(&self, server: Server) -> bool {
        self.of(server).is_ok()
    }

    fn of(&self, server: Server) -> Outcome<PathBuf> {
        let name = match server {
            Server::Pykv => return Ok(self.pykv.clone()),
            Server::EchoBare => {
                return Ok(self.target.join(&self.profile).join("examples/echo_bare"));
            }
            Server::EchoPlain => return Ok(self.target.join("release/examples/echo_plain")),
            Server::EchoAxum => return Ok(self.target.join("release/examples/echo_axum")),
            Server::Redis | Server::RedisEverysec | Server::RedisAlways => "redis-server",
            Server::Memcached => "memcached",
            Server::Etcd => "etcd",
        };
        let path = env::var_os("PATH").unwrap_or_default();
        let found =
            env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists());
        found.ok_or_else(|| format!("{name} is not installed").into())
    }
}
