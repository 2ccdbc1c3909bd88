//! Latency over load as an SVG picture: one line for each of three shares of the answers, on logarithmic height.

use super::measured::Row;
use std::fmt::Write as _;

const WIDTH: u32 = 800;
const HEIGHT: u32 = 480;
/// Room for the numbers at the axes.
const MARGIN: u32 = 70;
/// Latencies from a tenth of a millisecond to ten seconds, in microseconds.
const LOWEST: f64 = 100.0;
const HIGHEST: f64 = 10_000_000.0;

/// Which latency of a row a line shows, its name and its colour.
type Line = (fn(&Row) -> u64, &'static str, &'static str);

const LINES: [Line; 3] =
    [(|row| row.p50, "p50", "#1b7837"), (|row| row.p99, "p99", "#2166ac"), (|row| row.p999, "p99.9", "#b2182b")];

/// What stands below the picture.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Across {
    /// How many agents there were.
    Agents,
    /// How many answers there were in a second.
    Rate,
}

impl Across {
    const fn of(self, row: &Row) -> u64 {
        match self {
            Self::Agents => row.answered,
            Self::Rate => row.per_second,
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Agents => "",
            Self::Rate => "/s",
        }
    }
}

/// The picture; `what` is its heading.
pub(super) fn svg(what: &str, rows: &[Row], across: Across) -> String {
    let most = rows.iter().map(|row| across.of(row)).max().unwrap_or_default().max(1);
    let over = if across == Across::Rate { "load" } else { "agents" };
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{MARGIN}\" y=\"30\" font-size=\"16\">{what}: latency over {over}</text>\n"
    );
    for (micros, name) in [(100, "0.1 ms"), (1000, "1 ms"), (10_000, "10 ms"), (100_000, "100 ms"), (1_000_000, "1 s")]
    {
        let y = height_of(micros);
        // Writing into a String cannot fail, here and below.
        writeln!(
            out,
            "<line x1=\"{MARGIN}\" x2=\"{}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ccc\"/>\n\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            WIDTH - MARGIN / 2,
            MARGIN - 8,
            y + 4.0
        )
        .unwrap_or_default();
    }
    for (number, (latency, name, colour)) in (1_u32..).zip(LINES) {
        let place = |row: &Row| format!("{:.1},{:.1}", place_of(across.of(row), most), height_of(latency(row)));
        let places: Vec<_> = rows.iter().map(place).collect();
        writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n\
             <text x=\"{}\" y=\"{}\" fill=\"{colour}\">{name}</text>",
            places.join(" "),
            WIDTH - MARGIN,
            20 + 16 * number
        )
        .unwrap_or_default();
    }
    for row in rows {
        writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{}{}</text>",
            place_of(across.of(row), most),
            HEIGHT - MARGIN / 2,
            across.of(row),
            across.unit()
        )
        .unwrap_or_default();
    }
    out.push_str("</svg>\n");
    out
}

/// From left to right.
fn place_of(count: u64, most: u64) -> f64 {
    let room = f64::from(WIDTH - 2 * MARGIN);
    f64::from(MARGIN) + room * number(count) / number(most)
}

/// From above.
fn height_of(micros: u64) -> f64 {
    let share = (number(micros).clamp(LOWEST, HIGHEST) / LOWEST).log10() / (HIGHEST / LOWEST).log10();
    f64::from(HEIGHT - MARGIN) - share * f64::from(HEIGHT - 2 * MARGIN)
}

/// Rates and latencies are far below what this cuts off.
fn number(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn more_load_stands_further_right_and_more_latency_higher() {
        let row = |per_second, p50| Row {
            load: String::new(),
            answered: 1,
            refused: BTreeMap::new(),
            per_second,
            p50,
            p90: p50,
            p99: 2 * p50,
            p999: 3 * p50,
            max: 4 * p50,
            server_kib_each: None,
        };
        let picture = svg("exchange", &[row(100, 1000), row(200, 100_000)], Across::Rate);
        assert!(picture.contains("points=\"400.0,342.0 730.0,206.0\""), "{picture}");
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
    }
}
