//! The table.

use std::fmt::Write as _;
use std::time::Duration;

/// Lines of the table.
#[derive(Default)]
pub(crate) struct Report(Vec<Line>);

struct Line {
    what: String,
    measured: String,
    target: Option<(&'static str, bool)>,
}

impl Report {
    /// A figure that has no target.
    pub(crate) fn tell(&mut self, what: &str, measured: String) {
        self.0.push(Line { what: what.into(), measured, target: None });
    }

    /// A figure, what it should be, and whether it is.
    pub(crate) fn judge(&mut self, what: &str, measured: String, target: &'static str, met: bool) {
        self.0.push(Line { what: what.into(), measured, target: Some((target, met)) });
    }

    /// All lines, aligned.
    pub(crate) fn table(&self) -> String {
        let wide = |text: fn(&Line) -> &str| self.0.iter().map(|line| text(line).chars().count()).max();
        let what = wide(|line| &line.what).unwrap_or_default();
        let measured = wide(|line| &line.measured).unwrap_or_default();
        let mut table = String::new();
        for line in &self.0 {
            let verdict = line.target.map_or(String::new(), |(target, met)| {
                format!("{}  (target {target})", if met { "met   " } else { "MISSED" })
            });
            let row = format!("{:what$}  {:>measured$}  {verdict}", line.what, line.measured);
            writeln!(table, "{}", row.trim_end()).unwrap();
        }
        table
    }
}

/// Milliseconds with three digits after the point.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1000.0)
}
