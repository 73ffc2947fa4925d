//! `waybill keys`: the scheduler's sealing keys. A new one is a file; the scheduler publishes it and seals the vault again.

pub(crate) mod folder;
pub(crate) mod needs;

use std::{collections::BTreeMap, io::Write, path::Path, time::Duration};

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;
use time::OffsetDateTime;
use waybill_platform::trace;
use waybill_schemas::{PublicSealingKey, Timestamp};

use crate::{
    Failure, operator,
    output::{self, Colour},
    text,
};
use folder::KeyFile;
use needs::{Needs, Published};

#[derive(Debug, Args)]
pub(crate) struct KeysArguments {
    #[command(subcommand)]
    command: KeysCommand,
    /// JSON instead of text.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// Each key: when it was made, whether the log names it, and what the vault needs it for.
    #[command(after_help = "Examples:\n  waybill keys list --json")]
    List,
    /// Add a key. The scheduler publishes it within seconds, and seals every secret to it in the background.
    #[command(after_help = "Examples:\n  waybill keys rotate")]
    Rotate,
    /// Destroy old keys; refused as long as a secret or a grant in the vault needs one of them.
    #[command(after_help = "Examples:\n  waybill keys retire\n  waybill keys retire --published-for 0")]
    Retire {
        /// How long the present key must have been published: a gateway may still be sealing to the one before.
        #[arg(long, value_name = "SECONDS", default_value_t = 30)]
        published_for: u64,
    },
}

/// An old key cannot be destroyed yet.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StillNeeded {
    #[error(
        "the scheduler has not published the present key yet: gateways still seal to an old one; see that it runs, with \
         this folder (`waybill doctor`)"
    )]
    NotPublished,
    #[error(
        "the present key was published {} s ago: a gateway may still be sealing to the one before; ask again after {} s",
        .age.as_secs(), .wanted.saturating_sub(*.age).as_secs().saturating_add(1)
    )]
    JustPublished { age: Duration, wanted: Duration },
    #[error(
        "the key {name} is still needed for {secrets} secret(s) and {grants} grant(s) in the vault; the scheduler seals them \
         again while it runs: see how far it is with `waybill keys list`"
    )]
    InVault { name: String, secrets: u64, grants: u64 },
}

/// `waybill keys`.
pub(crate) fn run(home: &Path, arguments: &KeysArguments) -> Result<(), Failure> {
    let folder = folder::path(home)?;
    match arguments.command {
        KeysCommand::List => {
            let keys = folder::read(&folder)?;
            let (published, needs) = ask(home)?;
            print_list(&mut output::stdout(), &describe(&keys, published.as_ref(), &needs), arguments.json)
        }
        KeysCommand::Rotate => {
            let added = folder::add(&folder, OffsetDateTime::now_utc().unix_timestamp())?;
            print_added(&added, arguments.json)
        }
        KeysCommand::Retire { published_for } => {
            let keys = folder::read(&folder)?;
            let (published, needs) = ask(home)?;
            let old = retirable(&keys, published.as_ref(), &needs, Duration::from_secs(published_for), trace::now())?;
            old.iter().try_for_each(folder::remove)?;
            print_retired(old, arguments.json)
        }
    }
}

type Asked = (Option<Published>, BTreeMap<PublicSealingKey, Needs>);

fn ask(home: &Path) -> Result<Asked, Failure> {
    let settings = operator::settings(home)?;
    operator::with_log(&settings, Err("interrupted".into()), |log| async move { needs::read(&log).await })
}

/// The old keys, if all of them can be destroyed.
fn retirable<'k>(
    keys: &'k [KeyFile],
    published: Option<&Published>,
    needs: &BTreeMap<PublicSealingKey, Needs>,
    wanted: Duration,
    now: Timestamp,
) -> Result<&'k [KeyFile], StillNeeded> {
    let Some((present, old)) = keys.split_first() else { return Ok(&[]) };
    if old.is_empty() {
        return Ok(old);
    }
    let published = published.filter(|published| published.present == present.public);
    let published = published.ok_or(StillNeeded::NotPublished)?;
    let age = (now.instant() - published.at.instant()).max(time::Duration::ZERO).unsigned_abs();
    if age < wanted {
        return Err(StillNeeded::JustPublished { age, wanted });
    }
    let needed = old.iter().find_map(|key| Some((key, needs.get(&key.public).filter(|needs| !needs.are_none())?)));
    match needed {
        Some((key, Needs { secrets, grants })) => {
            Err(StillNeeded::InVault { name: name(key), secrets: *secrets, grants: *grants })
        }
        None => Ok(old),
    }
}

fn name(key: &KeyFile) -> String {
    key.path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// A key as it is listed.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Listed {
    file: String,
    sealing_key: PublicSealingKey,
    made_at: Option<Timestamp>,
    /// `present` or `earlier`.
    state: &'static str,
    /// True if the scheduler's last word names it in that state.
    published: bool,
    needed_for: Needs,
}

fn describe(keys: &[KeyFile], published: Option<&Published>, needs: &BTreeMap<PublicSealingKey, Needs>) -> Vec<Listed> {
    let describe = |(at, key): (usize, &KeyFile)| {
        let is_present = at == 0;
        let named = published.is_some_and(|published| match is_present {
            true => published.present == key.public,
            false => published.earlier.contains(&key.public),
        });
        Listed {
            file: name(key),
            sealing_key: key.public.clone(),
            made_at: OffsetDateTime::from_unix_timestamp(key.made).ok().map(Timestamp::from),
            state: if is_present { "present" } else { "earlier" },
            published: named,
            needed_for: needs.get(&key.public).copied().unwrap_or_default(),
        }
    };
    keys.iter().enumerate().map(describe).collect()
}

