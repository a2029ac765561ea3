//! Programs that run once: one cell, started with `cloudskin run --site`, or the tissue of a
//! parallel program, with `cloudskin mpirun --sites` or `cloudskin run --cpus --site`.

use crate::{
    ApiError, Condition,
    mount::{self, Mount},
    onnx::{self, OnnxModel},
    service::Engine,
    tissue::Layout,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use types::{Bytes, Digest, Period};

/// What is wanted of a cell or a tissue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CellSpec {
    /// The module: `NAME.wasm@sha256:…`.
    pub module: String,
    /// The site that runs it; empty if the control plane is to choose.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub site: String,
    /// By what rule the control plane chooses where it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// Arguments after the module's name.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Folders of the site: (host path, guest path).
    #[serde(default)]
    pub dirs: Vec<(String, String)>,
    /// Objects that it sees as files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Models that it loads by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<OnnxModel>,
    /// Linear memory.
    #[serde(default = "default_memory")]
    pub memory: Bytes,
    /// How long it may run.
    #[serde(default)]
    pub deadline: Option<Period>,
    /// How the module is executed.
    #[serde(default)]
    pub engine: Engine,
    /// A snapshot to continue from, as a blob's digest.
    #[serde(default)]
    pub restore: Option<Digest>,
    /// What a tissue is made of; a cell has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
}

/// A rule by which the control plane chooses sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Each rank where most processors are free.
    Spread,
    /// On the fewest sites.
    Locality,
    /// On the fullest sites with room.
    BinPack,
    /// On the fewest sites, and together as soon as there is room.
    Compaction,
}

/// What a tissue is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Form {
    /// Ranks of an MPI program.
    Ranks(Ranks),
    /// Threads of a program with OpenMP.
    Threads(Threads),
}

/// Ranks of an MPI program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ranks {
    /// How many.
    pub count: u32,
    /// The sites that they begin at, in equal blocks; the tissue's own if there are none.
    #[serde(default)]
    pub sites: Vec<String>,
    /// Between checkpoints of all ranks, from which they go on when a site is lost.
    #[serde(default)]
    pub checkpoint_every: Option<Period>,
}

impl Ranks {
    /// So many, at one site.
    pub fn new(count: u32) -> Self {
        Self { count, sites: Vec::new(), checkpoint_every: None }
    }

    /// Where each begins: the number of its site among `sites`, of which the first have one more
    /// where they do not share alike.
    pub fn places(&self, sites: usize) -> Vec<u32> {
        let (count, sites) = (self.count as usize, sites.max(1));
        (0..sites)
            .flat_map(|site| {
                let share = count / sites + usize::from(site < count % sites);
                std::iter::repeat_n(site as u32, share)
            })
            .collect()
    }
}

/// Threads of a program with OpenMP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Threads {
    /// Processors; the one field that may be changed while it runs.
    pub cpus: u32,
    /// Most it may ever get, which is what `omp_get_max_threads` tells it; `cpus` when absent.
    #[serde(default)]
    pub max_cpus: Option<u32>,
    /// Whether its parallel regions get what is granted when they begin, up to `maxCpus`, where
    /// others leave processors idle.
    #[serde(default)]
    pub elastic: bool,
}

impl Threads {
    /// Most it may ever get.
    pub fn ceiling(&self) -> u32 {
        self.max_cpus.unwrap_or(self.cpus)
    }
}

/// Most ranks or processors of one tissue.
pub const TISSUE_MAX: u32 = 1024;

