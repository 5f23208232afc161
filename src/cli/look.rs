//! What the terminal behind standard error can show.

use std::io::IsTerminal;

use crate::diagnostics::render::Look;

/// Columns where nobody knows them.
const WIDTH: usize = 100;

/// Colours and box drawing for a terminal that has them, plain ASCII for everything else.
pub fn of_stderr() -> Look {
    let stderr = std::io::stderr();
    let variable = |name| std::env::var(name).unwrap_or_default();
    if !stderr.is_terminal() || variable("TERM") == "dumb" {
        return Look::PLAIN;
    }
    let size = rustix::termios::tcgetwinsize(&stderr);
    let columns = size.map_or(0, |size| usize::from(size.ws_col));
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .map(variable)
        .find(|value| !value.is_empty())
        .unwrap_or_default();
    Look {
        width: if columns == 0 { WIDTH } else { columns },
        color: variable("NO_COLOR").is_empty(),
        unicode: !matches!(locale.as_str(), "C" | "POSIX"),
    }
}
