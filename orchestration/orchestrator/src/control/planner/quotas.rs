//! What tenants may have: `quotas.yaml` in the data folder, read at the start.

use super::super::{Error, Result};
use decide::plan::Quotas;
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// The file's name.
const NAME: &str = "quotas.yaml";

/// Far more than a file by hand.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the quotas; without a file nobody has a limit.
pub(super) fn read(folder: &Path) -> Result<Quotas> {
    let path = folder.join(NAME);
    let wrong = |reason: String| Error::Quotas { path: path.clone(), reason };
    let mut text = String::new();
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Quotas::default()),
        opened => opened.and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text)),
    }
    .map_err(|error| wrong(error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(wrong(format!("it is larger than {MAX_BYTES} bytes")));
    }
    let options = serde_saphyr::options! { with_snippet: false };
    let quotas: Quotas = serde_saphyr::from_str_with_options(&text, options)
        .map_err(|error| wrong(error.to_string()))?;
    for tenant in quotas.tenants.keys() {
        types::check_name(tenant).map_err(|error| wrong(format!("tenant `{tenant}`: {error}")))?;
    }
    Ok(quotas)
}

#[cfg(test)]
mod tests {
    use super::*;
    use decide::plan::Quota;
    use types::{Bytes, Cpu};

    #[test]
    fn quotas_are_read_and_a_broken_file_is_refused_with_the_reason() {
        let folder = tempfile::TempDir::new().unwrap();
        let with = |text: &str| {
            std::fs::write(folder.path().join(NAME), text).unwrap();
            read(folder.path())
        };
        assert_eq!(read(folder.path()).unwrap(), Quotas::default(), "there is no file");

        let quotas =
            with("default: {cpu: 4}\ntenants:\n  lab: {cpu: 64, memory: 8Gi, tissues: 9}\n");

        let quotas = quotas.unwrap();
        assert_eq!(quotas.default, Quota { cpu: Some(Cpu(4000)), ..Quota::default() });
        let lab = &quotas.tenants["lab"];
        assert_eq!((lab.memory, lab.tissues), (Some(Bytes(8 << 30)), Some(9)));
        for (text, words) in [
            ("tenants: [1]", "mapping"),
            ("default: {cpus: 4}", "cpus"),
            ("default: {cpu: many}", "500m"),
            ("tenants: {Lab: {}}", "tenant `Lab`"),
            (&format!("# {}", " ".repeat(1 << 20)), "larger"),
        ] {
            let refused = types::chain(&with(text).unwrap_err());
            assert!(refused.contains(words) && refused.contains(NAME), "{words}: {refused}");
        }
    }
}
