//! Where groups are made.

use crate::{
    Controller, Error, Limits, Missing, Result, Survey, Unavailable, delegation,
    files::{Files, Kernel},
    group::{Group, Place},
};
use std::{sync::Arc, time::Duration};

/// Longest name of [`Groups`] and of one group: with all that stands around them they are a name
/// of a folder.
const NAME_MAX_BYTES: usize = 64;
const ID_MAX_BYTES: usize = 128;

/// After this time an empty group of somebody else is nobody's. Whoever still wants it makes it
/// again.
const STRAY_AGE: Duration = Duration::from_secs(600);

/// The groups of one owner, below this process' own.
#[derive(Debug, Clone)]
pub struct Groups {
    files: Arc<dyn Files>,
    name: String,
    places: Vec<Place>,
    missing: Vec<Missing>,
}

impl Groups {
    /// Finds where this process may make groups. On hosts with version 2 it makes its own group
    /// ready for that, and moves the processes there, itself among them, into one below it.
    ///
    /// Owners of different names do not see each other's groups.
    ///
    /// # Errors
    /// [`Unavailable`] says why no controller can be used, and what to do. That some cannot is no
    /// error: see [`Groups::missing`].
    pub fn open(name: &str) -> std::result::Result<Self, Unavailable> {
        Self::with(Arc::new(Kernel), name)
    }

    pub(crate) fn with(
        files: Arc<dyn Files>,
        name: &str,
    ) -> std::result::Result<Self, Unavailable> {
        if !is_plain(name, NAME_MAX_BYTES) {
            return Err(Unavailable::Name(name.chars().take(80).collect()));
        }
        let mut survey = Survey::with(&*files);
        if let Some((folder, controllers)) = survey.v2() {
            let missing = delegation::hand_on(&*files, &folder, &controllers);
            let has = |found| missing.iter().all(|missing| missing.controller != found);
            survey.found.retain(|found| has(found.controller));
            survey.missing.extend(missing);
        }
        let mut places: Vec<Place> = Vec::new();
        for found in survey.found {
            // Version 1 may have several controllers in one hierarchy, version 2 has all in one.
            match places.iter_mut().find(|place| place.folder == found.folder) {
                Some(place) => place.controllers.push(found.controller),
                None => places.push(Place {
                    version: found.version,
                    folder: found.folder,
                    controllers: vec![found.controller],
                }),
            }
        }
        let groups = Self { files, name: name.to_owned(), places, missing: survey.missing };
        match Controller::LIMITING.iter().any(|controller| groups.has(*controller)) {
            true => Ok(groups),
            false => Err(Unavailable::Controllers(groups.missing)),
        }
    }

    /// The controllers that cannot be used.
    pub fn missing(&self) -> &[Missing] {
        &self.missing
    }

    /// Whether limits of this controller can be kept.
    pub fn has(&self, controller: Controller) -> bool {
        self.places.iter().any(|place| place.controllers.contains(&controller))
    }

    /// The same limits, but for those whose controller is missing.
    pub fn attainable(&self, limits: &Limits) -> Limits {
        limits.with_only(|controller| self.has(controller))
    }

    /// A group with these limits; the one of this identifier, if there is one.
    ///
    /// # Errors
    /// [`Error`] says which limit cannot be kept, or what the kernel refuses.
    pub fn group(&self, id: &str, limits: &Limits) -> Result<Group> {
        let folder = self.folder(id)?;
        check(limits, &self.missing)?;
        let mut places = self.places.clone();
        places.iter_mut().for_each(|place| place.folder.push(&folder));
        let group = Group { files: self.files.clone(), places, missing: self.missing.clone() };
        if let Err(error) = group.make().and_then(|()| group.set(limits)) {
            // Nobody is to find one that is half done; one that was there before has processes.
            let _ = group.try_remove();
            return Err(error);
        }
        Ok(group)
    }

    /// Removes the groups of this owner, but for those to keep, that have no processes: those
    /// that an owner left who was killed. Which it removed.
    ///
    /// Empty groups of other owners go as well once they are old: nobody may come back for them.
    pub fn sweep(&self, keep: &[&str]) -> Vec<String> {
        let own = prefix(&self.name);
        let mut removed = Vec::new();
        for place in &self.places {
            for (name, age) in self.files.groups(&place.folder).unwrap_or_default() {
                let id = name.strip_prefix(&own);
                let is_stray = id.is_none() && is_group(&name) && age > STRAY_AGE;
                if !is_stray && id.is_none_or(|id| keep.contains(&id)) {
                    continue;
                }
                // One with processes stays.
                let gone = self.files.remove(&place.folder.join(&name)).is_ok();
                removed.extend(id.filter(|_| gone).map(str::to_owned));
            }
        }
        removed.sort();
        removed.dedup();
        removed
    }

