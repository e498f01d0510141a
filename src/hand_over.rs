//! Chunks of work that one thread does in order, while others go ahead and look
//! up what they need. Where these are not far enough ahead, all look up, so that
//! nobody waits while there is something to do.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What was looked up of each chunk, from when it is found until it is taken.
pub struct HandOver<T> {
    state: Mutex<State<T>>,
    /// Told of every change.
    changed: Condvar,
    /// Chunks that may be held ready, or be looked up.
    ahead: usize,
}

struct State<T> {
    found: Vec<Option<T>>,
    /// The first chunk that nobody has begun to look up.
    next: usize,
    /// The chunk that is wanted; those before it were taken.
    wanted: usize,
    /// Threads that go ahead and have not left.
    helpers: usize,
    /// Whether the thread that takes has left, or one that went ahead did with
    /// a chunk that it had begun: there is nothing more to look up.
    left: bool,
}

/// What the thread that takes chunks is to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn<T> {
    /// Go on with what was found of the chunk.
    Found(T),
    /// Look a chunk up, this one or a later one, and ask again.
    LookUp(usize),
    /// Give up: the thread that had begun the chunk ended without it.
    Lost,
}

/// Says that the thread that takes has left, however it does: the others must
/// not wait for it.
pub struct Taker<'a, T>(&'a HandOver<T>);

impl<T> Drop for Taker<'_, T> {
    fn drop(&mut self) {
        self.0.lock().left = true;
        self.0.changed.notify_all();
    }
}

/// Says that a thread that goes ahead has left. When it panics, the chunk that
/// it had begun will not come.
pub struct Helper<'a, T>(&'a HandOver<T>);

impl<T> Drop for Helper<'_, T> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.helpers -= 1;
        state.left |= std::thread::panicking();
        drop(state);
        self.0.changed.notify_all();
    }
}

