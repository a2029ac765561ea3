//! How much status pages may say at once.
//!
//! What they say goes to the control plane with the site's other metrics, in one message: if pages were too
//! long, all of it would be refused. So they have a part of it, which services share.

use super::pages::Told;
use std::collections::BTreeMap;

/// Most bytes of all pages together, of the 6 MiB that a message of metrics may have.
const ALL_MAX_BYTES: usize = 2 << 20;
/// Most lines of them, of the 100,000 numbers that are taken of one site at a time.
const LINES_MAX: usize = 20_000;
/// A line counts as no less than this: whoever keeps to the bytes keeps to the lines.
const LINE_MIN_BYTES: usize = ALL_MAX_BYTES / LINES_MAX + 1;
/// A line's quotes, braces, labels' names, number and time.
const AROUND_BYTES: usize = 90;

/// Leaves out what is too much, and answers how many numbers that were. Services that say little
/// leave their share to the others; of each the oldest numbers go first.
pub(super) fn fit(pages: &mut [Told]) -> u64 {
    let mut order: Vec<(usize, usize)> =
        pages.iter().enumerate().map(|(at, page)| (size(page), at)).collect();
    order.sort_unstable();
    let (mut left, mut others, mut dropped) = (ALL_MAX_BYTES, order.len(), 0);
    for (_, at) in order {
        dropped += shorten(&mut pages[at], left / others);
        left = left.saturating_sub(size(&pages[at]));
        others -= 1;
    }
    dropped
}

/// About the bytes that a page takes, rather too many.
fn size(page: &Told) -> usize {
    let values = page.values.iter();
    let values = values.map(|(name, numbers)| {
        // The line of its type is among them.
        let lines = 1 + numbers.past.len() + usize::from(numbers.now.is_some());
        lines * line(page, name)
    });
    line(page, "cloudskin_service_page_failures_total") + values.sum::<usize>()
}

fn line(page: &Told, name: &str) -> usize {
    let labels = page.tenant.len() + page.service.len() + page.cell.len();
    (AROUND_BYTES + name.len() + labels).max(LINE_MIN_BYTES)
}

/// Shortens a page to a size; that its fetches failed is always told.
fn shorten(page: &mut Told, most: usize) -> u64 {
    let mut over = size(page).saturating_sub(most);
    let lines: BTreeMap<String, usize> =
        page.values.keys().map(|name| (name.clone(), line(page, name))).collect();
    let mut past: Vec<(u64, String)> = Vec::new();
    for (name, numbers) in &page.values {
        past.extend(numbers.past.iter().map(|(at_ms, _)| (*at_ms, name.clone())));
    }
    past.sort_unstable();
    let mut dropped = 0;
    for (_, name) in past {
        if over == 0 {
            return dropped;
        }
        if let Some(numbers) = page.values.get_mut(&name) {
            // Those of a value are in the order of time.
            numbers.past.pop_front();
            over = over.saturating_sub(lines[&name]);
            dropped += 1;
        }
    }
    // Not even what holds now has room: whole values go, the last by name first.
    while over > 0
        && let Some((name, numbers)) = page.values.pop_last()
    {
        over = over.saturating_sub((1 + usize::from(numbers.now.is_some())) * lines[&name]);
        dropped += u64::from(numbers.now.is_some());
    }
    dropped
}

#[cfg(test)]
mod tests {
    use super::{super::pages::Numbers, *};

    fn page(service: &str, values: usize, past: u64) -> Told {
        let numbers = Numbers { past: (0..past).map(|at| (at, 1.0)).collect(), now: Some(1.0) };
        let values = (0..values).map(|at| (format!("value_{at}"), numbers.clone())).collect();
        let (tenant, cell) = ("default".into(), "1.1".into());
        Told { tenant, service: service.into(), cell, failures: 0, values }
    }

    fn lines(page: &Told) -> usize {
        page.values.values().map(|numbers| numbers.past.len() + 1).sum()
    }

    #[test]
    fn what_fits_is_told_whole() {
        let mut pages = vec![page("a", 32, 64), page("b", 1, 3)];
        let before = pages.clone();
        assert_eq!(fit(&mut pages), 0);
        assert_eq!(pages, before);
    }

    #[test]
    fn who_says_much_takes_nothing_from_others_and_keeps_what_is_new() {
        let mut pages: Vec<Told> = (0..100).map(|at| page(&format!("s{at}"), 32, 64)).collect();
        pages.push(page("modest", 4, 10));
        let modest = pages[100].clone();
        let all: usize = pages.iter().map(lines).sum();

        let dropped = fit(&mut pages);

        assert_eq!(pages[100], modest);
        let kept: usize = pages.iter().map(lines).sum();
        assert_eq!(dropped, (all - kept) as u64);
        assert!((10_000..=LINES_MAX).contains(&kept), "{kept}");
        assert!(pages.iter().map(size).sum::<usize>() <= ALL_MAX_BYTES);
        let one = &pages[0].values["value_0"];
        assert_eq!(one.past.back(), Some(&(63, 1.0)));
        assert_eq!(one.now, Some(1.0));
    }

    #[test]
    fn of_very_many_services_each_still_says_whether_its_page_fails() {
        let mut pages: Vec<Told> = (0..5000).map(|at| page(&format!("s{at}"), 32, 0)).collect();
        assert!(fit(&mut pages) > 0);
        assert_eq!(pages.len(), 5000);
        assert!(pages.iter().map(size).sum::<usize>() <= ALL_MAX_BYTES);
    }
}
