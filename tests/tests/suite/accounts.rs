//! Accounts of a stack's servers with other claims than `waybill init` gives them.

use nkeys::KeyPair;
use serde_json::Value;
use time::OffsetDateTime;
use waybill_platform::identity::Claims;
use waybill_tests::stack::Stack;

/// Changes what an account's token says, and restarts the server with it.
pub(crate) async fn change_account(stack: &mut Stack, name: &str, change: impl FnOnce(&mut Value)) {
    let sign = |mut claims: Claims, key: &KeyPair| {
        let present = claims.nats.clone();
        change(&mut claims.nats);
        assert_ne!(claims.nats, present, "the account's claims have another form");
        claims.sign(key).unwrap()
    };
    replace_token(stack, name, sign).await;
}

/// Signs an account's token anew, as a machine does whose clock is ahead so many seconds, and restarts the server with it.
pub(crate) async fn sign_ahead(stack: &mut Stack, name: &str, seconds: i64) {
    let at = OffsetDateTime::now_utc().unix_timestamp() + seconds;
    let file = stack.home().join(format!("nats/{name}.jwt"));
    let sign = |claims: Claims, key: &KeyPair| {
        let token = claims.sign_after(key, at).unwrap();
        std::fs::write(file, &token).unwrap();
        token
    };
    replace_token(stack, name, sign).await;
}

async fn replace_token(stack: &mut Stack, name: &str, sign: impl FnOnce(Claims, &KeyPair) -> String) {
    let home = stack.home().to_owned();
    let seed = std::fs::read_to_string(home.join("keys/signing/accounts.nk")).unwrap();
    let conf = std::fs::read_to_string(home.join("nats-server.conf")).unwrap();
    let (before, rest) = conf.split_once(&format!("# {name}\n")).unwrap();
    let (line, after) = rest.split_once('\n').unwrap();
    let (key, token) = line.split_once(": ").unwrap();
    let token = sign(Claims::read(token).unwrap(), &KeyPair::from_seed(&seed).unwrap());
    std::fs::write(home.join("nats-server.conf"), format!("{before}# {name}\n{key}: {token}\n{after}")).unwrap();
    // What the server keeps goes before its configuration.
    stack.nats().stop().await.unwrap();
    for entry in std::fs::read_dir(home.join("data/accounts")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    stack.nats().restart().await.unwrap();
}
