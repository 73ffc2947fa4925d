//! How far a change of a secret reaches: the containers that have it, and where they run.

use std::collections::BTreeMap;

use maud::{Markup, html};
use waybill_domain::{
    explain::{Hop, State},
    fleet::{Listed, Wanted},
};
use waybill_schemas::{SecretName, WorkspaceId};

use super::{ask::Ask, layout};
use crate::http::problem::Problem;

/// Containers of one look at the fleet: the lock is held for no longer.
const PAGE: usize = 1000;

/// Containers that have a secret, by worker: the most first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Impact {
    pub(super) workers: Vec<(String, usize)>,
}

/// Counts the containers that have a secret now.
pub(super) fn find_impact(ask: &Ask, workspace: &WorkspaceId, name: &SecretName) -> Result<Impact, Problem> {
    let wanted = Wanted { workspace: Some(workspace.to_string()), secret: Some(name.to_string()), ..Wanted::default() };
    let (mut counts, mut until) = (BTreeMap::<String, usize>::new(), Some(u64::MAX));
    while let Some(end) = until {
        let (listed, next) = ask.app.look_at_fleet(|fleet| fleet.list(&wanted, end, PAGE))?;
        for one in listed.into_iter().filter(has_login) {
            let count = counts.entry(one.worker_id).or_default();
            *count = count.saturating_add(1);
        }
        until = next;
    }
    let mut workers: Vec<(String, usize)> = counts.into_iter().collect();
    workers.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Ok(Impact { workers })
}

/// True unless the container never got the login, or lost it already. One whose pull failed has it all the same.
fn has_login(one: &Listed) -> bool {
    one.state != State::Broken || matches!(one.hop, Hop::Provider | Hop::Pull)
}

impl Impact {
    fn containers(&self) -> usize {
        self.workers.iter().map(|(_, count)| count).sum()
    }

    /// How many have it.
    pub(super) fn in_words(&self) -> String {
        let workers = layout::spell_count(self.workers.len(), "worker");
        match self.containers() {
            0 => "No container has it now".to_owned(),
            1 => format!("1 container on {workers} has it"),
            containers => format!("{containers} containers on {workers} have it"),
        }
    }

    /// Where they run.
    pub(super) fn table(&self) -> Markup {
        html! {
            @if !self.workers.is_empty() {
                table.tight.below {
                    thead { tr { th scope="col" { "Worker" } th.num scope="col" { "Containers" } } }
                    tbody {
                        @for (worker, count) in &self.workers {
                            tr { td { a href={ "/workers/" (worker) } { (worker) } } td.num { (count) } }
                        }
                    }
                }
            }
        }
    }
}
