//! Uploads that nobody finishes: they are removed with their parts when they are old.

use super::{parts_prefix, remove_parts};
use crate::store::{HIDDEN_BUCKET, Tenant};
use geds::{Entry, Error, Listing, Page};
use std::{collections::BTreeSet, time::Duration};

/// What all uploads, and all their parts, begin with.
const UPLOADS: &str = "u/";
const PARTS: &str = "p/";

/// Removes the uploads of a tenant that began longer ago than `age_max`, and parts whose upload is gone; says how many
/// uploads there were.
///
/// # Errors
/// Those of the store; what was removed before stays so.
pub(crate) fn remove_abandoned(
    tenant: &Tenant,
    age_max: Duration,
    now: Duration,
) -> Result<u64, Error> {
    // Parts first: an upload is there before its parts are.
    let mut with_parts = BTreeSet::new();
    let delimited = Listing::prefix(PARTS).delimiter("/");
    each_page(tenant, delimited, |page| {
        with_parts.extend(page.prefixes);
        Ok(())
    })?;
    let (mut old, mut known) = (Vec::new(), BTreeSet::new());
    each_page(tenant, Listing::prefix(UPLOADS), |page| {
        for entry in page.entries {
            let Some(id) = id_of(&entry).map(str::to_owned) else { continue };
            known.insert(parts_prefix(&id));
            let began = Duration::from_millis(entry.stat.modified);
            if now.saturating_sub(began) > age_max {
                old.push((entry.key, entry.stat.version, id));
            }
        }
        Ok(())
    })?;
    let mut removed = 0;
    for (key, version, id) in old {
        match tenant.geds.delete(HIDDEN_BUCKET, &key, Some(version)) {
            Ok(true) => removed += 1,
            // Somebody ended it meanwhile.
            Ok(false) | Err(Error::Changed { .. }) => continue,
            Err(error) => return Err(error),
        }
        remove_parts(tenant, &id)?;
    }
    for prefix in with_parts.difference(&known) {
        tenant.geds.delete_prefix(HIDDEN_BUCKET, prefix)?;
    }
    Ok(removed)
}

fn id_of(entry: &Entry) -> Option<&str> {
    entry.key.rsplit_once('/').map(|(_, id)| id)
}

fn each_page(
    tenant: &Tenant,
    mut listing: Listing,
    mut act: impl FnMut(Page) -> Result<(), Error>,
) -> Result<(), Error> {
    loop {
        let page = match tenant.geds.list(HIDDEN_BUCKET, &listing) {
            Ok(page) => page,
            Err(Error::NoBucket { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let next = page.next.clone();
        act(page)?;
        match next {
            Some(next) => listing.after = Some(next),
            None => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use geds::{Config, Geds, Put};
    use std::time::UNIX_EPOCH;

    const DAY: Duration = Duration::from_secs(86_400);

    fn open(folder: &testkit::Folder) -> Tenant {
        let geds = Geds::open(Config::alone(folder.path())).expect("a store");
        Tenant::new("lab".into(), geds)
    }

    fn keys(tenant: &Tenant) -> Vec<String> {
        let page = tenant.geds.list(HIDDEN_BUCKET, &Listing::default()).expect("a list");
        page.entries.into_iter().map(|entry| entry.key).collect()
    }

    #[test]
    fn old_uploads_go_with_their_parts_also_after_a_restart() {
        let folder = testkit::Folder::in_memory();
        let tenant = open(&folder);
        let now = UNIX_EPOCH.elapsed().expect("a time");
        assert_eq!(remove_abandoned(&tenant, DAY, now).expect("nothing yet"), 0);
        tenant.make_hidden_bucket().expect("made");
        let put = |tenant: &Tenant, key: &str, bytes: &[u8]| {
            tenant.geds.put(HIDDEN_BUCKET, key, bytes, Put::default()).expect("stored");
        };
        put(&tenant, "u/photos/a1", b"");
        put(&tenant, "p/a1/00001", &[1; 70_000]);
        put(&tenant, "p/a1/00002", &[2; 5]);
        // The endpoint was killed after its upload was removed.
        put(&tenant, "p/b2/00001", &[3; 5]);
        assert_eq!(remove_abandoned(&tenant, DAY, now).expect("looked"), 0);
        assert_eq!(keys(&tenant), ["p/a1/00001", "p/a1/00002", "u/photos/a1"]);
        tenant.geds.persist_all().expect("kept");
        drop(tenant);

        let tenant = open(&folder);
        put(&tenant, "u/photos/c3", b"");
        let later = now + DAY / 2;
        assert_eq!(remove_abandoned(&tenant, DAY, later).expect("looked"), 0);
        let later = now + DAY * 2;
        assert_eq!(remove_abandoned(&tenant, DAY, later).expect("looked"), 2);
        assert_eq!(keys(&tenant), Vec::<String>::new());
        let usage = tenant.geds.usage().expect("told");
        assert_eq!(usage.objects, 0);
    }
}
