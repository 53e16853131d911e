//! What goes to standard output: lines for people, JSON for programs. A reader that leaves ends the command quietly.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use serde::Serialize;

use crate::failure::Failure;

/// Room for a burst of messages before it is written: what a pipe takes at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Standard output, written in bursts; call [`Output::flush`] before waiting for anything.
pub(crate) struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { stdout: BufWriter::with_capacity(BUFFER_BYTES, io::stdout().lock()) }
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes).map_err(Failure::output)
    }

    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.write(line.as_bytes())?;
        self.write(b"\n")
    }

    /// One JSON document in one line.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(&mut self.stdout, value).map_err(|error| Failure::output(error.into()))?;
        self.write(b"\n")
    }

    /// One JSON document, laid out for reading.
    pub(crate) fn json_document(&mut self, value: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer_pretty(&mut self.stdout, value)
            .map_err(|error| Failure::output(error.into()))?;
        self.write(b"\n")
    }

    /// Rows under faint headings.
    pub(crate) fn rows(&mut self, headings: &[&str], rows: &[Vec<String>]) -> Result<(), Failure> {
        let colour = stdout_has_colour();
        for (index, line) in table(headings, rows).iter().enumerate() {
            self.line(&styled(line, Style::Faint, colour && index == 0))?;
        }
        Ok(())
    }

    /// What there is of one thing: a line for each label, the first of which names it.
    pub(crate) fn fields(&mut self, fields: &[(&str, String)]) -> Result<(), Failure> {
        let width = fields.iter().map(|(label, _)| label.len()).max().unwrap_or(0);
        for (index, (label, value)) in fields.iter().enumerate() {
            let value = styled(value, Style::Strong, index == 0 && stdout_has_colour());
            self.line(&format!("{label:<width$}  {value}"))?;
        }
        Ok(())
    }

    /// Rows after an empty line; `empty` if there are none.
    pub(crate) fn section(
        &mut self,
        headings: &[&str],
        rows: &[Vec<String>],
        empty: &str,
    ) -> Result<(), Failure> {
        self.line("")?;
        if rows.is_empty() {
            return self.line(&styled(empty, Style::Faint, stdout_has_colour()));
        }
        self.rows(headings, rows)
    }

    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        // `BufWriter` flushes the line buffer of standard output too.
        self.stdout.flush().map_err(Failure::output)
    }
}

/// What a `list` command prints: one JSON array, or a row for each, or on standard error that nobody has one open.
pub(crate) fn list<Item: Serialize>(
    json: bool,
    kind: &str,
    items: &[Item],
    headings: &[&str],
    cells: impl Fn(&Item) -> Vec<String>,
) -> Result<(), Failure> {
    let mut output = Output::new();
    if json {
        output.json_document(&items)?;
    } else if items.is_empty() {
        eprintln!("onecopy: no {kind}: nobody has one open");
    } else {
        output.rows(headings, &items.iter().map(cells).collect::<Vec<_>>())?;
    }
    output.flush()
}

/// What an `info` command prints: one JSON document, or what `print` makes of it.
pub(crate) fn info<Details: Serialize>(
    json: bool,
    details: &Details,
    print: impl FnOnce(&Details, &mut Output) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut output = Output::new();
    if json {
        output.json_document(details)?;
    } else {
        print(details, &mut output)?;
    }
    output.flush()
}

/// How text is shown on a terminal; as it is where there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    Strong,
    Faint,
    Good,
    Bad,
}

/// Text in a style, if `is_terminal`.
pub(crate) fn styled(text: &str, style: Style, is_terminal: bool) -> String {
    if !is_terminal {
        return text.to_owned();
    }
    let code = match style {
        Style::Strong => "1",
        Style::Faint => "2",
        Style::Good => "32",
        Style::Bad => "31",
    };
    format!("\x1b[{code}m{text}\x1b[0m")
}

/// Whether standard output is a terminal that may be coloured.
pub(crate) fn stdout_has_colour() -> bool {
    io::stdout().is_terminal() && colour_is_welcome()
}

/// The same of standard error.
pub(crate) fn stderr_has_colour() -> bool {
    io::stderr().is_terminal() && colour_is_welcome()
}

fn colour_is_welcome() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Rows under headings, each column as wide as its widest cell. The last column is not padded.
fn table(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(headings.get(column).map(|heading| heading.chars().count())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    std::iter::once(line(headings.to_vec()))
        .chain(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_characters() {
        let rows = vec![vec!["é".to_owned(), "1".to_owned()], vec!["long".to_owned(), "22".to_owned()]];
        assert_eq!(table(&["A", "NUMBER"], &rows), ["A     NUMBER", "é     1", "long  22"]);
    }
}
