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
    let first = stack.build("acme", "img", "a.b/team/app:1", json!("user:secret-1")).await.sequence();
    stack.container("acme", "c-1", "img", "w1").await;
    let decided = stack.wait_for_event("ContainerCredentialsAttached", "c-1").await;
    let second = stack.build("acme", "img", "a.b/team/app:2", json!("user:secret-22")).await.sequence();
    let diff = async |a: &str, b: &str| json(&stack, &["replay", "--diff", a, b]).await;
    let [before, start, after, requested] =
        [first - 1, first, second, decided.sequence - 1].map(|number| number.to_string());

    let added = diff(&before, &start).await;
    assert_eq!(row(&added, "images")["change"], "added", "{added:?}");
    assert_eq!(row(&added, "images")["key"], "acme/img");
    assert_eq!(added.len(), 2, "the image and the position: {added:?}");
    let expected = json!({ "field": "sequence", "before": first - 1, "after": first });
    assert_eq!(field(row(&added, "meta"), "sequence"), &expected);

    let changed = diff(&start, &after).await;
    let image = row(&changed, "images");
    assert_eq!(image["change"], "changed", "{changed:?}");
    let expected = json!({ "field": "saved.sequence", "before": first, "after": second });
    assert_eq!(field(image, "saved.sequence"), &expected);
    assert_eq!(field(image, "saved.registry"), &Value::Null, "what is the same is left out");
    let ciphertext = field(image, "saved.credentials.ciphertext");
    for side in ["before", "after"] {
        assert!(ciphertext[side].as_str().unwrap().starts_with("(sealed"), "{ciphertext}");
    }
    let request = row(&changed, "requests");
    assert_eq!((&request["change"], &request["key"]), (&json!("added"), &decided.line["causationid"]));

    let taken_back = diff(&after, &start).await;
    assert_eq!(row(&taken_back, "requests")["change"], "removed");
    let pending = diff(&requested, &decided.sequence.to_string()).await;
    assert_eq!(row(&pending, "pending")["change"], "removed", "{pending:?}");
    let time = decided.line["recordedtime"].as_str().unwrap();
    assert_eq!(diff(&requested, time).await, pending, "a time is as good");
    assert!(diff(&after, &after).await.is_empty());

    let people = text(&stack, &["replay", "--diff", "0", &after]).await;
    assert!(people.status.success(), "{}", people.stderr);
    for part in ["+ images acme/img", "(sealed, ", "requests     1 added, 0 changed, 0 removed"] {
        assert!(people.stdout.contains(part), "{part}: {}", people.stdout);
    }
    let people = text(&stack, &["replay", "--diff", &start, &after]).await.stdout;
    assert!(people.contains("~ images acme/img") && people.contains(&format!("{first} -> {second}")), "{people}");
}
