//! `cloudskin get`: tables of resources.

use super::rows;
use crate::{
    exit::Failure,
    output::{self, ListFormat, Style},
    session::{Session, Target},
    when,
};
use api::{Kind, List, Resource, WatchEvent, WatchKind};
use clap::Args;
use orchestrator::client::{Client, Error};
use std::process::ExitCode;
use types::ErrorKind;

/// List resources, or show some
///
/// Kinds are service, site, block, cell, tissue, policy, model and decision; the plural is understood too.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  cloudskin get services
  cloudskin get service/street-counter -o yaml
  cloudskin get services -l app=video-analytics -o wide
  cloudskin get sites -w                          and what becomes of them
  cloudskin get decisions -l policy=street-counter-qos
  cloudskin get services -o name | xargs cloudskin delete")]
pub(crate) struct Get {
    /// `KIND`, `KIND NAME…` or `KIND/NAME…`
    #[arg(required = true, value_name = "KIND[/NAME]")]
    what: Vec<String>,
    /// Only those with these labels, such as app=video,tier=edge
    #[arg(short = 'l', long, value_parser = parse_selector, default_value = "", hide_default_value = true, value_name = "LABELS")]
    selector: Selector,
    /// Go on with every change
    #[arg(short, long)]
    watch: bool,
    /// How they are written
    #[arg(short, long, value_enum, default_value_t = ListFormat::Table, value_name = "FORMAT")]
    output: ListFormat,
}

/// Labels that must be there.
#[derive(Debug, Clone)]
pub(crate) struct Selector(Vec<(String, String)>);

pub(crate) fn parse_selector(text: &str) -> Result<Selector, String> {
    let pair = |part: &str| match part.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            Ok((key.trim().to_owned(), value.trim_start_matches('=').trim().to_owned()))
        }
        _ => Err(format!("`{part}` is not a label: write `app=video,tier=edge`")),
    };
    let parts = text.split(',').filter(|part| !part.trim().is_empty());
    parts.map(pair).collect::<Result<_, _>>().map(Selector)
}

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    All(Kind),
    Some(Vec<Target>),
}

pub(crate) async fn run(args: Get, session: &Session) -> anyhow::Result<ExitCode> {
    let wanted = parse(&args.what)?;
    let client = session.client()?;
    match (&wanted, args.watch) {
        (Wanted::All(kind), _) => {
            let list = client.list(*kind, &args.selector.0).await?;
            show_list(&args, &list, *kind)?;
            match args.watch {
                true => watch(&args, &client, *kind, None, &list).await,
                false => Ok(ExitCode::SUCCESS),
            }
        }
        (Wanted::Some(targets), false) => show_some(&args, &client, targets).await,
        (Wanted::Some(targets), true) => match targets.as_slice() {
            [one] => {
                let all = client.list(one.kind, &[]).await?;
                let List { resource_version, mut items } = all;
                items.retain(|item| item.metadata.name == one.name);
                let list = List { resource_version, items };
                show_list(&args, &list, one.kind)?;
                watch(&args, &client, one.kind, Some(&one.name), &list).await
            }
            _ => Err(Failure::error(ErrorKind::Invalid, "-w takes a kind or one resource")),
        },
    }
}

fn parse(what: &[String]) -> anyhow::Result<Wanted> {
    let [first, rest @ ..] = what else {
        return Err(Failure::error(ErrorKind::Invalid, "name a kind"));
    };
    if first.contains('/') {
        let targets: Result<_, Error> = what.iter().map(|text| text.parse()).collect();
        return Ok(Wanted::Some(targets?));
    }
    let kind: Kind = first.parse().map_err(Error::Kind)?;
    match rest.is_empty() {
        true => Ok(Wanted::All(kind)),
        false => {
            let target = |name: &String| format!("{}/{name}", kind.path()).parse();
            let targets: Result<_, Error> = rest.iter().map(target).collect();
            Ok(Wanted::Some(targets?))
        }
    }
}

fn show_list(args: &Get, list: &List, kind: Kind) -> anyhow::Result<()> {
    let shown = match (args.output, args.watch) {
        (ListFormat::Json, false) => output::json(list),
        (ListFormat::Json, true) => list.items.iter().map(output::json_line).collect(),
        (ListFormat::Table | ListFormat::Wide, false) if list.items.is_empty() => {
            output::complain(&format!("there are no {}s", kind.path()));
            return Ok(());
        }
        _ => show(args, &list.items, kind),
    };
    output::print(&shown)
}

