//! What the process tells systemd, where that has started it and asked to be told.

use std::time::Duration;

use sd_notify::NotifyState;

/// The server answers.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// The configuration is read again; [`ready`] follows.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(moment) => tell(&[NotifyState::Reloading, moment]),
        Err(error) => tracing::debug!(%error, "the clock of systemd cannot be read"),
    }
}

/// The server is on its way out.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells that the process is alive, as long as `is_alive` says so, as often as is asked for; for ever
/// silent where nobody asks. Never resolves.
pub(super) async fn alive(is_alive: impl Fn() -> bool) {
    let Some(longest) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let mut beats = tokio::time::interval((longest / 2).max(Duration::from_millis(100)));
    loop {
        beats.tick().await;
        if is_alive() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}
