//! `--diff`: what changed between two points, field by field, in both directions.

use serde_json::{Value, json};
use waybill_tests::{require, stack::Plan};

use super::{json, text};

fn row<'l>(lines: &'l [Value], table: &str) -> &'l Value {
    lines.iter().find(|line| line["table"] == table).unwrap_or_else(|| panic!("nothing in {table}: {lines:?}"))
}

fn field<'l>(row: &'l Value, name: &str) -> &'l Value {
    row["fields"].as_array().unwrap().iter().find(|field| field["field"] == name).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn what_changed_between_two_points() {
    let stack = require!(Plan::default().start().await);
    // The secret's version is saved first, then the image names it.
    let first = stack.build("acme", "img", "a.b/team/app:1", json!("user:secret-1")).await.sequence();
    let placement = stack.container("acme", "c-1", "img", "w1").await.placement();
    let decided = stack.wait_for_event("ContainerCredentialsAttached", "c-1").await;
    assert_eq!(decided.sequence, placement + 1, "nobody else writes");
    let second = stack.build("acme", "img", "a.b/team/app:2", json!("user:secret-22")).await.sequence();
    let diff = async |a: &str, b: &str| json(&stack, &["replay", "--diff", a, b]).await;
    let [before, start, after, requested] = [first - 2, first, second, placement].map(|number| number.to_string());

    let added = diff(&before, &start).await;
    for (table, key) in [("images", "acme/img"), ("secrets", "acme/oci-registry-a-b")] {
        assert_eq!((&row(&added, table)["change"], &row(&added, table)["key"]), (&json!("added"), &json!(key)));
    }
    assert_eq!(added.len(), 3, "the image, the secret and the position: {added:?}");
    let expected = json!({ "field": "sequence", "before": first - 2, "after": first });
    assert_eq!(field(row(&added, "meta"), "sequence"), &expected);

    let changed = diff(&start, &after).await;
    let image = row(&changed, "images");
    assert_eq!(image["change"], "changed", "{changed:?}");
    let expected = json!({ "field": "sequence", "before": first, "after": second });
    assert_eq!(field(image, "sequence"), &expected);
    let expected = json!({ "field": "image_ref", "before": "a.b/team/app:1", "after": "a.b/team/app:2" });
    assert_eq!(field(image, "image_ref"), &expected);
    assert_eq!(field(image, "registry"), &Value::Null, "what is the same is left out");
    let secret = row(&changed, "secrets");
    assert_eq!(field(secret, "version"), &json!({ "field": "version", "before": 1, "after": 2 }));
    let digest = field(secret, "digest");
    for side in ["before", "after"] {
        assert!(digest[side].as_str().unwrap().starts_with("sha256:"), "{digest}");
    }
    let placed = row(&changed, "placements");
    assert_eq!((&placed["change"], &placed["key"]), (&json!("added"), &json!(placement.to_string())));
    let rows = serde_json::to_string(&changed).unwrap();
    assert!(!rows.contains("ciphertext") && !rows.contains("sealed\""), "no row holds a secret, sealed or not: {rows}");

    let taken_back = diff(&after, &start).await;
    assert_eq!(row(&taken_back, "placements")["change"], "removed");
    let pending = diff(&requested, &decided.sequence.to_string()).await;
    assert_eq!(row(&pending, "pending")["change"], "removed", "{pending:?}");
    assert_eq!(field(row(&pending, "placements"), "state.decided.decided_by")["after"], decided.sequence);
    let time = decided.line["recordedtime"].as_str().unwrap();
    assert_eq!(diff(&requested, time).await, pending, "a time is as good");
    assert!(diff(&after, &after).await.is_empty());

    let people = text(&stack, &["replay", "--diff", "0", &after]).await;
    assert!(people.status.success(), "{}", people.stderr);
    for part in ["+ images acme/img", "+ secrets acme/oci-registry-a-b", "placements   1 added, 0 changed, 0 removed"] {
        assert!(people.stdout.contains(part), "{part}: {}", people.stdout);
    }
    let people = text(&stack, &["replay", "--diff", &start, &after]).await.stdout;
    assert!(people.contains("~ images acme/img") && people.contains(&format!("{first} -> {second}")), "{people}");
}
