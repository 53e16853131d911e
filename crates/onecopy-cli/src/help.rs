//! Help texts at any width. In the source they are broken into lines like everything else there; shown, a
//! paragraph is one line that clap breaks where the terminal ends.

use clap::Command;

/// The same command, with its paragraphs and those of its subcommands made whole.
pub(crate) fn with_whole_paragraphs(command: Command) -> Command {
    let text = command.get_after_long_help().map(|text| whole_paragraphs(&text.to_string()));
    let command = match text {
        Some(text) => command.after_long_help(text),
        None => command,
    };
    command.mut_subcommands(with_whole_paragraphs)
}

/// A line that is neither empty nor indented belongs to the line above it if that is like it. Headings stand alone.
fn whole_paragraphs(text: &str) -> String {
    let is_prose = |line: &str| !line.is_empty() && !line.starts_with(' ');
    let mut whole = String::with_capacity(text.len());
    let mut continues = false;
    for line in text.lines() {
        if !whole.is_empty() {
            whole.push(if continues && is_prose(line) { ' ' } else { '\n' });
        }
        whole.push_str(line);
        continues = is_prose(line) && !line.ends_with(':');
    }
    whole
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::arguments::Arguments;

    #[test]
    fn paragraphs_become_lines_and_lists_stay() {
        let text = "One\nparagraph.\n\nAnother\none.\n\nExamples:\n  first\n  second\nand so on\nand on";
        let whole = "One paragraph.\n\nAnother one.\n\nExamples:\n  first\n  second\nand so on and on";
        assert_eq!(whole_paragraphs(text), whole);
    }

    fn assert_no_line_ends_early(command: &Command) {
        let text = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
        for (line, next) in text.lines().zip(text.lines().skip(1)) {
            let both_prose = [line, next].iter().all(|line| !line.is_empty() && !line.starts_with(' '));
            assert!(!both_prose || line.ends_with(':'), "{}: {line:?}, {next:?}", command.get_name());
        }
        command.get_subcommands().for_each(assert_no_line_ends_early);
    }

    #[test]
    fn no_command_has_ragged_help() {
        assert_no_line_ends_early(&with_whole_paragraphs(Arguments::command()));
    }
}
