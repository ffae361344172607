//! The first page of help: commands in groups, by what one wants.

use std::fmt::Write;

use clap::Command;

/// Headings, with the names of the commands below them. A name without a command is passed over.
const GROUPS: [(&str, &[&str]); 5] = [
    ("Make batches", &["plan", "start", "upload", "retry", "redecode"]),
    ("Steer them", &["pause", "resume", "stop", "delete"]),
    ("Look at them", &["list", "get", "watch", "report", "items", "attempts", "results"]),
    ("Look after upstreams and datasets", &["upstreams", "missing"]),
    ("Other", &["explain", "completions"]),
];

/// The command line with its commands in groups: clap puts arguments below headings, and commands in one list.
pub(super) fn grouped(command: Command) -> Command {
    let page = page(&command);
    command.help_template(page)
}

/// The commands that no group has.
#[cfg(test)]
pub(super) fn ungrouped(command: &Command) -> Vec<String> {
    let names = command.get_subcommands().map(Command::get_name);
    let ungrouped = names.filter(|name| !GROUPS.iter().any(|(_, group)| group.contains(name)));
    ungrouped.map(str::to_owned).collect()
}

fn page(command: &Command) -> String {
    let styles = command.get_styles();
    let (header, literal) = (styles.get_header(), styles.get_literal());
    let mut page = "{about-with-newline}\n{usage-heading} {usage}\n".to_owned();
    for (heading, names) in GROUPS {
        // Writing to text does not fail.
        let _ = writeln!(page, "\n{header}{heading}:{header:#}");
        for command in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(page, "  {literal}{:<11}{literal:#}  {about}", command.get_name());
        }
    }
    let _ = write!(page, "\n{header}Options:{header:#}\n{{options}}{{after-help}}");
    page
}
