//! The only printer: data goes to stdout, talk goes to stderr.
//!
//! A reader that went away (`| head`) is the end of the command, never a panic. Colours are left to
//! `anstream`, which drops them for pipes, `NO_COLOR` and `TERM=dumb`.

use std::io::{self, IsTerminal, Write};

use clap::ValueEnum;
use serde::Serialize;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};

/// How a command reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
}

/// The option of every command that reports.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct FormatArgs {
    /// How to report.
    #[arg(short = 'o', long, value_name = "FORMAT", default_value = "table")]
    pub format: Format,
}

/// Prints one line of data.
pub fn data(line: impl std::fmt::Display) {
    finish(writeln!(anstream::stdout(), "{line}"));
}

/// The same for who has something to end first: that nobody reads it ends nothing.
pub fn data_if_read(line: impl std::fmt::Display) {
    drop(writeln!(anstream::stdout(), "{line}"));
}

/// Prints data as it is, without a newline.
pub fn raw(bytes: &[u8]) {
    let mut stdout = io::stdout().lock();
    finish(stdout.write_all(bytes).and_then(|()| stdout.flush()));
}

/// Prints data as it is, and ends its last line where it does not itself.
pub fn lines(bytes: &[u8]) {
    raw(bytes);
    if !bytes.ends_with(b"\n") {
        raw(b"\n");
    }
}

/// Prints one line of talk, in one write: stderr has no buffer, and others may write to it too. That it
/// is closed is nobody's fault, so it is not reported.
pub fn talk(line: impl std::fmt::Display) {
    drop(anstream::stderr().write_all(format!("{line}\n").as_bytes()));
}

/// Clears the screen, where standard output is one that can be cleared.
pub fn clear() {
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    if io::stdout().is_terminal() && !is_dumb {
        raw(b"\x1b[2J\x1b[H");
    }
}

/// Prints a value as one JSON or YAML document.
pub fn document<T: Serialize>(format: Format, value: &T) {
    let text = match format {
        Format::Yaml => serde_yaml::to_string(value).expect("our reports have only text keys"),
        Format::Table | Format::Json => {
            let mut text =
                serde_json::to_string_pretty(value).expect("our reports have only text keys");
            text.push('\n');
            text
        }
    };
    raw(text.as_bytes());
}

/// Bytes in JSON: text, or hex where they are none.
pub(super) fn shown(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "hex": hex })
        }
    }
}

/// What somebody else said, harmless on a terminal: what is not printed as itself, such as a
/// control character or a mark that turns the direction of writing, is shown as its number.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let is_plain = matches!(c, '"' | '\'' | '\\') || c.escape_debug().count() == 1;
            let escaped = (!is_plain).then(|| c.escape_unicode());
            escaped.into_iter().flatten().chain(is_plain.then_some(c))
        })
        .collect()
}

/// The same of several lines, which stay lines.
pub(super) fn plain_lines(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(plain).collect();
    lines.join("\n")
}

/// Prints how a command failed: in words that may be another's.
pub fn failure(failure: &Failure) {
    if !failure.message.is_empty() {
        talk(format_args!("zmqnet: {}", plain_lines(&failure.message)));
    }
    if let Some(help) = &failure.help {
        talk(format_args!("  help: {help}"));
    }
}

/// Ends the process where stdout's reader has gone; any other write error is a failure.
fn finish(result: io::Result<()>) {
    let Err(error) = result else { return };
    if error.kind() == io::ErrorKind::BrokenPipe {
        std::process::exit(Exit::Done as i32);
    }
    talk(format_args!(
        "zmqnet: cannot write to standard output: {error}"
    ));
    std::process::exit(Exit::Failed as i32);
}
