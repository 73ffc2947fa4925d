//! The services of a stack, and how each is started.

/// One service of the stack.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// `waybill gateway`
    Gateway,
    /// Another gateway of the same log.
    SecondGateway,
    /// `waybill issuer`
    Issuer,
    /// `waybill scheduler`
    Scheduler,
    /// Another scheduler of the same log, with a projection of its own.
    SecondScheduler,
    /// `waybill worker --id …`
    Worker(String),
}

impl Service {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Gateway => "gateway".to_owned(),
            Self::SecondGateway => "gateway-2".to_owned(),
            Self::Issuer => "issuer".to_owned(),
            Self::Scheduler => "scheduler".to_owned(),
            Self::SecondScheduler => "scheduler-2".to_owned(),
            Self::Worker(id) => format!("worker-{id}"),
        }
    }

    pub(super) fn arguments(&self) -> Vec<String> {
        match self {
            Self::Gateway | Self::SecondGateway => vec!["gateway".to_owned()],
            Self::Issuer => vec!["issuer".to_owned()],
            Self::Scheduler | Self::SecondScheduler => vec!["scheduler".to_owned()],
            Self::Worker(id) => vec!["worker".to_owned(), "--id".to_owned(), id.clone()],
        }
    }
}