impl CellSpec {
    /// Checks what a type cannot.
    ///
    /// # Errors
    /// [`ApiError::Value`] names the field that is wrong, and what could stand there.
    pub(crate) fn check(&self, is_tissue: bool) -> Result<(), ApiError> {
        let wrong = |field: &'static str, reason: &str| {
            Err(ApiError::Value { field, reason: reason.to_owned() })
        };
        mount::check(&self.mounts)?;
        onnx::check(&self.models)?;
        let counts = 1..=TISSUE_MAX;
        if self.place.is_some() && !self.site.is_empty() {
            return wrong("place", "it is for who names no `site`: leave one of them out");
        }
        if self.place.is_none() && self.site.is_empty() {
            return wrong("site", "name one, or say by `place` how one is chosen");
        }
        match &self.form {
            None if is_tissue => wrong("form", "a tissue has `ranks` or `threads`"),
            Some(_) if !is_tissue => wrong("form", "a cell has none: apply a tissue"),
            Some(Form::Ranks(ranks)) if !counts.contains(&ranks.count) => {
                wrong("form.ranks.count", "give a number from 1 to 1024")
            }
            Some(Form::Ranks(ranks)) if ranks.sites.len() > ranks.count as usize => {
                wrong("form.ranks.sites", "there are more sites than ranks")
            }
            Some(Form::Ranks(ranks)) if has_twice(&ranks.sites) => {
                wrong("form.ranks.sites", "a site is named twice")
            }
            Some(Form::Ranks(ranks)) if self.place.is_some() && !ranks.sites.is_empty() => {
                wrong("form.ranks.sites", "`place` chooses them: leave one of them out")
            }
            Some(Form::Ranks(ranks)) if ranks.sites.first().is_some_and(|s| *s != self.site) => {
                wrong("form.ranks.sites", "the first is not `site`")
            }
            Some(Form::Ranks(Ranks { checkpoint_every: Some(period), .. }))
                if period.0 < std::time::Duration::from_secs(1) =>
            {
                wrong("form.ranks.checkpointEvery", "give at least `1s`")
            }
            Some(Form::Threads(threads)) if !counts.contains(&threads.cpus) => {
                wrong("form.threads.cpus", "give a number from 1 to 1024")
            }
            Some(Form::Threads(threads))
                if !(threads.cpus..=TISSUE_MAX).contains(&threads.ceiling()) =>
            {
                wrong("form.threads.maxCpus", "give a number from `cpus` to 1024")
            }
            _ => Ok(()),
        }
    }

    /// Whether another spec may be applied over this one while it runs: only the processors may
    /// differ.
    pub fn may_become(&self, other: &Self) -> bool {
        let mut same = self.clone();
        if let (Some(Form::Threads(ours)), Some(Form::Threads(theirs))) =
            (&mut same.form, &other.form)
        {
            ours.cpus = theirs.cpus;
            return same == *other && theirs.cpus <= theirs.ceiling();
        }
        same == *other
    }
}

impl CellStatus {
    /// The site that runs it, if one does: that of its first rank, the one that was chosen for it,
    /// or the one that its spec names.
    pub fn site<'a>(&'a self, spec: &'a CellSpec) -> Option<&'a str> {
        let ranks = self.ranks.as_ref();
        let first = ranks.and_then(|ranks| ranks.site(*ranks.wanted().places.first()?));
        let named = Some(spec.site.as_str()).filter(|site| !site.is_empty());
        first.or(self.site.as_deref()).or(named)
    }
}

fn has_twice(names: &[String]) -> bool {
    names.iter().enumerate().any(|(place, name)| names[..place].contains(name))
}

fn default_memory() -> Bytes {
    Bytes(4 << 30)
}

/// What is known of a cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CellStatus {
    /// Facts.
    pub conditions: Vec<Condition>,
    /// The site that was chosen for it, if its spec names none and it has no ranks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// Whether it runs now.
    pub running: bool,
    /// Its exit code, once ended.
    pub exit_code: Option<i32>,
    /// Why it ended, if not by itself.
    pub error: Option<String>,
    /// Processors that a program on threads has now: its own, and those that others leave idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<u32>,
    /// Where the ranks of an MPI program are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranks: Option<RanksStatus>,
    /// What it uses at each site, as of the site's last beat; shown, not stored.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub usage: BTreeMap<String, Usage>,
    /// Milliseconds since the Unix epoch.
    pub started: Option<u64>,
    /// Milliseconds since the Unix epoch.
    pub ended: Option<u64>,
}

/// What a program's process at a site uses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    /// Microseconds of processor time since it was started.
    pub cpu_us: u64,
    /// What is in memory.
    pub memory: Bytes,
    /// When the site said so, in milliseconds since the Unix epoch.
    pub at: u64,
}

/// Where the ranks of an MPI program are.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RanksStatus {
    /// The sites that have or had ranks; layouts have their numbers.
    pub sites: Vec<String>,
    /// Where the ranks are; number 0 before they begin.
    pub layout: Layout,
    /// Where they are on their way to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Layout>,
    /// The last decision to move ranks, by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// The highest number that a layout or a checkpoint got so far; none is used twice.
    pub issued: u64,
    /// Counts how often all ranks were begun or restored.
    pub incarnation: u32,
    /// Sites whose ranks have all ended.
    pub ended: BTreeMap<String, PartEnd>,
    /// What they go on from if a site is lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<TissueCheckpoint>,
}

