//! Makes the table of pages that `haul explain` shows.

use std::{env, fmt::Write, fs, io, path::PathBuf};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = fs::canonicalize("../docs/errors")?;
    println!("cargo:rerun-if-changed={}", folder.display());
    let mut pages: Vec<PathBuf> =
        fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<_>>()?;
    pages.retain(|page| page.extension().is_some_and(|ext| ext == "md") && !page.ends_with("README.md"));
    pages.sort();

    let mut table = String::from("const REASONS: &[(&str, &str)] = &[\n");
    for page in pages {
        let reason = page.file_stem().unwrap_or_default().to_string_lossy();
        writeln!(table, "    ({reason:?}, {:?}),", fs::read_to_string(&page)?)?;
    }
    table.push_str("];\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("reasons.rs"), table)?;
    Ok(())
}