async fn show_some(args: &Get, client: &Client, targets: &[Target]) -> anyhow::Result<ExitCode> {
    let mut found: Vec<Resource> = Vec::new();
    for target in targets {
        found.push(client.get(target.kind, &target.name).await?);
    }
    let shown = match (args.output, found.as_slice()) {
        (ListFormat::Json, [one]) => output::json(one),
        (ListFormat::Json, all) => output::json(&serde_json::json!({ "items": all })),
        // Kinds have columns of their own.
        (_, all) => all
            .chunk_by(|a, b| a.kind == b.kind)
            .map(|same| show(args, same, same[0].kind))
            .collect::<Vec<_>>()
            .join(if args.output == ListFormat::Yaml { "---\n" } else { "" }),
    };
    output::print(&shown)?;
    Ok(ExitCode::SUCCESS)
}

fn show(args: &Get, resources: &[Resource], kind: Kind) -> String {
    let name =
        |resource: &Resource| format!("{}/{}\n", resource.kind.path(), resource.metadata.name);
    match args.output {
        ListFormat::Name => resources.iter().map(name).collect(),
        ListFormat::Yaml => resources.iter().map(output::yaml).collect::<Vec<_>>().join("---\n"),
        ListFormat::Json => resources.iter().map(output::json).collect(),
        ListFormat::Table | ListFormat::Wide => {
            table(args, resources, kind).render(Style::for_stdout())
        }
    }
}

fn table(args: &Get, resources: &[Resource], kind: Kind) -> crate::table::Table {
    let wide = args.output == ListFormat::Wide;
    let mut table = rows::table(kind, wide);
    let now = when::now_ms();
    for resource in resources {
        table.row(rows::row(resource, wide, now));
    }
    table
}

/// Shows every change after the list until interrupted.
async fn watch(
    args: &Get,
    client: &Client,
    kind: Kind,
    name: Option<&String>,
    list: &List,
) -> anyhow::Result<ExitCode> {
    let widths = table(args, &list.items, kind).widths();
    let mut watch = client.watch(kind, list.resource_version);
    loop {
        let event = watch.next().await?;
        let metadata = &event.resource.metadata;
        let labels = &metadata.labels;
        let is_wanted = name.is_none_or(|name| *name == metadata.name)
            && args.selector.0.iter().all(|(key, value)| labels.get(key) == Some(value));
        if is_wanted {
            output::print(&show_event(args, &event, &widths))?;
        }
    }
}

fn show_event(args: &Get, event: &WatchEvent, widths: &[usize]) -> String {
    let resource = &event.resource;
    match args.output {
        ListFormat::Json => output::json_line(event),
        ListFormat::Yaml => format!("---\n{}", output::yaml(event)),
        ListFormat::Name => format!("{}/{}\n", resource.kind.path(), resource.metadata.name),
        ListFormat::Table | ListFormat::Wide => {
            let one = std::slice::from_ref(resource);
            let row = table(args, one, resource.kind).render_rows(widths, Style::for_stdout());
            match event.kind {
                WatchKind::Applied => row,
                WatchKind::Deleted => format!("{}   deleted\n", row.trim_end()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(words: &[&str]) -> anyhow::Result<Wanted> {
        parse(&words.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn kinds_and_names_are_understood_in_both_forms() {
        let target = |name: &str| Target { kind: Kind::Site, name: name.into() };

        assert_eq!(what(&["sites"]).unwrap(), Wanted::All(Kind::Site));
        let some = Wanted::Some(vec![target("a"), target("b")]);
        assert_eq!(what(&["sites", "a", "b"]).unwrap(), some);
        assert_eq!(what(&["site/a", "site/b"]).unwrap(), some);
        for wrong in [&["sits"][..], &["site/a", "b"], &["site", "A"], &["site", "a/b"]] {
            assert!(what(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn selectors_are_pairs() {
        assert_eq!(parse_selector("a=1, b==2,").unwrap().0.len(), 2);
        assert!(parse_selector("").unwrap().0.is_empty());
        assert!(parse_selector("a").is_err() && parse_selector("=1").is_err());
    }
}
