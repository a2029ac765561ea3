//! `cloudskin model rightsize`.

use super::{CatalogArgs, DataArgs, Which, evaluate::overlaps, train::examples};
use crate::{
    exit::Failure,
    output::{FormatArgs, Style},
    session::Session,
    table::Table,
};
use clap::Args;
use learning::Sizing;
use types::ErrorKind;

/// Play processor limits that follow a forecast
///
/// Prints how long limits would have been too low on the last part of the data, and how much of them
/// would not have been used, beside a static limit and a percentile of the last day. The model is one
/// of `cpu-max`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin model train --kind gbm --target cpu-max --horizon 10m --data traces/
  cloudskin model rightsize cpu-max --data traces/
  cloudskin model rightsize cpu-max/2 --data traces/ --headroom 0.2 -o json")]
pub(crate) struct Rightsize {
    /// The model, and which version of it
    #[arg(value_name = "NAME[/VERSION]")]
    which: Which,
    #[command(flatten)]
    data: DataArgs,
    /// The share that is given above what is expected
    #[arg(long, default_value_t = 0.1, value_name = "SHARE", value_parser = headroom)]
    headroom: f64,
    #[command(flatten)]
    catalog: CatalogArgs,
    #[command(flatten)]
    format: FormatArgs,
}

fn headroom(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=10.0).contains(share));
    share.ok_or_else(|| "write a number from 0 to 10".to_owned())
}

pub(crate) fn run(args: &Rightsize, session: &Session) -> anyhow::Result<()> {
    let (catalog, trace) = (args.catalog.open(session)?, args.data.read()?);
    let (name, version) = (&args.which.name, args.which.version(&catalog)?);
    let (record, model) = (catalog.record(name, version)?, catalog.model(name, version)?);
    let (examples, data) = examples(&trace, &record, args.data.test_share)?;
    if overlaps(&record, &data) {
        let text = format!(
            "`{name}/v{version}` was trained on some of this, and would set limits that it knew: give other data, \
             or a smaller --test-share"
        );
        return Err(Failure::error(ErrorKind::Invalid, text));
    }
    let (learn, _) = trace.split(1.0 - args.data.test_share);
    let found = learning::rightsize(&model, &learn, &examples, args.headroom)?;
    args.format.print(&found, &table(&found).render(Style::for_stdout()))
}

fn table(found: &[Sizing]) -> Table {
    let mut table = Table::new(&["LIMITS BY", "TOO LOW", "MEAN LIMIT", "NOT USED"]);
    for Sizing { by, short_share, limit, idle } in found {
        table.row(vec![
            (*by).to_owned(),
            format!("{:.2} %", 100.0 * short_share),
            format!("{limit:.2}"),
            format!("{idle:.2}"),
        ]);
    }
    table
}