/// How the ranks of one site ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PartEnd {
    /// The first exit code that is not 0, or 0.
    pub exit_code: Option<i32>,
    /// Why they ended, if not by themselves.
    pub error: Option<String>,
    /// They did nothing wrong: their worker or another site was lost.
    pub lost: bool,
}

/// All ranks at one moment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TissueCheckpoint {
    /// Milliseconds since the Unix epoch.
    pub at: u64,
    /// A blob of each site that had ranks.
    pub parts: Vec<Digest>,
    /// Their sizes together.
    pub size_bytes: u64,
}

impl RanksStatus {
    /// The number of a site, which it is given if it has none yet.
    pub fn number_of(&mut self, site: &str) -> u32 {
        let known = self.sites.iter().position(|known| known == site);
        known.unwrap_or_else(|| {
            self.sites.push(site.to_owned());
            self.sites.len() - 1
        }) as u32
    }

    /// The name of a site.
    pub fn site(&self, number: u32) -> Option<&str> {
        self.sites.get(number as usize).map(String::as_str)
    }

    /// The numbers of the sites that take part now: those with ranks, and those that get some.
    pub fn members(&self) -> Vec<u32> {
        let mut members = self.layout.sites();
        members.extend(self.next.iter().flat_map(Layout::sites));
        members.sort_unstable();
        members.dedup();
        members
    }

    /// Where the ranks are or, before they begin, will be.
    pub fn wanted(&self) -> &Layout {
        let begins = self.next.as_ref().filter(|_| self.layout.places.is_empty());
        begins.unwrap_or(&self.layout)
    }

    /// Ranks that are to begin for the first time at these sites, by their numbers.
    pub fn first(sites: Vec<String>, places: Vec<u32>) -> Self {
        let next = Some(Layout { number: 1, places });
        Self { sites, next, issued: 1, incarnation: 1, ..Self::default() }
    }

    /// Whether a site takes part now.
    pub fn involves(&self, site: &str) -> bool {
        self.members().into_iter().any(|number| self.site(number) == Some(site))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn checked(spec: serde_json::Value) -> Result<CellSpec, String> {
        let spec: CellSpec = serde_json::from_value(spec).map_err(|error| error.to_string())?;
        spec.check(spec.form.is_some()).map_err(|error| error.to_string())?;
        Ok(spec)
    }

    #[test]
    fn a_program_names_a_site_or_says_how_one_is_chosen() {
        let module = "a.wasm@sha256:0";
        let named = checked(json!({"module": module, "site": "edge"})).unwrap();
        let chosen = checked(json!({"module": module, "place": "bin-pack"})).unwrap();

        assert_eq!((named.place, chosen.place), (None, Some(Place::BinPack)));
        let written = serde_json::to_value(&named).unwrap();
        assert!(written.get("place").is_none() && written["site"] == "edge", "{written}");
        assert!(serde_json::to_value(&chosen).unwrap().get("site").is_none());
        let ranks = json!({"ranks": {"count": 2, "sites": ["edge"]}});
        for (wrong, words) in [
            (json!({"module": module}), "say by `place`"),
            (json!({"module": module, "site": "edge", "place": "spread"}), "leave one of them out"),
            (json!({"module": module, "place": "spread", "form": ranks}), "form.ranks.sites"),
            (json!({"module": module, "place": "best"}), "unknown variant"),
        ] {
            let refused = checked(wrong.clone()).unwrap_err();
            assert!(refused.contains(words), "{wrong}: {refused}");
        }
    }

    #[test]
    fn the_site_is_that_of_the_first_rank_the_chosen_or_the_named_one() {
        let spec = checked(json!({"module": "a", "site": "edge"})).unwrap();
        let mut status = CellStatus::default();
        assert_eq!(status.site(&spec), Some("edge"));
        status.site = Some("lab".into());
        assert_eq!(status.site(&spec), Some("lab"));
        status.ranks = Some(RanksStatus::first(vec!["a".into(), "b".into()], vec![1, 0]));
        assert_eq!(status.site(&spec), Some("b"));
        let chosen = checked(json!({"module": "a", "place": "spread"})).unwrap();
        assert_eq!(CellStatus::default().site(&chosen), None);
    }
}
