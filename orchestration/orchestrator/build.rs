//! Takes in the dashboard, if it was built (`make web`): one script and one style.

use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or(io::ErrorKind::NotFound)?);
    let built = PathBuf::from("../../web/dist");
    println!("cargo::rerun-if-changed={}", built.display());
    for name in ["dashboard.js", "dashboard.css"] {
        let bytes = match fs::read(built.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        fs::write(out.join(name), bytes)?;
    }
    Ok(())
}
