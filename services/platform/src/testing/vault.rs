//! The vault.

use waybill_domain::credentials::Secret;
use waybill_schemas::{Uuid, VaultFilter, VaultKey, WorkerId, WorkspaceId, v1::ProviderFailure};

use crate::{
    sealing::{Binding, PrivateKey, seal_once},
    vault::{Created, GrantEntry, SecretEntry, Vault, VaultEntry, VaultError},
};

/// Checks everything that a vault must do. The vault is there, and whatever else it holds is left alone.
pub async fn check_vault(vault: &dyn Vault) {
    let id = Uuid::new_v4().simple();
    let workspace: WorkspaceId = format!("ws-{id}").parse().unwrap();
    let worker_id: WorkerId = format!("w-{id}").parse().unwrap();
    create_once(vault, &workspace).await;
    replace_and_find(vault, &workspace, &worker_id).await;
    erase(vault, &workspace).await;
}

fn secret_key(workspace: &WorkspaceId, name: &str, version: u64) -> VaultKey {
    VaultKey::Secret { workspace: workspace.clone(), secret: name.parse().unwrap(), version }
}

fn entry(workspace: &WorkspaceId) -> VaultEntry {
    let to = PrivateKey::generate().public().unwrap();
    let place = Binding::Secret {
        workspace: workspace.clone(),
        secret: "s".parse().unwrap(),
        version: 1,
        registry: "a.b".to_owned(),
    };
    let sealed = seal_once(&to, &place, &Secret::new("canary-credentials")).unwrap();
    SecretEntry { sealed, mac: "00".repeat(32) }.into()
}

async fn create_once(vault: &dyn Vault, workspace: &WorkspaceId) {
    let key = secret_key(workspace, "team.registry", 1);
    assert_eq!(vault.get(&key).await.unwrap(), None);
    let [first, other] = [0; 2].map(|_| entry(workspace));
    let Created::Stored(sequence) = vault.create(&key, &first).await.unwrap() else { panic!("it is new") };
    assert_eq!(vault.create(&key, &first).await.unwrap(), Created::Stored(sequence), "the same again");
    match vault.create(&key, &other).await.unwrap() {
        Created::Conflict(kept) => assert_eq!((kept.key, kept.entry), (key.clone(), first.clone())),
        Created::Stored(_) => panic!("there was one already"),
    }
    let kept = vault.get(&key).await.unwrap().unwrap();
    assert_eq!((kept.sequence, kept.entry), (sequence, first));
    let failed = GrantEntry::Failed(ProviderFailure::UnsealFailed).into();
    assert_eq!(vault.create(&key, &failed).await.unwrap_err(), VaultError::Kind { key });
}

async fn replace_and_find(vault: &dyn Vault, workspace: &WorkspaceId, worker_id: &WorkerId) {
    let grant = |name: &str, version| VaultKey::Grant {
        worker_id: worker_id.clone(),
        workspace: workspace.clone(),
        secret: name.parse().unwrap(),
        version,
    };
    let VaultEntry::Secret(SecretEntry { sealed, .. }) = entry(workspace) else { panic!("a secret's") };
    let failed: VaultEntry = GrantEntry::Failed(ProviderFailure::UnsealFailed).into();
    let sealed: VaultEntry = GrantEntry::Sealed(sealed).into();
    for (key, entry) in [(grant("b", 1), &failed), (grant("a", 1), &sealed), (grant("a", 2), &sealed)] {
        vault.put(&key, entry).await.unwrap();
    }
    let before = vault.get(&grant("b", 1)).await.unwrap().unwrap().sequence;
    let after = vault.put(&grant("b", 1), &sealed).await.unwrap();
    assert!(after > before);
    assert_eq!(vault.get(&grant("b", 1)).await.unwrap().unwrap().entry, sealed);

    let grants = VaultFilter::Grants(Some(worker_id.clone()));
    assert_eq!(vault.keys(&grants).await.unwrap(), [grant("a", 1), grant("a", 2), grant("b", 1)]);
    assert_eq!(vault.last_matching(&grants).await.unwrap().unwrap().key, grant("b", 1));
    let of_secret = VaultFilter::SecretGrants(None, workspace.clone(), "a".parse().unwrap());
    assert_eq!(vault.keys(&of_secret).await.unwrap(), [grant("a", 1), grant("a", 2)]);
    assert_eq!(vault.last_matching(&of_secret).await.unwrap().unwrap().key, grant("a", 2));
    let none = VaultFilter::Secret(workspace.clone(), "nothing".parse().unwrap());
    assert_eq!(vault.keys(&none).await.unwrap(), []);
    assert_eq!(vault.last_matching(&none).await.unwrap(), None);
}

async fn erase(vault: &dyn Vault, workspace: &WorkspaceId) {
    let keys = [1, 2].map(|version| secret_key(workspace, "s", version));
    for key in &keys {
        vault.create(key, &entry(workspace)).await.unwrap();
    }
    assert_eq!(vault.erase(&keys[0]).await.unwrap(), 1);
    assert_eq!(vault.erase(&keys[0]).await.unwrap(), 0, "nothing is left");
    assert_eq!(vault.get(&keys[0]).await.unwrap(), None);
    assert!(vault.get(&keys[1]).await.unwrap().is_some(), "the other version stays");
    assert_eq!(vault.keys(&VaultFilter::Secret(workspace.clone(), "s".parse().unwrap())).await.unwrap(), keys[1..]);
    assert!(matches!(vault.create(&keys[0], &entry(workspace)).await.unwrap(), Created::Stored(_)));
}
