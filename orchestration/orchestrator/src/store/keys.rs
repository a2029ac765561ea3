//! The file of S3 keys: read, and made or extended where a tenant has none.

use super::{Error, Result};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};
use types::Token;

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys<K> {
    keys: Vec<K>,
}

#[derive(Debug, Serialize)]
struct NewKey {
    access_key: String,
    secret: String,
    tenant: String,
}

/// Reads the keys; makes one for each of these tenants if there is no such file.
///
/// # Errors
/// [`Error::Disk`], [`Error::Keys`].
pub fn read_or_make(file: &Path, tenants: &[String]) -> Result<Vec<s3::Key>> {
    let disk = |source| Error::Disk { path: file.to_owned(), source };
    match fs::read_to_string(file) {
        Ok(text) => return parse(file, &text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(disk(error)),
    }
    let text = new_keys(tenants)?;
    write(file, &text).map_err(disk)?;
    parse(file, &text)
}

/// Writes the file whole or not at all.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let draft = file.with_extension(format!("draft-{}", types::random_id()));
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
    made.write_all(text.as_bytes())?;
    made.sync_all()?;
    fs::rename(&draft, file)
}

/// The same; a tenant that has no key yet gets one, behind those that are there.
///
/// # Errors
/// As [`read_or_make`].
pub(super) fn with_all(file: &Path, tenants: &[String]) -> Result<Vec<s3::Key>> {
    let keys = read_or_make(file, tenants)?;
    let missing = |tenant: &&String| !keys.iter().any(|key| key.tenant == **tenant);
    let missing: Vec<_> = tenants.iter().filter(missing).cloned().collect();
    if missing.is_empty() {
        return Ok(keys);
    }
    let disk = |source| Error::Disk { path: file.to_owned(), source };
    let there = fs::read_to_string(file).map_err(disk)?;
    let text = format!("{there}\n{}", new_keys(&missing)?);
    let keys = parse(file, &text)?;
    write(file, &text).map_err(disk)?;
    Ok(keys)
}

fn parse(file: &Path, text: &str) -> Result<Vec<s3::Key>> {
    let keys: std::result::Result<Keys<s3::Key>, _> = toml::from_str(text);
    let wrong =
        |error: toml::de::Error| Error::Keys { path: file.to_owned(), reason: error.to_string() };
    Ok(keys.map_err(wrong)?.keys)
}

fn new_keys(tenants: &[String]) -> Result<String> {
    let new = |tenant: &String| NewKey {
        access_key: tenant.clone(),
        secret: Token::random().reveal().to_owned(),
        tenant: tenant.clone(),
    };
    let keys = Keys { keys: tenants.iter().map(new).collect() };
    toml::to_string(&keys).map_err(|error| Error::Internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::Folder;

    #[test]
    fn each_tenant_gets_a_key_and_none_is_replaced() {
        let folder = Folder::new();
        let file = folder.path().join("keys.toml");
        let names = |tenants: &[&str]| tenants.iter().map(ToString::to_string).collect::<Vec<_>>();

        let first = read_or_make(&file, &names(&["default"])).unwrap();
        let more = with_all(&file, &names(&["default", "lab"])).unwrap();
        let again = with_all(&file, &names(&["lab"])).unwrap();

        let tenants: Vec<_> = more.iter().map(|key| key.tenant.as_str()).collect();
        assert_eq!(tenants, ["default", "lab"]);
        assert_eq!(more[0].secret, first[0].secret);
        assert_eq!(again.len(), 2);
        fs::write(&file, "keys = 1").unwrap();
        assert!(matches!(with_all(&file, &[]), Err(Error::Keys { .. })));
    }
}
