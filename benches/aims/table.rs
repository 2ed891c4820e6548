//! The table that is printed.

use std::fmt;

/// One aim.
pub(crate) struct Row {
    pub(crate) aim: String,
    /// What is aimed at, with its unit.
    pub(crate) limit: String,
    pub(crate) relay: String,
    /// The bare server in the same run; empty where it has no counterpart.
    pub(crate) bare: String,
    /// Relay to bare.
    pub(crate) ratio: Option<f64>,
    /// `None` where nothing is aimed at.
    pub(crate) met: Option<bool>,
}

impl Row {
    fn cells(&self) -> [String; COLUMNS] {
        [
            self.aim.clone(),
            self.limit.clone(),
            self.relay.clone(),
            self.bare.clone(),
            self.ratio.map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            match self.met {
                Some(true) => "ok",
                Some(false) => "MISSED",
                None => "",
            }
            .to_owned(),
        ]
    }
}

const COLUMNS: usize = 6;
const HEAD: [&str; COLUMNS] = ["what", "aim", "relay", "bare hyper", "ratio", ""];

/// All of them, in Markdown.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    pub(crate) fn add(&mut self, row: Row) {
        self.0.push(row);
    }

    pub(crate) fn extend(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.0.extend(rows);
    }

    /// How many aims were missed.
    pub(crate) fn missed(&self) -> usize {
        self.0.iter().filter(|row| row.met == Some(false)).count()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![HEAD.map(str::to_owned)];
        lines.extend(self.0.iter().map(Row::cells));
        let mut widths = [0; COLUMNS];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        writeln!(f)?;
        for (number, line) in lines.iter().enumerate() {
            for (cell, width) in line.iter().zip(widths) {
                write!(f, "| {cell:width$} ")?;
            }
            writeln!(f, "|")?;
            if number == 0 {
                let rule = widths.map(|width| format!("|{}", "-".repeat(width + 2)));
                writeln!(f, "{}|", rule.concat())?;
            }
        }
        writeln!(f, "\n{} of these aims were missed.", self.missed())
    }
}

/// The middle one.
pub(crate) fn median<T: Copy + PartialOrd>(values: impl IntoIterator<Item = T>) -> Option<T> {
    let mut sorted: Vec<T> = values.into_iter().collect();
    sorted.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    sorted.get(sorted.len() / 2).copied()
}