    fn folder(&self, id: &str) -> Result<String> {
        match is_plain(id, ID_MAX_BYTES) {
            true => Ok(format!("{}{id}", prefix(&self.name))),
            false => Err(Error::Id(id.chars().take(80).collect())),
        }
    }
}

/// Names hold no dot, so that none is the beginning of another.
fn prefix(name: &str) -> String {
    format!("cloudskin.{name}.")
}

/// Whether the name is one of a group that is made here.
fn is_group(name: &str) -> bool {
    let parts = name.strip_prefix("cloudskin.").and_then(|rest| rest.split_once('.'));
    parts.is_some_and(|(name, id)| is_plain(name, NAME_MAX_BYTES) && is_plain(id, ID_MAX_BYTES))
}

fn is_plain(name: &str, bytes_max: usize) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !name.is_empty() && name.len() <= bytes_max && name.bytes().all(allowed)
}

/// Whether all controllers are there that these limits need.
pub(crate) fn check(limits: &Limits, missing: &[Missing]) -> Result<()> {
    for (controller, limit) in limits.needs() {
        if let Some(missing) = missing.iter().find(|missing| missing.controller == controller) {
            return Err(Error::Missing { limit, missing: missing.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;

    const ALL: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

    fn open(model: &Arc<Model>) -> std::result::Result<Groups, Unavailable> {
        Groups::with(model.clone(), "edge")
    }

    fn limits() -> Limits {
        Limits {
            cpu_share: Some(1000),
            cpu_max: Some(500),
            cpus: Some("0-1".parse().unwrap()),
            memory_bytes: Some(1 << 30),
            tasks_max: Some(100),
        }
    }

    #[test]
    fn processes_are_moved_aside_before_their_group_is_divided() {
        let model = Arc::new(Model::v2("/user/run.scope", &ALL, &[10, 11, 12]));
        model.fork_when_moved(3);

        let groups = open(&model).unwrap();
        let group = groups.group("t-a", &limits()).unwrap();
        group.add(11).unwrap();

        assert!(groups.missing().is_empty());
        assert!(model.processes("user/run.scope").is_empty());
        let aside = model.processes("user/run.scope/cloudskin.self");
        assert_eq!(aside, [10, 12, 1010, 1011, 1012], "those that start meanwhile too");
        let file = |name: &str| model.file(&format!("user/run.scope/cloudskin.edge.t-a/{name}"));
        assert_eq!(file("cpu.weight").as_deref(), Some("39"));
        assert_eq!(file("cpu.max").as_deref(), Some("50000 100000"));
        assert_eq!(file("cpuset.cpus").as_deref(), Some("0-1"));
        assert_eq!(file("memory.max").as_deref(), Some("1073741824"));
        assert_eq!(file("pids.max").as_deref(), Some("100"));
        group.set(&Limits::default()).unwrap();
        assert_eq!(file("cpu.weight").as_deref(), Some("100"));
        assert_eq!(file("cpuset.cpus").as_deref(), Some("\n"));
        assert_eq!(file("memory.max").as_deref(), Some("max"));
    }

    #[test]
    fn who_was_moved_aside_divides_the_same_group() {
        let model = Arc::new(Model::v2("/run.scope", &ALL, &[10]));
        open(&model).unwrap();
        model.live_in("run.scope/cloudskin.self");

        open(&model).unwrap().group("t-b", &Limits::default()).unwrap();

        assert!(model.has("run.scope/cloudskin.edge.t-b"));
        assert!(!model.has("run.scope/cloudskin.self/cloudskin.self"));
    }

    #[test]
    fn the_root_may_hold_processes_and_groups() {
        let model = Arc::new(Model::v2("/", &ALL, &[1, 10]));

        open(&model).unwrap().group("t-a", &limits()).unwrap().add(10).unwrap();

        assert_eq!(model.processes(""), [1]);
        assert_eq!(model.processes("cloudskin.edge.t-a"), [10]);
        assert!(!model.has("cloudskin.self"));
    }

    #[test]
    fn processes_that_cannot_be_seen_are_not_taken_for_ourselves() {
        let model = Arc::new(Model::v2("/box", &ALL, &[0, 10]));

        let error = open(&model).unwrap_err();

        assert!(error.to_string().contains("cannot be seen from here"), "{error}");
        assert_eq!(model.processes("box"), [0], "it was not moved");
    }

    #[test]
    fn processes_that_multiply_do_not_hold_it_up_for_ever() {
        let model = Arc::new(Model::v2("/box", &ALL, &[10]));
        model.fork_when_moved(u32::MAX);

        let error = open(&model).unwrap_err();

        assert!(error.to_string().contains("multiply"), "{error}");
    }

    #[test]
    fn a_limit_without_its_controller_is_refused_by_name() {
        let model = Arc::new(Model::v2("/run.scope", &["memory", "pids"], &[10]));

        let groups = open(&model).unwrap();

        let missing: Vec<_> = groups.missing().iter().map(|missing| missing.controller).collect();
        assert_eq!(missing, [Controller::Cpu, Controller::Cpuset]);
        let error = groups.group("t-a", &limits()).unwrap_err().to_string();
        assert!(error.starts_with("`cpu_share` cannot be kept: cpu is not granted to"), "{error}");
        assert!(error.contains("Delegate=yes"), "{error}");
        assert!(!model.has("run.scope/cloudskin.edge.t-a"));
        let attainable = groups.attainable(&limits());
        assert_eq!((attainable.cpu_share, attainable.tasks_max), (None, Some(100)));
        groups.group("t-a", &attainable).unwrap();
    }

    #[test]
    fn who_may_not_write_is_told_what_to_do() {
        for path in ["user.slice", "user.slice/cgroup.procs"] {
            let model = Arc::new(Model::v2("/user.slice", &ALL, &[10]));
            model.make_read_only(path);

            let error = open(&model).unwrap_err().to_string();

            assert!(error.contains("cpu is not delegated to this user"), "{error}");
            assert!(error.contains("systemd-run --user --scope -p Delegate=yes"), "{error}");
            assert_eq!(model.processes("user.slice"), [10]);
        }
    }

    #[test]
    fn processors_that_are_not_there_are_refused() {
        let model = Arc::new(Model::v2("/", &ALL, &[10]));
        let limits = Limits { cpus: Some("3-4".parse().unwrap()), ..Limits::default() };

        let error = open(&model).unwrap().group("t-a", &limits).unwrap_err();

        assert!(matches!(error, Error::Cpus { .. }), "{error}");
        assert!(error.to_string().contains("`0-3`"), "{error}");
        assert!(!model.has("cloudskin.edge.t-a"), "nothing half done is left");
    }

    #[test]
    fn a_sweep_takes_what_is_empty_and_ours_and_not_to_be_kept() {
        let model = Arc::new(Model::v2("/", &ALL, &[10]));
        let groups = open(&model).unwrap();
        for id in ["empty", "used", "kept"] {
            groups.group(id, &Limits::default()).unwrap();
        }
        groups.group("used", &Limits::default()).unwrap().add(10).unwrap();
        model.make(std::path::Path::new("/sys/fs/cgroup/cloudskin.self")).unwrap();
        let other = Groups::with(model.clone(), "edge-2").unwrap();
        other.group("empty", &Limits::default()).unwrap();

        assert_eq!(groups.sweep(&["kept"]), ["empty"]);

        assert!(model.has("cloudskin.edge.used") && model.has("cloudskin.edge.kept"));
        assert!(model.has("cloudskin.edge-2.empty"), "somebody may be about to use it");
        model.end(10);
        model.let_groups_age(STRAY_AGE * 2);
        assert_eq!(groups.sweep(&[]), ["kept", "used"]);
        assert!(!model.has("cloudskin.edge-2.empty") && model.has("cloudskin.self"));
    }

    #[test]
    fn a_group_with_processes_is_not_removed_and_one_that_is_gone_is_no_error() {
        let model = Arc::new(Model::v2("/", &ALL, &[10]));
        let group = open(&model).unwrap().group("t-a", &Limits::default()).unwrap();
        group.add(10).unwrap();

        assert!(matches!(group.remove(), Err(Error::Busy { .. })));
        assert!(matches!(group.add(11), Err(Error::Ended(11))));
        model.end(10);
        group.remove().unwrap();
        group.remove().unwrap();
    }

    #[test]
    fn names_cannot_lead_elsewhere() {
        let model = Arc::new(Model::v2("/", &ALL, &[10]));
        for wrong in ["", "..", "a/b", "a.b", "a b", "ä"] {
            assert!(Groups::with(model.clone(), wrong).is_err(), "{wrong}");
            let groups = open(&model).unwrap();
            assert!(matches!(groups.group(wrong, &Limits::default()), Err(Error::Id(_))));
        }
        assert!(open(&model).unwrap().group(&"x".repeat(129), &Limits::default()).is_err());
    }
}
