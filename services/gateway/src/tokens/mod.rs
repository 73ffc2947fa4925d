//! Bearer tokens: who holds each, by the file of `waybill init` and by the log. Only hashes are kept here.

mod file;
mod recorded;

use std::{collections::BTreeSet, fmt};

use waybill_schemas::{WorkspaceId, v1::TokenRole};

pub use file::{TokenFileError, hash};
pub(crate) use recorded::{Known, Recorded};

/// Whose tokens are accepted. Clones share what the log says.
#[derive(Clone, Default)]
pub struct Tokens {
    entries: Vec<(Holder, [u8; 32])>,
    recorded: Recorded,
}

/// Who holds a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// None for every workspace.
    workspaces: BTreeSet<WorkspaceId>,
    /// The one of them that is looked at.
    chosen: Option<WorkspaceId>,
    name: Option<String>,
    roles: Vec<TokenRole>,
}

impl Holder {
    /// A holder whom the token file names: a workspace for all that it may ask for, or an operator for everything.
    fn of_file(workspace: Option<WorkspaceId>, name: Option<&str>) -> Self {
        let mut roles = vec![TokenRole::Builder, TokenRole::Orchestrator, TokenRole::Reader];
        if workspace.is_none() {
            roles.push(TokenRole::Admin);
        }
        Self::new(workspace, name.map(str::to_owned), roles)
    }

    /// The holder of a token for these workspaces; none for every one.
    pub(crate) fn new(
        workspaces: impl IntoIterator<Item = WorkspaceId>,
        name: Option<String>,
        roles: Vec<TokenRole>,
    ) -> Self {
        Self { workspaces: workspaces.into_iter().collect(), chosen: None, name, roles }
    }

    /// The workspace that is looked at: the token's own or, of several, the one that was chosen, or the first. None for a token that
    /// opens each.
    pub fn workspace(&self) -> Option<&WorkspaceId> {
        self.chosen.as_ref().or_else(|| self.workspaces.first())
    }

    /// Every workspace that the token is for; none for one that opens each.
    pub fn workspaces(&self) -> &BTreeSet<WorkspaceId> {
        &self.workspaces
    }

    /// The same holder, who looks at another one of the token's own workspaces.
    pub(crate) fn choose(self, workspace: &str) -> Self {
        let chosen = self.workspaces.iter().find(|own| own.as_str() == workspace).cloned();
        Self { chosen, ..self }
    }

    /// The workspace of a request that names one, whether or not the token opens it: nothing trusts what is only claimed.
    pub(crate) fn workspace_of(&self, named: Option<&WorkspaceId>) -> Option<WorkspaceId> {
        named.filter(|named| self.opens(named)).or_else(|| self.workspace()).cloned()
    }

    /// True if the token opens a workspace.
    pub fn opens(&self, workspace: &WorkspaceId) -> bool {
        self.workspaces.is_empty() || self.workspaces.contains(workspace)
    }

    /// True if the token is for this use.
    pub fn may(&self, role: TokenRole) -> bool {
        self.roles.contains(&role)
    }

    /// The holder as events name it: `token/<workspace>`, `token/<first workspace>+<how many more>` or `operator`, with `/<name>`
    /// where the token has one.
    pub fn actor(&self) -> String {
        let kind = match (self.workspaces.first(), self.workspaces.len()) {
            (None, _) => "operator".to_owned(),
            (Some(own), 1) => format!("token/{own}"),
            (Some(own), count) => format!("token/{own}+{}", count.saturating_sub(1)),
        };
        self.name.as_ref().map_or_else(|| kind.clone(), |name| format!("{kind}/{name}"))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({} entries)", self.entries.len())
    }
}

impl Tokens {
    /// Who holds a token.
    pub fn holder(&self, token: &str) -> Option<Holder> {
        self.find(file::digest(token))
    }

    /// Who holds the token with a [`hash`]: what a session keeps in the token's place.
    pub(crate) fn holder_by_hash(&self, hash: &str) -> Option<Holder> {
        self.find(file::from_hex(hash)?)
    }

    /// What the log says of tokens.
    pub(crate) fn recorded(&self) -> &Recorded {
        &self.recorded
    }

    /// Every entry of the file is compared in full, so that time tells nothing; what the log holds is looked up by the hash of a
    /// hash.
    fn find(&self, digest: [u8; 32]) -> Option<Holder> {
        let mut found = None;
        for (holder, hash) in &self.entries {
            let difference = hash.iter().zip(digest).fold(0_u8, |sum, (a, b)| sum | (a ^ b));
            if difference == 0 {
                found = Some(holder);
            }
        }
        found.cloned().or_else(|| self.recorded.holder(digest))
    }
}
