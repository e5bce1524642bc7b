//! The one table that comes out: name, ours, theirs, ratio, goal, met or not.

use std::fmt::Write as _;

/// What is wanted of a row.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// Ours over theirs at least.
    RatioMin(f64),
    /// Ours over theirs at most.
    RatioMax(f64),
    /// Ours at least, whatever theirs is.
    OursMin(f64),
    /// Ours at most.
    OursMax(f64),
    /// Ours minus theirs at most.
    OverMax(f64),
    /// Only to be known.
    Known,
}

/// A unit, and how its numbers are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Micros,
    Millis,
    MegabytesPerSecond,
    Mebibytes,
    Times,
    Percent,
}

impl Unit {
    fn write(self, n: f64) -> String {
        match self {
            Self::PerSecond => format!("{n:.0}/s"),
            Self::Micros => format!("{n:.0} µs"),
            Self::Millis => format!("{n:.1} ms"),
            Self::MegabytesPerSecond => format!("{n:.0} MB/s"),
            Self::Mebibytes => format!("{n:.1} MiB"),
            Self::Times => format!("{n:.2}"),
            Self::Percent => format!("{n:.2} %"),
        }
    }
}

/// A measurement.
#[derive(Debug)]
struct Row {
    name: String,
    ours: f64,
    theirs: Option<f64>,
    ratio: Option<f64>,
    unit: Unit,
    goal: Goal,
}

impl Row {
    fn met(&self) -> Option<bool> {
        Some(match self.goal {
            Goal::RatioMin(goal) => self.ratio? >= goal,
            Goal::RatioMax(goal) => self.ratio? <= goal,
            Goal::OursMin(goal) => self.ours >= goal,
            Goal::OursMax(goal) => self.ours <= goal,
            Goal::OverMax(goal) => self.ours - self.theirs? <= goal,
            Goal::Known => return None,
        })
    }

    fn cells(&self, judge: bool) -> [String; 6] {
        let goal = match self.goal {
            Goal::RatioMin(goal) => format!("ratio ≥ {goal}"),
            Goal::RatioMax(goal) => format!("ratio ≤ {goal}"),
            Goal::OursMin(goal) => format!("≥ {}", self.unit.write(goal)),
            Goal::OursMax(goal) => format!("≤ {}", self.unit.write(goal)),
            Goal::OverMax(goal) => format!("≤ {} over", self.unit.write(goal)),
            Goal::Known => String::new(),
        };
        let met = match self.met() {
            Some(_) if !judge => "",
            Some(true) => "met",
            Some(false) => "NOT",
            None => "",
        };
        [
            self.name.clone(),
            self.unit.write(self.ours),
            self.theirs.map_or_else(String::new, |n| self.unit.write(n)),
            self.ratio.map_or_else(String::new, |n| format!("{n:.2}")),
            goal,
            met.to_owned(),
        ]
    }
}

/// What came out so far.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    notes: Vec<String>,
}

impl Table {
    /// Rounds of both sides, in pairs: the medians, and the median of the pairs' ratios.
    pub(crate) fn compare(&mut self, name: &str, unit: Unit, pairs: &[(f64, f64)], goal: Goal) {
        let ours = median(pairs.iter().map(|p| p.0));
        let theirs = median(pairs.iter().map(|p| p.1));
        let ratio = median(pairs.iter().map(|(a, b)| a / b));
        self.push(Row { name: name.to_owned(), ours, theirs: Some(theirs), ratio: Some(ratio), unit, goal });
    }

    /// A number that is compared with nothing but its goal.
    pub(crate) fn alone(&mut self, name: &str, unit: Unit, ours: f64, goal: Goal) {
        self.push(Row { name: name.to_owned(), ours, theirs: None, ratio: None, unit, goal });
    }

    /// Something that was left out, or should be known.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        eprintln!("  ({text})");
        self.notes.push(text);
    }

    fn push(&mut self, row: Row) {
        let [name, ours, theirs, ratio, ..] = row.cells(false);
        eprintln!("  {name}: {ours} {theirs} {ratio}");
        self.rows.push(row);
    }

    /// The table; `judge`: whether goals are met.
    pub(crate) fn render(&self, judge: bool) -> String {
        let mut lines: Vec<[String; 6]> =
            vec![["what", "wehelp", "compared", "ratio", "goal", "met"].map(str::to_owned)];
        lines.extend(self.rows.iter().map(|row| row.cells(judge)));
        let width = |n: usize| lines.iter().map(|line| line[n].chars().count()).max().unwrap_or(0);
        let widths: [usize; 6] = std::array::from_fn(width);
        let mut out = String::new();
        for line in &lines {
            let [name, ours, theirs, ratio, goal, met] = line;
            let [w0, w1, w2, w3, w4, _] = widths;
            writeln!(out, "{name:<w0$}  {ours:>w1$}  {theirs:>w2$}  {ratio:>w3$}  {goal:<w4$}  {met}").unwrap();
        }
        if judge {
            let judged: Vec<bool> = self.rows.iter().filter_map(Row::met).collect();
            let met = judged.iter().filter(|met| **met).count();
            writeln!(out, "\n{met} of {} goals met", judged.len()).unwrap();
        }
        for note in &self.notes {
            writeln!(out, "* {note}").unwrap();
        }
        out
    }
}

/// The middle value.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}
