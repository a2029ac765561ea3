//! Columns for people.

use crate::output::{Style, tame};

/// Rows beneath their headings.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: Vec<String>) {
        let cells = cells.into_iter().map(|cell| match cell.is_empty() {
            true => "-".to_owned(),
            false => tame(&cell).replace(['\n', '\t'], " "),
        });
        self.rows.push(cells.collect());
    }

    /// The columns' widths, so that rows that come later stand below the same headings.
    pub(crate) fn widths(&self) -> Vec<usize> {
        let width = |index: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(index));
            let longest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            longest.max(self.headings[index].len())
        };
        (0..self.headings.len()).map(width).collect()
    }

    pub(crate) fn render(&self, style: Style) -> String {
        let widths = self.widths();
        let headings: Vec<_> = self.headings.iter().map(ToString::to_string).collect();
        let head = line(&headings, &widths, |word| style.strong(word));
        head + &self.render_rows(&widths, style)
    }

    pub(crate) fn render_rows(&self, widths: &[usize], style: Style) -> String {
        self.rows.iter().map(|row| line(row, widths, |word| style.by_state(word))).collect()
    }
}

/// Painted after it is padded, for colours take no room.
fn line(cells: &[String], widths: &[usize], paint: impl Fn(&str) -> String) -> String {
    let last = cells.len().saturating_sub(1);
    let padded = cells.iter().enumerate().map(|(index, cell)| {
        let width = widths.get(index).copied().unwrap_or(0);
        let gap = width.saturating_sub(cell.chars().count()) + 3;
        match index == last {
            true => paint(cell),
            false => paint(cell) + &" ".repeat(gap),
        }
    });
    padded.collect::<String>() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_longest_cell() {
        let mut table = Table::new(&["NAME", "STATE"]);
        table.row(vec!["street-counter".into(), "Ready".into()]);
        table.row(vec!["ä\x1b[31m".into(), String::new()]);

        let expected = "\
NAME             STATE
street-counter   Ready
ä\u{fffd}[31m           -
";
        assert_eq!(table.render(Style::plain()), expected);
    }
}
