//! What telemetry keeps of the configuration, and what was configured at the start.

use parking_lot::RwLock;

use crate::config::Config;
use crate::service::{ConfigSource, Configured, Observation, restore_observation};
use crate::telemetry;

/// The configuration as the services ask for it.
#[derive(Debug)]
pub(super) struct Observed {
    configured: RwLock<Configured>,
    now: RwLock<Observation>,
}

impl Observed {
    pub(super) fn new(config: &Config) -> Observed {
        telemetry::set_slow_threshold(config.slow_threshold);
        let configured = configured(config);
        let observation = configured.observation.clone();
        Observed { configured: RwLock::new(configured), now: RwLock::new(observation) }
    }

    /// Puts in force what has changed in the configuration.
    pub(super) fn configured_anew(&self, old: &Config, new: &Config) {
        let mut observation = self.observation();
        if old.slow_threshold != new.slow_threshold {
            observation.slow_operation_threshold = new.slow_threshold;
        }
        if old.log_filter != new.log_filter {
            observation.log_filter.clone_from(&new.log_filter);
        }
        self.observe(observation);
        *self.configured.write() = configured(new);
    }

    /// Puts in force what was kept by an earlier run.
    pub(super) fn restore(&self, text: &[u8]) -> Result<(), String> {
        let observation = restore_observation(self.configured().observation, text)?;
        telemetry::check_filter(&observation.log_filter)?;
        self.observe(observation);
        Ok(())
    }
}

fn configured(config: &Config) -> Configured {
    let observation = Observation {
        slow_operation_threshold: config.slow_threshold,
        log_filter: config.log_filter.clone(),
    };
    Configured { settings: config.settings(), observation }
}

impl ConfigSource for Observed {
    fn configured(&self) -> Configured {
        self.configured.read().clone()
    }

    fn observation(&self) -> Observation {
        self.now.read().clone()
    }

    fn check_log_filter(&self, filter: &str) -> Result<(), String> {
        telemetry::check_filter(filter)
    }

    fn observe(&self, observation: Observation) {
        if let Err(error) = telemetry::refilter(&observation.log_filter) {
            tracing::error!(%error, "the log filter stays as it was");
        }
        telemetry::set_slow_threshold(observation.slow_operation_threshold);
        *self.now.write() = observation;
    }
}
