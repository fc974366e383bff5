//! `serve` and `config`: what runs a server, and what it would run with.

use std::io::{self, Write};

use serde_json::json;

use super::args::{Config as Command, ConfigFlags, Serve};
use super::failure::{Failure, Outcome};
use super::output::{self, Output};
use crate::app;
use crate::config::{self, Complaints, Config, Note};
use crate::telemetry::LogFormat;

pub(super) fn serve(args: Serve) -> Outcome {
    let Serve { settings, print_config } = args;
    let (config, notes) = load(&settings)?;
    if print_config {
        return output::raw(config.to_toml().as_bytes());
    }
    tell(&notes, config.log_format);
    let again = move || read(&settings).map(|(config, _)| config);
    app::serve(config, again).map_err(|error| Failure::of_server(error.exit_code(), &error))
}

pub(super) fn config(command: &Command, output: Output) -> Outcome {
    match command {
        Command::Print(flags) => {
            let (config, notes) = load(flags)?;
            tell(&notes, LogFormat::Text);
            output::raw(config.to_toml().as_bytes())
        }
        Command::Check(flags) => {
            let (_, notes) = load(flags)?;
            match output {
                Output::Json => {
                    let note = |note: &Note| json!({"at": note.source, "text": note.text});
                    let notes: Vec<_> = notes.iter().map(note).collect();
                    output::json(&json!({"valid": true, "notes": notes}))
                }
                Output::Text => {
                    tell(&notes, LogFormat::Text);
                    output::line("the configuration is valid")
                }
            }
        }
    }
}

fn load(flags: &ConfigFlags) -> Outcome<(Config, Vec<Note>)> {
    Ok(read(flags)?)
}

fn read(flags: &ConfigFlags) -> Result<(Config, Vec<Note>), Complaints> {
    config::load(flags.flags(), flags.config.as_deref(), config::environment())
}

/// Tells notes on standard error, where the log lines will be, and in their format: at this moment
/// nothing logs yet.
fn tell(notes: &[Note], format: LogFormat) {
    let mut out = io::stderr().lock();
    for note in notes {
        let line = match format {
            LogFormat::Text => format!("pykv: {note}"),
            LogFormat::Json => json!({
                "level": "INFO",
                "fields": {"message": note.to_string()},
                "target": "pykv::config",
            })
            .to_string(),
        };
        // Nobody to tell is no reason not to go on.
        let _ = writeln!(out, "{line}");
    }
}
