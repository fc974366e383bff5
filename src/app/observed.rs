//! What telemetry keeps of the configuration, and what was configured at the start.

use parking_lot::RwLock;

use crate::config::Config;
use crate::service::{ConfigSource, Configured, Observation, restore_observation};
use crate::telemetry;

/// The configuration as the services ask for it.
#[derive(Debug)]
pub(super) struct Observed {
    configured: Configured,
    now: RwLock<Observation>,
}

impl Observed {
    pub(super) fn new(config: &Config) -> Observed {
        telemetry::set_slow_threshold(config.slow_threshold);
        let observation = Observation {
            slow_operation_threshold: config.slow_threshold,
            log_filter: config.log_filter.clone(),
        };
        let configured =
            Configured { settings: config.settings(), observation: observation.clone() };
        Observed { configured, now: RwLock::new(observation) }
    }

    /// Puts in force what was kept by an earlier run.
    pub(super) fn restore(&self, text: &[u8]) -> Result<(), String> {
        let observation = restore_observation(self.configured.observation.clone(), text)?;
        telemetry::check_filter(&observation.log_filter)?;
        self.observe(observation);
        Ok(())
    }
}

impl ConfigSource for Observed {
    fn configured(&self) -> Configured {
        self.configured.clone()
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
