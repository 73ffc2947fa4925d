//! Clocks of services that are set to another time while they run, by libfaketime: what counts time from a start is left alone.

use std::{path::PathBuf, process::Command};

use super::{Plan, Service, Stack};
use crate::{
    error::{Missing, StartError},
    find,
};

/// Seconds until a service has noticed that its clock was set.
const NOTICED: &str = "1";

impl Plan {
    /// Gives each service a clock that can be [set](Stack::set_clock).
    ///
    /// # Errors
    /// [`Missing`] where there is no libfaketime.
    pub fn with_clocks(mut self) -> Result<Self, Missing> {
        let remedy = "run the tests by infra/justw, which unpacks Debian's package libfaketime";
        self.clocks = Some(find::program("libfaketimeMT.so.1", remedy)?);
        Ok(self)
    }
}

impl Stack {
    /// Sets the clock of a service so many seconds ahead of the machine's, or behind it.
    pub fn set_clock(&self, service: &Service, seconds: i64) {
        std::fs::write(self.clock_file(service), format!("{seconds:+}\n")).expect("the scratch folder can be written");
    }

    pub(super) fn give_clock(&self, service: &Service, child: &mut Command) -> Result<(), StartError> {
        let Some(library) = &self.plan.clocks else { return Ok(()) };
        let file = self.clock_file(service);
        if !file.exists() {
            std::fs::write(&file, "+0\n").map_err(StartError::setup("a clock"))?;
        }
        child.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", file);
        child.env("FAKETIME_CACHE_DURATION", NOTICED).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        Ok(())
    }

    fn clock_file(&self, service: &Service) -> PathBuf {
        self.scratch.path().join(format!("clock-{}", service.name()))
    }
}
