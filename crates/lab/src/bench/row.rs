//! One row of the table: ours beside the reference.

use std::fmt::Write as _;

use anyhow::Result;
use serde_json::{Value, json};

use super::setup::Setup;

/// One way to do it, once: how many seconds it took.
pub(super) type Run<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// The two ways of a row.
pub(super) struct Pair<'a> {
    pub(super) ours: Run<'a>,
    pub(super) reference: Run<'a>,
}

impl<'a> Pair<'a> {
    pub(super) fn new(
        ours: impl FnMut() -> Result<f64> + 'a,
        reference: impl FnMut() -> Result<f64> + 'a,
    ) -> Result<Self> {
        Ok(Self {
            ours: Box::new(ours),
            reference: Box::new(reference),
        })
    }
}

#[derive(Clone, Copy)]
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) ours: &'static str,
    pub(super) reference: &'static str,
    /// The most that ours may take, as a multiple of the reference.
    pub(super) goal: f64,
    /// Makes what both ways start from.
    pub(super) prepare: fn(&Setup) -> Result<Pair<'_>>,
}

impl Row {
    pub(super) fn measure(self, mut pair: Pair<'_>, runs: usize) -> Result<Measured> {
        let (mut ours, mut reference) = (Vec::new(), Vec::new());
        for run in 0..runs {
            // Who is first has what the other left behind.
            if run % 2 == 0 {
                ours.push((pair.ours)()?);
                reference.push((pair.reference)()?);
            } else {
                reference.push((pair.reference)()?);
                ours.push((pair.ours)()?);
            }
        }
        Ok(Measured {
            row: self,
            ours: median(&mut ours),
            reference: median(&mut reference),
        })
    }
}

pub(super) struct Measured {
    row: Row,
    /// Seconds.
    ours: f64,
    reference: f64,
}

impl Measured {
    fn ratio(&self) -> f64 {
        self.ours / self.reference
    }

    fn met(&self) -> bool {
        self.ratio() <= self.row.goal
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "row": self.row.name,
            "ours": self.ours,
            "reference": self.reference,
            "ratio": self.ratio(),
            "goal": self.row.goal,
            "met": self.met(),
        })
    }

    /// As a row of Markdown.
    pub(super) fn line(&self) -> String {
        format!(
            "| {} | {} | {} | {} | {} | {:.3} | {:.3} | {} |",
            self.row.name,
            self.row.ours,
            self.row.reference,
            duration(self.ours),
            duration(self.reference),
            self.ratio(),
            self.row.goal,
            if self.met() { "met" } else { "**not met**" },
        )
    }
}

pub(super) fn table(measured: &[Measured]) -> String {
    let mut table = String::from(
        "| row | ours | reference | ours took | reference took | ratio | goal | |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in measured {
        let _ = writeln!(table, "{}", row.line());
    }
    table
}

/// Of an even number, the upper one.
pub(super) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds in a unit that suits them.
pub(super) fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds >= 1.0 => format!("{seconds:.2} s"),
        seconds if seconds >= 1e-3 => format!("{:.2} ms", seconds * 1e3),
        seconds => format!("{:.2} µs", seconds * 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_take_turns_and_medians_are_compared() {
        let order = std::cell::RefCell::new(String::new());
        let way = |name: char, mut took: Vec<f64>| {
            let order = &order;
            move || {
                order.borrow_mut().push(name);
                Ok(took.pop().unwrap())
            }
        };
        let pair = Pair::new(way('o', vec![9.0, 1.0, 2.0]), way('r', vec![4.0, 0.5, 90.0])).unwrap();
        let row = Row {
            name: "a-row",
            ours: "",
            reference: "",
            goal: 0.5,
            prepare: |_| unreachable!(),
        };
        let measured = row.measure(pair, 3).unwrap();
        assert_eq!(*order.borrow(), "orroor");
        let wanted = json!({
            "row": "a-row", "ours": 2.0, "reference": 4.0, "ratio": 0.5, "goal": 0.5, "met": true,
        });
        assert_eq!(measured.json(), wanted);
    }

    #[test]
    fn durations_are_told_in_a_unit_that_suits_them() {
        assert_eq!(duration(1.5), "1.50 s");
        assert_eq!(duration(0.0125), "12.50 ms");
        assert_eq!(duration(1.25e-6), "1.25 µs");
    }
}
