//! What the kernel says of hierarchies and of this process' places in them.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// A hierarchy of control groups that is mounted somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The controllers of a hierarchy of version 1; version 2 has none here.
    pub(crate) v1: Option<Vec<String>>,
    /// The group that is seen at `point`: not always the hierarchy's root.
    pub(crate) root: PathBuf,
    /// Where.
    pub(crate) point: PathBuf,
}

/// The group that this process is in, in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Membership {
    /// As in [`Mount`].
    pub(crate) v1: Option<Vec<String>>,
    /// From the hierarchy's root.
    pub(crate) group: PathBuf,
}

impl Mount {
    /// The group's folder, if it can be reached here.
    pub(crate) fn folder(&self, group: &Path) -> Option<PathBuf> {
        let below = group.strip_prefix(&self.root).ok()?;
        // A group outside of our namespace is shown as `/../other`.
        let is_plain = |part| matches!(part, std::path::Component::Normal(_));
        let folder = match below.as_os_str().is_empty() {
            true => self.point.clone(),
            false => self.point.join(below),
        };
        below.components().all(is_plain).then_some(folder)
    }
}

/// The hierarchies in `/proc/self/mountinfo`; lines of another form are passed by.
pub(crate) fn mounts(mountinfo: &str) -> Vec<Mount> {
    mountinfo.lines().filter_map(mount).collect()
}

fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (unescaped(before.next()?), unescaped(before.next()?));
    let mut after = after.split(' ');
    let v1 = match after.next()? {
        "cgroup" => Some(after.nth(1)?.split(',').map(ToOwned::to_owned).collect()),
        "cgroup2" => None,
        _ => return None,
    };
    (root.is_absolute() && point.is_absolute()).then_some(Mount { v1, root, point })
}

/// The groups in `/proc/self/cgroup`; lines of another form are passed by.
pub(crate) fn memberships(cgroup: &str) -> Vec<Membership> {
    cgroup.lines().filter_map(membership).collect()
}

fn membership(line: &str) -> Option<Membership> {
    // The path may hold colons.
    let (number, rest) = line.split_once(':')?;
    let (controllers, group) = rest.split_once(':')?;
    let v1 = match (number, controllers) {
        ("0", "") => None,
        _ => Some(controllers.split(',').map(ToOwned::to_owned).collect()),
    };
    group.starts_with('/').then(|| Membership { v1, group: group.into() })
}

/// Spaces, tabs, newlines and backslashes are written as three octal digits.
fn unescaped(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some(first) = rest.first() {
        let escaped = octal(rest);
        bytes.push(escaped.unwrap_or(*first));
        rest = &rest[if escaped.is_some() { 4 } else { 1 }..];
    }
    OsString::from_vec(bytes).into()
}

fn octal(text: &[u8]) -> Option<u8> {
    let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] = text else { return None };
    Some(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_the_mounts_of_a_hybrid_host() {
        let text = "24 1 0:22 / /proc rw - proc proc rw\n\
            33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 master:2 - cgroup cgroup rw,cpu,cpuacct\n\
            41 31 0:38 /box /mnt/with\\040space rw,relatime - cgroup2 cgroup2 rw\n";

        let mounts = mounts(text);

        assert_eq!(mounts.len(), 2);
        let v1 = mounts[0].v1.as_ref().unwrap();
        assert!(v1.contains(&"cpu".to_owned()) && v1.contains(&"cpuacct".to_owned()));
        assert_eq!(mounts[1].v1, None);
        assert_eq!(mounts[1].point, Path::new("/mnt/with space"));
        assert_eq!(mounts[1].folder(Path::new("/box/a")), Some("/mnt/with space/a".into()));
        assert_eq!(mounts[1].folder(Path::new("/other")), None);
        assert_eq!(mounts[0].folder(Path::new("/../other")), None);
    }

    #[test]
    fn reads_the_groups_of_a_process() {
        let text = "9:name=systemd:/\n4:cpu,cpuacct:/a:b\n0::/user.slice\nodd\n3:memory:relative\n";

        let memberships = memberships(text);

        assert_eq!(memberships.len(), 3);
        assert_eq!(memberships[1].group, Path::new("/a:b"));
        assert_eq!(memberships[1].v1, Some(vec!["cpu".to_owned(), "cpuacct".to_owned()]));
        assert_eq!(memberships[2], Membership { v1: None, group: "/user.slice".into() });
    }

    proptest! {
        #[test]
        fn any_text_is_read_without_harm(text in "[0-9 :/a-z,\\-\\\\\\n.]{0,200}|(?s).{0,200}") {
            for mount in mounts(&text) {
                prop_assert!(mount.point.is_absolute());
                for membership in memberships(&text) {
                    let folder = mount.folder(&membership.group);
                    prop_assert!(folder.is_none_or(|folder| folder.starts_with(&mount.point)));
                }
            }
        }

        #[test]
        fn odd_lines_hide_no_good_ones(odd in "[^\\n]{0,80}") {
            let good = "33 31 0:30 / /c rw - cgroup cgroup rw,cpu";
            let text = format!("{odd}\n{good}\n{odd}");
            let expected = mounts(good);
            prop_assert!(mounts(&text).contains(&expected[0]));
        }
    }
}
