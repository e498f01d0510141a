//! Whether planning should go on: asked now and then, so that a stop or a
//! cancelled batch ends it within a bounded time.

use crate::error::{Error, ErrorKind, Result};

/// Records between two questions.
const PACE: u32 = 4096;

/// Says whether planning should end.
#[derive(Clone, Copy)]
pub struct Halt<'a>(&'a (dyn Fn() -> bool + Sync));

impl<'a> Halt<'a> {
    /// Ends planning when `asked` says so.
    pub fn when(asked: &'a (dyn Fn() -> bool + Sync)) -> Self {
        Self(asked)
    }

    /// Never ends it.
    pub fn never() -> Self {
        Self(&|| false)
    }

    /// # Errors
    /// [`ErrorKind::Interrupted`] when planning should end.
    pub fn check(self) -> Result<()> {
        if (self.0)() {
            return Err(Error::new(ErrorKind::Interrupted, "planning was asked to end"));
        }
        Ok(())
    }

    /// A counter that asks every few thousand records.
    pub fn pace(self) -> Pace<'a> {
        Pace { halt: self, left: PACE }
    }
}

/// Counts records of one loop.
pub struct Pace<'a> {
    halt: Halt<'a>,
    left: u32,
}

impl Pace<'_> {
    /// One more record.
    ///
    /// # Errors
    /// [`ErrorKind::Interrupted`] when planning should end.
    #[inline]
    pub fn tick(&mut self) -> Result<()> {
        self.left -= 1;
        if self.left == 0 {
            self.left = PACE;
            return self.halt.check();
        }
        Ok(())
    }
}
