//! A value that another thread works on now and then, while its owner goes on
//! with something else.

use std::thread::{Scope, ScopedJoinHandle};

fn lost() -> redb::Error {
    redb::Error::Io(std::io::Error::other("a table was lost by its thread"))
}

/// The value, or the thread that has it.
pub enum Aside<'scope, T> {
    /// It is here.
    Here(T),
    /// A thread works on it.
    Away(ScopedJoinHandle<'scope, (T, Result<(), redb::Error>)>),
    /// A thread lost it.
    Gone,
}

impl<'scope, T: Send + 'scope> Aside<'scope, T> {
    /// The value, when the thread that has it is done.
    ///
    /// # Errors
    /// That of the thread's work.
    pub fn here(&mut self) -> Result<&mut T, redb::Error> {
        if matches!(self, Self::Away(_))
            && let Self::Away(thread) = std::mem::replace(self, Self::Gone)
        {
            match thread.join() {
                Ok((value, done)) => {
                    *self = Self::Here(value);
                    done?;
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        match self {
            Self::Here(value) => Ok(value),
            Self::Away(_) | Self::Gone => Err(lost()),
        }
    }

    /// The value, once and for all.
    ///
    /// # Errors
    /// As [`Self::here`].
    pub fn into_inner(mut self) -> Result<T, redb::Error> {
        self.here()?;
        match self {
            Self::Here(value) => Ok(value),
            Self::Away(_) | Self::Gone => Err(lost()),
        }
    }

    /// Has another thread work on it.
    ///
    /// # Errors
    /// That of the work before.
    pub fn lend(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        work: impl FnOnce(&mut T) -> Result<(), redb::Error> + Send + 'scope,
    ) -> Result<(), redb::Error> {
        self.here()?;
        if let Self::Here(mut value) = std::mem::replace(self, Self::Gone) {
            *self = Self::Away(scope.spawn(move || {
                let done = work(&mut value);
                (value, done)
            }));
        }
        Ok(())
    }
}
