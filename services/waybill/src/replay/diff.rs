//! What changed in the projection between two points of the log.

use std::{collections::BTreeMap, io::Write, sync::Arc};

use serde_json::{Value, json};
use waybill_platform::{events::Place, log::Log};
use waybill_scheduler::projection::{Row, Snapshot, TABLES};

use super::{Replay, last_until, scratch::Scratch, stream};
use crate::{Failure, output, text};

/// `waybill replay --diff A B`. Where B is before A, what is shown is how to get back.
pub(super) async fn run(log: &Arc<dyn Log>, before: Place, after: Place, as_json: bool) -> Result<(), Failure> {
    let state = stream(log.as_ref()).await?;
    let (a, b) =
        (last_until(Some(before), log.as_ref(), state).await?, last_until(Some(after), log.as_ref(), state).await?);
    let mut replay = Replay::new(log.clone(), state, Scratch::new(None)?.projection()?);
    replay.fold_until(a.min(b)).await?;
    let earlier = replay.projection.snapshot()?;
    replay.fold_until(a.max(b)).await?;
    let later = replay.projection.snapshot()?;
    let (before, after) = if a <= b { (earlier, later) } else { (later, earlier) };
    let mut out = output::stdout();
    let mut totals = BTreeMap::<&'static str, [u64; 3]>::new();
    changes(&before, &after, |change| {
        let [added, changed, removed] = totals.entry(change.table).or_default();
        let total = match (&change.before, &change.after) {
            (None, _) => added,
            (Some(_), Some(_)) => changed,
            (Some(_), None) => removed,
        };
        *total = total.saturating_add(1);
        if as_json { Ok(writeln!(out, "{}", change.json())?) } else { change.print(&mut out) }
    })?;
    if !as_json {
        writeln!(out, "from sequence {a} to {b}")?;
        for (table, [added, changed, removed]) in totals {
            writeln!(out, "{table:<12} {added} added, {changed} changed, {removed} removed")?;
        }
    }
    Ok(out.flush()?)
}

/// The row's value as it is stored.
fn parse(value: &[u8]) -> Result<Value, serde_json::Error> {
    serde_json::from_slice(value)
}

/// One row that is not the same.
#[derive(Debug, PartialEq)]
pub(crate) struct Changed {
    table: &'static str,
    key: String,
    before: Option<Value>,
    after: Option<Value>,
}

/// Hands over each row that differs, by table: those of `after` by key, then those that are gone.
pub(crate) fn changes(
    before: &Snapshot,
    after: &Snapshot,
    mut each: impl FnMut(&Changed) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for table in TABLES {
        after.each(table, |Row { table, key, value }| -> Result<(), Failure> {
            let old = before.value(table, &key)?;
            if old.as_ref() == Some(&value) {
                return Ok(());
            }
            let old = old.as_deref().map(parse).transpose()?;
            each(&Changed { table, key, before: old, after: Some(parse(&value)?) })
        })?;
        before.each(table, |Row { table, key, value }| -> Result<(), Failure> {
            if after.value(table, &key)?.is_some() {
                return Ok(());
            }
            each(&Changed { table, key, before: Some(parse(&value)?), after: None })
        })?;
    }
    Ok(())
}

impl Changed {
    /// Table and key.
    pub(crate) fn name(&self) -> String {
        format!("{} {}", self.table, self.key)
    }

    /// Fields that differ, each with its value before and after.
    fn fields(&self) -> Vec<(String, Option<Value>, Option<Value>)> {
        let leaves = |value: &Option<Value>| -> BTreeMap<String, Value> {
            value.as_ref().map(text::leaves).unwrap_or_default().into_iter().collect()
        };
        let (before, after) = (leaves(&self.before), leaves(&self.after));
        let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
        names.sort();
        names.dedup();
        let differing = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
        differing.map(|name| (name.clone(), before.get(name).cloned(), after.get(name).cloned())).collect()
    }

    fn json(&self) -> Value {
        let change = match (&self.before, &self.after) {
            (None, _) => "added",
            (Some(_), Some(_)) => "changed",
            (Some(_), None) => "removed",
        };
        let fields: Vec<Value> = self
            .fields()
            .into_iter()
            .map(|(field, before, after)| json!({ "field": field, "before": before, "after": after }))
            .collect();
        json!({ "table": self.table, "key": self.key, "change": change, "fields": fields })
    }

    fn print(&self, out: &mut impl Write) -> Result<(), Failure> {
        let show = |value: Option<Value>| value.map_or_else(|| "(none)".to_owned(), |value| text::plain(&value));
        let (sign, fields) = match (&self.before, &self.after) {
            (None, _) => ("+", self.fields().into_iter().map(|(name, _, after)| (name, show(after))).collect()),
            (Some(_), None) => ("-", Vec::new()),
            (Some(_), Some(_)) => {
                let fields = self.fields().into_iter();
                let arrows = fields.map(|(name, old, new)| (name, format!("{} -> {}", show(old), show(new))));
                ("~", arrows.collect())
            }
        };
        text::wrapped(out, "", "    ", &format!("{sign} {} {}", self.table, self.key))?;
        text::fields(out, 4, &fields)
    }
}
