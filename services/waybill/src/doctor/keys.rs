//! The scheduler's sealing keys: what the log says of them, and what is in their folder.

use std::path::Path;

use waybill_platform::{chain, log::Inspector};
use waybill_schemas::PublicSealingKey;

use super::finding::Finding;
use crate::keys::{
    folder::{self, KeyFile},
    needs::Published,
};

const CHECK: &str = "keys scheduler";

/// Compares the folder with the scheduler's last word; without a connection, the folder alone is looked at.
pub(super) async fn check(folder: Option<&Path>, inspector: Option<&Inspector>) -> Vec<Finding> {
    let Some(folder) = folder else { return Vec::new() };
    let keys = match folder::read(folder) {
        Ok(keys) => keys,
        Err(error) => {
            let remedy = "put it right, then start the scheduler again; on a machine without a scheduler, remove \
                          WAYBILL_SCHEDULER_KEY_DIR";
            return vec![Finding::attention(CHECK, chain(&error), remedy)];
        }
    };
    let published = match inspector {
        Some(inspector) => Published::read(inspector.log()).await.map_err(|error| chain(error.as_ref())),
        None => Err("the log cannot be asked".to_owned()),
    };
    vec![judge(&keys, &published)]
}

fn judge(keys: &[KeyFile], published: &Result<Option<Published>, String>) -> Finding {
    let start = "start the scheduler, or see what its log says: waybill scheduler";
    let published = match published {
        Ok(Some(published)) => published,
        Ok(None) => return Finding::attention(CHECK, "none is published: gateways cannot seal", start),
        Err(why) => return Finding::unknown(CHECK, why.clone(), "see to the stream first"),
    };
    let is_here = |wanted: &PublicSealingKey| keys.iter().any(|key| key.public == *wanted);
    if !is_here(&published.present) {
        let says = "the log names a key that is not in the folder: nothing that is sealed to it can be opened";
        return Finding::attention(CHECK, says, "restore the key from its backup into WAYBILL_SCHEDULER_KEY_DIR");
    }
    if keys.first().is_some_and(|newest| newest.public != published.present) {
        return Finding::attention(CHECK, "the newest one is not published", start);
    }
    if let Some(gone) = published.earlier.iter().find(|key| !is_here(key)) {
        let says = format!("the log still names the key {gone}, which is no more in the folder");
        return Finding::attention(CHECK, says, start);
    }
    match keys.len().saturating_sub(1) {
        0 => Finding::ok(CHECK, "the present one is published, and there is no other"),
        old => Finding::ok(CHECK, format!("the present one is published; old ones: {old} (waybill keys list)")),
    }
}

#[cfg(test)]
mod tests {
    use waybill_platform::sealing::PrivateKey;

    use super::*;
    use crate::doctor::finding::Status::{Attention, Ok as Well, Unknown};

    #[test]
    fn the_folder_and_the_log_name_the_same_keys() {
        let key = |made| {
            let public = PrivateKey::generate().public().unwrap().text().clone();
            KeyFile { made, path: format!("{made}.xkey").into(), public }
        };
        let [new, old, foreign] = [3, 2, 1].map(key);
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        let said = |present: &KeyFile, earlier: &[&KeyFile]| {
            let earlier = earlier.iter().map(|key| key.public.clone()).collect();
            Ok(Some(Published { present: present.public.clone(), earlier, at }))
        };
        let both = [new.clone(), old.clone()];
        let cases = [
            (&both[..1], said(&new, &[]), Well, "no other"),
            (&both[..], said(&new, &[&old]), Well, "old ones: 1"),
            (&both[..], said(&old, &[]), Attention, "newest one is not published"),
            (&both[..], said(&foreign, &[]), Attention, "not in the folder"),
            (&both[..1], said(&new, &[&old]), Attention, "no more in the folder"),
            (&both[..], Ok(None), Attention, "none is published"),
            (&both[..], Err("why".to_owned()), Unknown, "why"),
        ];
        for (keys, published, status, says) in cases {
            let finding = judge(keys, &published);
            assert_eq!(finding.status, status, "{finding:?}");
            assert!(finding.says.contains(says), "{finding:?}");
        }
    }
}
