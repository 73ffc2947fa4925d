//! Figures with their spread, their limits and their goals, as a table and as JSON.

use serde_json::{Value, json};

/// What a figure must reach.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Goal {
    /// A share of the limit, or an amount.
    AtLeast(f64),
    /// A multiple of the limit, or an amount.
    AtMost(f64),
    /// Shown for orientation.
    Shown,
}

/// One row.
#[derive(Debug)]
struct Figure {
    name: String,
    unit: &'static str,
    spread: [f64; 3],
    limit: Option<(&'static str, [f64; 3])>,
    goal: Goal,
}

/// All rows.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<Figure>);

impl Report {
    /// A figure whose goal is an amount.
    pub(crate) fn amount(&mut self, name: impl Into<String>, unit: &'static str, samples: &[f64], goal: Goal) {
        self.push(Figure { name: name.into(), unit, spread: spread(samples), limit: None, goal });
    }

    /// A figure whose goal is a ratio to a limit that was measured beside it.
    pub(crate) fn ratio(
        &mut self,
        name: impl Into<String>,
        unit: &'static str,
        samples: &[f64],
        (limit, limits): (&'static str, &[f64]),
        goal: Goal,
    ) {
        let limit = Some((limit, spread(limits)));
        self.push(Figure { name: name.into(), unit, spread: spread(samples), limit, goal });
    }

    fn push(&mut self, figure: Figure) {
        println!("{}", figure.line());
        self.0.push(figure);
    }

    pub(crate) fn table(&self) -> String {
        let head = format!(
            "{:<52} {:>9} {:>9} {:>9} {:<10} {:<44} {:<8}",
            "figure", "lowest", "median", "highest", "unit", "of its limit", "goal"
        );
        let lines = self.0.iter().map(Figure::line);
        std::iter::once(head).chain(lines).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn json(&self) -> String {
        let figures: Vec<Value> = self.0.iter().map(Figure::to_json).collect();
        let (met, goals) = self.count();
        let report =
            json!({ "machine": crate::machine::describe(), "figures": figures, "goals": goals, "goals_met": met });
        format!("{report:#}\n")
    }

    /// The last line of the benchmark.
    pub(crate) fn summary(&self) -> String {
        let (met, goals) = self.count();
        format!("{met} of {goals} goals met")
    }

    fn count(&self) -> (usize, usize) {
        let met: Vec<bool> = self.0.iter().filter_map(Figure::is_met).collect();
        (met.iter().filter(|met| **met).count(), met.len())
    }
}

impl Figure {
    /// The ratio to the limit, or the amount itself.
    fn judged(&self) -> f64 {
        self.limit.map_or(self.spread[1], |(_, limit)| self.spread[1] / limit[1])
    }

    fn is_met(&self) -> Option<bool> {
        match self.goal {
            Goal::AtLeast(goal) => Some(self.judged() >= goal),
            Goal::AtMost(goal) => Some(self.judged() <= goal),
            Goal::Shown => None,
        }
    }

    fn line(&self) -> String {
        let [lowest, median, highest] = self.spread.map(short);
        let limit = self.limit.map_or_else(String::new, |(name, limit)| {
            format!("{:.2} of {name} {} ({}-{})", self.judged(), short(limit[1]), short(limit[0]), short(limit[2]))
        });
        let goal = match self.goal {
            Goal::AtLeast(goal) => format!(">= {}", short(goal)),
            Goal::AtMost(goal) => format!("<= {}", short(goal)),
            Goal::Shown => String::new(),
        };
        let met = match self.is_met() {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => "",
        };
        let Self { name, unit, .. } = self;
        format!("{name:<52} {lowest:>9} {median:>9} {highest:>9} {unit:<10} {limit:<44} {goal:<8} {met}")
            .trim_end()
            .to_owned()
    }

    fn to_json(&self) -> Value {
        let of =
            |[lowest, median, highest]: [f64; 3]| json!({ "lowest": lowest, "median": median, "highest": highest });
        let (word, goal) = match self.goal {
            Goal::AtLeast(goal) => ("at_least", Some(goal)),
            Goal::AtMost(goal) => ("at_most", Some(goal)),
            Goal::Shown => ("shown", None),
        };
        json!({
            "name": self.name, "unit": self.unit, "measured": of(self.spread),
            "limit": self.limit.map(|(name, limit)| json!({ "name": name, "measured": of(limit) })),
            "ratio": self.limit.map(|_| self.judged()), "goal": { word: goal }, "met": self.is_met(),
        })
    }
}

fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// Lowest, median and highest; not a number where there are no samples.
fn spread(samples: &[f64]) -> [f64; 3] {
    [quantile(samples, 0.0), quantile(samples, 0.5), quantile(samples, 1.0)]
}

/// The smallest sample that so large a share of all does not exceed.
pub(crate) fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let most = crate::bench::float(sorted.len());
    let place = (1..=sorted.len()).find(|place| crate::bench::float(*place) >= share * most);
    place.and_then(|place| sorted.get(place - 1)).copied().unwrap_or(f64::NAN)
}
