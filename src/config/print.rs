//! The configuration in force as a file that says the same.

use std::fmt::Write;

use super::Config;
use super::settings::{self, Setting};

/// Columns of a line of comment.
const WIDTH: usize = 98;

/// Shape: every setting with a comment that tells its meaning, unit, default and variable; those of
/// a table under its heading.
pub(super) fn to_toml(config: &Config) -> String {
    let default = Config::default();
    let mut out = String::from("# The configuration of PyKV: every setting, as it is in force.\n");
    let mut table = "";
    for setting in settings::all() {
        let (parent, name) = setting.key.rsplit_once('.').unwrap_or(("", setting.key));
        if parent != table {
            table = parent;
            push(&mut out, format_args!("\n[{table}]\n"));
        }
        out.push('\n');
        comment(&mut out, setting, &default);
        push(&mut out, format_args!("{name} = {}\n", (setting.show)(config)));
    }
    out
}

fn comment(out: &mut String, setting: &Setting, default: &Config) {
    let mut column = 0;
    for word in setting.help.split(' ') {
        if column == 0 || column + 1 + word.len() > WIDTH {
            out.push_str(if column == 0 { "#" } else { "\n#" });
            column = 1;
        }
        push(out, format_args!(" {word}"));
        column += 1 + word.len();
    }
    let (value, variable) = ((setting.show)(default), setting.variable());
    push(out, format_args!("\n# Default: {value}. Variable: {variable}.\n"));
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a text grows");
}
