//! `haul completions`

use std::io::Write;

use clap::Args;
use clap_complete::{Shell, generate};

use super::failure::Failure;
use crate::cli::output::Format;

/// Print a completion script for a shell
///
/// It asks no server. Put it where the shell looks for such scripts, and begin a new shell.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  haul completions bash > ~/.local/share/bash-completion/completions/haul
  haul completions zsh > ~/.zfunc/_haul      with ~/.zfunc in fpath
  haul completions fish > ~/.config/fish/completions/haul.fish")]
pub(super) struct Completions {
    /// The shell.
    shell: Shell,
}

impl Completions {
    pub(super) fn run(
        self,
        mut line: clap::Command,
        format: Format,
        out: &mut impl Write,
    ) -> Result<u8, Failure> {
        if format != Format::Table {
            return Err(Failure::Usage("a completion script has one format: leave -o out".to_owned()));
        }
        // Made in memory: the generator takes a closed pipe for a bug.
        let mut script = Vec::new();
        generate(self.shell, &mut line, "haul", &mut script);
        out.write_all(&script)?;
        Ok(0)
    }
}
