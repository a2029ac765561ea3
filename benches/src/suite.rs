//! Which rows are measured, and what becomes of them.

use crate::{
    Context,
    machine::{self, Machine},
    report::{Met, Report, Row},
};
use std::path::PathBuf;

/// Rows that are measured together.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// Their names, without those of controls.
    pub rows: &'static [&'static str],
    /// Measures them.
    pub run: fn(&Context) -> anyhow::Result<Vec<Row>>,
}

/// What the command line says.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Only rows whose names contain one of these; all if empty.
    pub filters: Vec<String>,
    /// As little as possible, to see whether it works; judges nothing.
    pub quick: bool,
    /// Where the report goes, if not to `target/bench`.
    pub out: Option<PathBuf>,
    /// The program under test, if not the one that cargo builds.
    pub cloudskin: Option<PathBuf>,
}

/// All rows of an area.
#[derive(Debug, Clone, Copy)]
pub struct Suite {
    /// The area's name.
    pub area: &'static str,
    /// Its rows.
    pub groups: &'static [Group],
}

impl Suite {
    /// Measures what the options select, prints the table and writes the report.
    ///
    /// # Errors
    /// If the report cannot be written, or nothing is selected.
    pub fn run(&self, options: &Options) -> anyhow::Result<Report> {
        let context = Context::new(options)?;
        let mut report = Report { machine: Machine::now(), rows: Vec::new() };
        for group in self.groups.iter().filter(|group| options.selects_any(group.rows)) {
            eprintln!("measuring {} (load {:.2})", group.rows.join(", "), machine::load()[0]);
            let rows = (group.run)(&context).unwrap_or_else(|error| {
                let reason = format!("{error:#}");
                group.rows.iter().map(|name| Row::failed(name, &reason)).collect()
            });
            for mut row in rows.into_iter().filter(|row| options.selects(&row.name)) {
                if options.quick && row.value.is_some() {
                    row.met = Met::Inconclusive;
                }
                report.rows.push(row);
            }
        }
        anyhow::ensure!(!report.rows.is_empty(), "no row's name contains {:?}", options.filters);
        report.machine.finish();
        print!("\n{report}");
        let path = context.out().join(format!("{}.json", self.area));
        report.write(&path)?;
        println!("\nwritten to {}", path.display());
        Ok(report)
    }
}

impl Options {
    fn selects(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }

    fn selects_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| self.selects(name) || self.selects(&format!("{name}-control")))
    }
}
