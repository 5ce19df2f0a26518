//! `flowweaver:log`: structured lines into the attempt's journal, which counts and cuts them.

use super::BrokerView;
use super::journal::Line;
use crate::bindings::log::log::{Host, Level as GuestLevel};
use crate::clock::{Clock as _, SystemClock};
use crate::run::status::Level;

/// A line with more fields is a document; it belongs in the output.
const FIELDS_MAX: usize = 64;

impl Host for BrokerView<'_> {
    fn write(
        &mut self,
        level: GuestLevel,
        message: String,
        mut fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        fields.truncate(FIELDS_MAX);
        self.ctx.journal.line(Line {
            at: SystemClock.now(),
            level: level.into(),
            message,
            fields,
        });
        Ok(())
    }
}

impl From<GuestLevel> for Level {
    fn from(level: GuestLevel) -> Self {
        match level {
            GuestLevel::Trace => Self::Trace,
            GuestLevel::Debug => Self::Debug,
            GuestLevel::Info => Self::Info,
            GuestLevel::Warn => Self::Warn,
            GuestLevel::Error => Self::Error,
        }
    }
}
