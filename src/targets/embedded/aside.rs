//! A value that another thread works on now and then, while its owner goes on
//! with something else.

use std::sync::{Mutex, PoisonError};
use std::thread::{Scope, ScopedJoinHandle};

/// The first error of the threads that write in one transaction: redb tells
/// what is wrong once, whichever thread meets it, and all others only that
/// something was.
#[derive(Default)]
pub struct FirstError(Mutex<Option<redb::Error>>);

impl FirstError {
    /// Keeps an error that tells something.
    fn keep(&self, error: redb::Error) -> redb::Error {
        if matches!(error, redb::Error::PreviousIo) {
            return error;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        redb::Error::PreviousIo
    }

    /// What is wrong, when all threads have ended and this is what one of them
    /// was told.
    pub fn told(self, error: redb::Error) -> redb::Error {
        match error {
            redb::Error::PreviousIo => {
                self.0.into_inner().unwrap_or_else(PoisonError::into_inner).unwrap_or(error)
            }
            error => error,
        }
    }
}

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

    /// Has another thread work on it, which keeps its error in `first`.
    ///
    /// # Errors
    /// That of the work before.
    pub fn lend(
        &mut self,
        scope: &'scope Scope<'scope, '_>,
        first: &'scope FirstError,
        work: impl FnOnce(&mut T) -> Result<(), redb::Error> + Send + 'scope,
    ) -> Result<(), redb::Error> {
        self.here()?;
        if let Self::Here(mut value) = std::mem::replace(self, Self::Gone) {
            *self = Self::Away(scope.spawn(move || {
                let done = work(&mut value).map_err(|error| first.keep(error));
                (value, done)
            }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_thread_met_is_told_though_another_ended_first() {
        let full = || redb::Error::Io(std::io::ErrorKind::StorageFull.into());
        let is_full = |error: &redb::Error| matches!(error, redb::Error::Io(e) if e.kind() == std::io::ErrorKind::StorageFull);
        let first = FirstError::default();
        let done = std::thread::scope(|scope| -> Result<(), redb::Error> {
            let mut lent = [Aside::Here(0), Aside::Here(1)];
            let [one, other] = &mut lent;
            one.lend(scope, &first, move |_| Err(full()))?;
            other.lend(scope, &first, |_| Err(redb::Error::PreviousIo))?;
            other.here()?;
            Ok(())
        });
        assert!(is_full(&first.told(done.unwrap_err())));
        // What the writing thread met itself is told as it is.
        assert!(is_full(&FirstError::default().told(full())));
        assert!(matches!(FirstError::default().told(redb::Error::PreviousIo), redb::Error::PreviousIo));
    }
}
