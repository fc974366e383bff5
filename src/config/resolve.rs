//! From everything that was written to what it means, with all complaints at once.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::Config;
use super::complaint::{Heap, Note, Source};
use super::environment::PORT;
use super::source::Written;
use super::{settings, suggest};

/// Notice and drain together may take this long, so that the last sync fits into 25 s.
const LEAVING_MAX: Duration = Duration::from_secs(24);

/// Where the last word on the address came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Address {
    Default,
    Port,
    Written,
}

/// Puts `written` in force in its order, the later outweighing the earlier. Every value is checked,
/// those that are outweighed too: a file with a mistake in it is a mistake.
pub(super) fn resolve(written: &[Written], complaints: &mut Heap, notes: &mut Vec<Note>) -> Config {
    let mut config = Config::default();
    let mut address = Address::Default;
    for Written { source, key, raw } in written {
        if key == PORT {
            match raw.number((1, u64::from(u16::MAX))) {
                Ok(port) => {
                    config.listen.set_port(port);
                    address = Address::Port;
                }
                Err(text) => complaints.add(source, text),
            }
            continue;
        }
        let Some(setting) = settings::named(key) else {
            let near = suggest::near(key, settings::all().map(|setting| setting.key));
            complaints.add(source, format!("is not a setting{near}"));
            continue;
        };
        if let Err(text) = (setting.read)(&mut config, raw) {
            complaints.add(source, text);
        } else if key == "listen" {
            address = Address::Written;
        }
    }
    if address == Address::Port {
        notes.push(listen_on_port(&mut config));
    }
    check_together(&config, complaints);
    config
}

/// `PORT` is how platforms say where they send traffic, which is from outside. It opens the server
/// to the network only where that is safe, or together with the word that this is meant.
fn listen_on_port(config: &mut Config) -> Note {
    let port = config.listen.port();
    let lacks = config.security.lacks();
    let text = if lacks.is_empty() {
        config.listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        format!("understood as listen = \"{}\": every address of this machine", config.listen)
    } else {
        config.listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let flags = lacks.iter().map(|(_, flag)| *flag).collect::<Vec<_>>().join(" and ");
        format!(
            "understood as listen = \"{}\": this machine only; with tokens_file and tls.cert_file, \
             or with {flags}, it would be every address",
            config.listen
        )
    };
    Note { source: Source::Variable("PORT".into()).to_string(), text }
}

/// Checks what only makes sense together.
fn check_together(config: &Config, complaints: &mut Heap) {
    config.security.check(config.listen, complaints);
    if config.wal_free_bytes_resume < config.wal_free_bytes_min {
        complaints.add(
            &Source::Together("wal.resume_free_bytes, wal.min_free_bytes"),
            "writes cannot go on with less space than they are refused with",
        );
    }
    if config.limits.drain_notice + config.limits.drain > LEAVING_MAX {
        complaints.add(
            &Source::Together("drain.notice, drain.timeout"),
            format!("together must be at most {} s", LEAVING_MAX.as_secs()),
        );
    }
}
