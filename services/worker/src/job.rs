//! A delivery, and the line that it waits in.

use waybill_domain::{decision::Decision, fold::ContainerKey};
use waybill_platform::log::Delivered;
use waybill_schemas::{DecodeError, Event, RecordedEvent};

use crate::{dispatch::Item, view::Placed};

/// A delivered message, decoded.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) delivered: Delivered,
    pub(crate) recorded: Result<RecordedEvent, DecodeError>,
}

impl From<Delivered> for Job {
    fn from(delivered: Delivered) -> Self {
        let recorded = delivered.message.decode();
        Self { delivered, recorded }
    }
}

impl Item for Job {
    type Key = ContainerKey;

    /// Attachments and skips wait for their container and for a slot. Withdrawals and renewals wait for nothing: a pull that
    /// hangs would hold a login in force.
    fn line(&self) -> Option<ContainerKey> {
        let recorded = self.recorded.as_ref().ok()?;
        let (Event::ContainerCredentialsAttached(_) | Event::ContainerCredentialsSkipped(_)) = recorded.event else {
            return None;
        };
        let decision = Decision::from_event(recorded)?;
        Placed::from_decision(&decision).map(|placed| placed.container)
    }

    fn number(&self) -> u64 {
        self.delivered.message.sequence
    }

    async fn wait_longer(&self) {
        self.delivered.in_progress().await;
    }
}
