//! A check for people: the verdict first, then what it rests on, at most 80 columns.

use std::io::Write;

use super::verdict::{Live, Outcome, Verdict};
use crate::{
    Failure,
    output::{Colour, paint},
    text::{fields, printable, wrapped},
};

pub(super) fn render(out: &mut impl Write, verdict: &Verdict, coloured: bool) -> Result<(), Failure> {
    let (word, colour) = if verdict.good { ("GOOD", Colour::Green) } else { ("BAD", Colour::Red) };
    let gateway = gateway(verdict);
    let headline = match &verdict.live {
        None => gateway.clone(),
        Some(Live::Ok { .. }) if verdict.outcome == Outcome::Saved => "the registry takes these credentials".to_owned(),
        Some(Live::Ok { .. }) => "the registry gives the image to anybody".to_owned(),
        Some(Live::Failed { reason, .. }) => format!("the registry does not give the image ({reason})"),
    };
    writeln!(out, "{}: {headline}", paint(word, colour, coloured))?;
    if let Some(Live::Failed { detail, .. }) = &verdict.live {
        wrapped(out, "  ", "  ", &printable(detail))?;
    }
    if verdict.live.is_some() {
        wrapped(out, "  ", "  ", &gateway)?;
    }
    if let Some(detail) = &verdict.detail {
        wrapped(out, "  ", "  ", &printable(detail))?;
    }
    if let Some(remedy) = verdict.remedy.as_ref().filter(|_| !verdict.good) {
        wrapped(out, "→ ", "  ", &printable(remedy))?;
    }
    writeln!(out)?;
    fields(out, 0, &facts(verdict))
}

fn gateway(verdict: &Verdict) -> String {
    let reason = verdict.reason.map_or_else(String::new, |reason| format!(" ({reason})"));
    let said = match verdict.outcome {
        Outcome::Saved => "the gateway would save these credentials",
        Outcome::Skipped => "the gateway would save nothing",
        Outcome::Refused => "the gateway would refuse these credentials",
    };
    format!("{said}{reason}")
}

fn facts(verdict: &Verdict) -> Vec<(String, String)> {
    let (digest, login_until) = match &verdict.live {
        Some(Live::Ok { digest, login_expires_at }) => (Some(digest.clone()), *login_expires_at),
        _ => (None, None),
    };
    let facts = [
        ("image", Some(verdict.image_ref.clone())),
        ("registry", Some(format!("{} ({})", verdict.registry, verdict.kind))),
        ("secret", Some(verdict.secret_name.clone())),
        ("credentials", verdict.cred_type.map(|kind| kind.to_string())),
        ("until", verdict.expires_at.map(|at| at.to_string())),
        ("digest", digest),
        ("login until", login_until.map(|at| at.to_string())),
    ];
    facts.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}
