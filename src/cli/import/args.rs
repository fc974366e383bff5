//! The grammar of `import`.

use std::path::PathBuf;

use clap::Args;

/// What `import` takes.
#[derive(Debug, Args)]
#[command(after_long_help = "\
What a log comes to is what its users were told, not always what the original's own recovery makes of
it: a write replaces what was there also when it has expired since; a cleared namespace with a colon in
its name stays cleared; a record behind one that was cut short counts.

Times to live stay what they were: an entry expires when it would have. One that has expired by the
server's clock is left out and counted. One without a time to live gets that of its namespace, if the
namespace has a default; give it none, and it is kept for good.

Lines that cannot be used are reported by their numbers, the first ones as text and all of them with
--output json (one object a line, the summary last), and do not stop the import. Exits with 65 if there
were any; else with 1 if the server refused entries, as a full namespace does.")]
pub(in crate::cli) struct Import {
    /// Read this log of the original product, wal.log or one of its backups; "-" is standard input
    #[arg(long, value_name = "FILE", required = true)]
    pub(super) pykv_log: PathBuf,
    /// Where entries go that were written without a namespace
    #[arg(short, long, default_value = "default", value_name = "NAME")]
    pub(super) namespace: String,
    /// Put before the name of every namespace in the log
    #[arg(long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    pub(super) namespace_prefix: String,
    /// Only read the log and report; a server is asked for the time if it is there
    #[arg(long)]
    pub(super) dry_run: bool,
}