fn print_list(out: &mut impl Write, keys: &[Listed], as_json: bool) -> Result<(), Failure> {
    let coloured = output::coloured();
    for key in keys {
        if as_json {
            writeln!(out, "{}", serde_json::to_string(key)?)?;
            continue;
        }
        let colour = if key.published { Colour::Green } else { Colour::Yellow };
        writeln!(out, "{}  {}", key.file, output::paint(key.state, colour, coloured))?;
        let made = key.made_at.map_or_else(|| "unknown".to_owned(), |at| at.to_string());
        let published = if key.published { "yes" } else { "not by the scheduler's last word" };
        let Needs { secrets, grants } = key.needed_for;
        let fields = [
            ("key", key.sealing_key.to_string()),
            ("made", made),
            ("published", published.to_owned()),
            ("needed for", format!("{secrets} secrets, {grants} grants")),
        ];
        text::fields(out, 2, &fields.map(|(name, value)| (name.to_owned(), value)))?;
    }
    Ok(())
}

fn print_added(added: &KeyFile, as_json: bool) -> Result<(), Failure> {
    let mut out = output::stdout();
    if as_json {
        writeln!(out, "{}", json!({ "file": name(added), "sealing_key": added.public }))?;
        return Ok(());
    }
    writeln!(out, "wrote {}", added.path.display())?;
    writeln!(out, "next: the scheduler publishes it and seals every secret to it: waybill keys list")?;
    Ok(writeln!(out, "next: when nothing needs the old ones, destroy them: waybill keys retire")?)
}

fn print_retired(old: &[KeyFile], as_json: bool) -> Result<(), Failure> {
    let mut out = output::stdout();
    if as_json {
        let retired: Vec<_> = old.iter().map(|key| json!({ "file": name(key), "sealing_key": key.public })).collect();
        writeln!(out, "{}", json!({ "retired": retired }))?;
        return Ok(());
    }
    if old.is_empty() {
        writeln!(out, "there is no old key")?;
    }
    for key in old {
        writeln!(out, "removed {}; remove its backups too", key.path.display())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use waybill_platform::sealing::PrivateKey;

    use super::*;

    fn keys(count: i64) -> Vec<KeyFile> {
        let key = |made| {
            let public = PrivateKey::generate().public().unwrap().text().clone();
            KeyFile { made, path: format!("/keys/{made}.xkey").into(), public }
        };
        (0..count).rev().map(|at| key(1_700_000_000 + at)).collect()
    }

    fn at(second: u8) -> Timestamp {
        format!("2026-01-01T00:00:{second:02}Z").parse().unwrap()
    }

    fn published(keys: &[KeyFile]) -> Published {
        let earlier = keys[1..].iter().map(|key| key.public.clone()).collect();
        Published { present: keys[0].public.clone(), earlier, at: at(10) }
    }

    #[test]
    fn a_key_is_destroyed_only_when_nothing_needs_it() {
        let keys = keys(3);
        let needs = |at: usize, secrets, grants| BTreeMap::from([(keys[at].public.clone(), Needs { secrets, grants })]);
        let none = BTreeMap::new;
        let (new, old) = (published(&keys), published(&keys[1..]));
        let cases = [
            ("nothing needs them", Some(&new), none(), 20, Ok(2)),
            ("the present one is needed", Some(&new), needs(0, 5, 5), 20, Ok(2)),
            ("a secret needs one", Some(&new), needs(2, 1, 0), 20, Err("1700000000.xkey")),
            ("a grant needs one", Some(&new), needs(1, 0, 1), 20, Err("1 grant")),
            ("never published", None, none(), 20, Err("not published")),
            ("the old one is published", Some(&old), none(), 20, Err("not published")),
            ("just published", Some(&new), none(), 19, Err("published 9 s ago")),
        ];
        for (name, published, needs, second, expected) in cases {
            let found = retirable(&keys, published, &needs, Duration::from_secs(10), at(second));
            match (found, expected) {
                (Ok(found), Ok(count)) => assert_eq!(found, &keys[3 - count..], "{name}"),
                (Err(error), Err(words)) => assert!(error.to_string().contains(words), "{name}: {error}"),
                (found, _) => panic!("{name}: {found:?}"),
            }
        }
        assert_eq!(retirable(&keys[..1], None, &none(), Duration::ZERO, at(0)).unwrap(), []);
    }

    #[test]
    fn a_list_says_what_each_key_is_for() {
        let keys = keys(2);
        let needs = BTreeMap::from([(keys[1].public.clone(), Needs { secrets: 2, grants: 1 })]);
        let listed = describe(&keys, Some(&published(&keys)), &needs);
        assert_eq!((listed[0].state, listed[0].published, listed[0].needed_for), ("present", true, Needs::default()));
        assert_eq!((listed[1].state, listed[1].published), ("earlier", true));
        let mut out = Vec::new();
        print_list(&mut out, &listed, false).unwrap();
        let text = String::from_utf8(out).unwrap();
        for words in
            ["1700000001.xkey  present", "2 secrets, 1 grants", "2023-11-14T22:13:20Z", keys[0].public.as_str()]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= output::WIDTH), "{text}");
        assert!(!describe(&keys, None, &needs)[0].published);
    }
}