impl<T> HandOver<T> {
    /// For so many chunks, of which at most `ahead` are begun before the one
    /// that is wanted is taken.
    pub fn new(chunks: usize, ahead: usize) -> Self {
        let found = (0..chunks).map(|_| None).collect();
        let state = State { found, next: 0, wanted: 0, helpers: 0, left: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), ahead: ahead.max(1) }
    }

    /// To be held by the thread that takes, as long as it does.
    pub fn taker(&self) -> Taker<'_, T> {
        Taker(self)
    }

    /// To be held by a thread that goes ahead as long as it does; made before
    /// the thread is, so that it counts from then on.
    pub fn helper(&self) -> Helper<'_, T> {
        self.lock().helpers += 1;
        Helper(self)
    }

    /// The next chunk to look up ahead, as soon as it is not too far ahead;
    /// `None` when there is none.
    pub fn next_ahead(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.left || state.next >= state.found.len() {
                return None;
            }
            if let Some(chunk) = state.begin(self.ahead) {
                return Some(chunk);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands over what was found of a chunk.
    pub fn put(&self, chunk: usize, found: T) {
        if let Some(place) = self.lock().found.get_mut(chunk) {
            *place = Some(found);
        }
        self.changed.notify_all();
    }

    /// What to do for a chunk. Chunks are asked for in order, each until it is
    /// found.
    pub fn take(&self, chunk: usize) -> Turn<T> {
        let mut state = self.lock();
        if state.wanted != chunk {
            state.wanted = chunk;
            self.changed.notify_all();
        }
        loop {
            if let Some(found) = state.found.get_mut(chunk).and_then(Option::take) {
                return Turn::Found(found);
            }
            if let Some(other) = state.begin(self.ahead) {
                return Turn::LookUp(other);
            }
            if state.is_lost() {
                return Turn::Lost;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    /// Whether a chunk that was begun and is not found will never be: whoever
    /// leaves in order has put what it began.
    fn is_lost(&self) -> bool {
        self.left || self.helpers == 0
    }

    fn begin(&mut self, ahead: usize) -> Option<usize> {
        let may = self.next < self.found.len().min(self.wanted.saturating_add(ahead));
        may.then(|| {
            self.next += 1;
            self.next - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Takes all chunks beside a thread that looks up ahead, and returns them.
    fn all(chunks: usize, ahead: usize, look: impl Fn(usize, usize) -> usize + Sync) -> Vec<usize> {
        let hand_over = HandOver::new(chunks, ahead);
        let taken = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let helper = hand_over.helper();
            scope.spawn(|| {
                let _helper = helper;
                while let Some(chunk) = hand_over.next_ahead() {
                    hand_over.put(chunk, look(chunk, taken.load(Ordering::SeqCst)));
                }
            });
            let _taker = hand_over.taker();
            let mut all = Vec::new();
            while all.len() < chunks {
                match hand_over.take(all.len()) {
                    Turn::Found(found) => all.push(found),
                    Turn::LookUp(other) => hand_over.put(other, look(other, all.len())),
                    Turn::Lost => break,
                }
                taken.store(all.len(), Ordering::SeqCst);
            }
            all
        })
    }

    #[test]
    fn every_chunk_is_found_once_and_taken_in_order() {
        for (chunks, ahead) in [(0, 4), (1, 1), (7, 1), (50, 3), (500, 16)] {
            let looked: Vec<AtomicUsize> = (0..chunks).map(|_| AtomicUsize::new(0)).collect();
            let found = all(chunks, ahead, |chunk, _| {
                looked[chunk].fetch_add(1, Ordering::SeqCst);
                chunk * 10
            });
            assert_eq!(found, (0..chunks).map(|chunk| chunk * 10).collect::<Vec<_>>());
            assert!(looked.iter().all(|times| times.load(Ordering::SeqCst) == 1));
        }
    }

    #[test]
    fn nobody_goes_further_ahead_than_allowed() {
        let hand_over = HandOver::new(10, 3);
        let _helper = hand_over.helper();
        for chunk in 0..3 {
            assert_eq!(hand_over.take(0), Turn::LookUp(chunk));
        }
        assert_eq!(hand_over.lock().begin(3), None);
        (0..3).for_each(|chunk| hand_over.put(chunk, chunk));
        assert_eq!(hand_over.take(0), Turn::Found(0));
        assert_eq!(hand_over.take(1), Turn::Found(1));
        assert_eq!(hand_over.next_ahead(), Some(3));
        assert_eq!(hand_over.lock().begin(3), None);
    }

    #[test]
    fn a_side_that_leaves_is_not_waited_for() {
        let hand_over: HandOver<()> = HandOver::new(5, 1);
        let (helper, _other) = (hand_over.helper(), hand_over.helper());
        assert_eq!(hand_over.next_ahead(), Some(0));
        std::thread::scope(|scope| {
            let taking = scope.spawn(|| hand_over.take(0));
            let panicked = scope.spawn(move || {
                let _helper = helper;
                panic!("as it should");
            });
            assert!(panicked.join().is_err());
            assert_eq!(taking.join().unwrap(), Turn::Lost);
        });
        assert_eq!(hand_over.next_ahead(), None);
        let hand_over: HandOver<()> = HandOver::new(5, 1);
        let _helper = hand_over.helper();
        drop(hand_over.taker());
        assert_eq!(hand_over.next_ahead(), None);
    }

    /// Of several that go ahead, the first that finds nothing more to do says
    /// nothing about what the others have begun.
    #[test]
    fn a_helper_that_is_done_leaves_the_others_at_work() {
        let hand_over = HandOver::new(1, 8);
        let (slow, idle) = (hand_over.helper(), hand_over.helper());
        assert_eq!(hand_over.next_ahead(), Some(0));
        assert_eq!(hand_over.next_ahead(), None);
        drop(idle);
        assert!(!hand_over.lock().is_lost());
        std::thread::scope(|scope| {
            let taking = scope.spawn(|| hand_over.take(0));
            hand_over.put(0, 7);
            drop(slow);
            assert_eq!(taking.join().unwrap(), Turn::Found(7));
        });
    }
}
