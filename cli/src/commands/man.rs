//! `sluice man`: manual pages.

use std::path::{Path, PathBuf};

use clap::CommandFactory;

use crate::args::Cli;
use crate::error::CliError;
use crate::output;

/// Arguments of `sluice man`.
#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Folder to write them into, for example ~/.local/share/man/man1; made if need be
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

pub(crate) fn run(args: &ManArgs) -> Result<(), CliError> {
    let folder: &Path = &args.folder;
    std::fs::create_dir_all(folder).map_err(CliError::io("create", folder))?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(CliError::io("write into", folder))?;
    output::line(format!(
        "Manual pages are in {}; try `man {}`",
        folder.display(),
        folder.join("sluice.1").display()
    ));
    Ok(())
}
