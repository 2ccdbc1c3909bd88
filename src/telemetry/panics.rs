//! Panics: contained to the request that had one, counted, and told once, by their place and without their words.
//!
//! **Why without words**: a panic's message may quote a value, and that value may be a token. Words that stand in our
//! own code as they are hold no value and are told.

use prometheus_client::metrics::counter::Counter;
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook};
use std::pin::pin;
use std::sync::LazyLock;
use std::task::Poll;
use std::{fmt, future, thread};

/// Of this process, whatever thread had them, those that a library had and caught itself included.
static PANICS: LazyLock<Counter> = LazyLock::new(Counter::default);

thread_local! {
    static WORK: RefCell<Work> = const { RefCell::new(Work::Alone) };
}

/// What this thread is doing.
#[derive(Debug)]
enum Work {
    /// Something that nobody contains.
    Alone,
    /// Contained work that has not panicked.
    Contained,
    /// Contained work that has.
    Ended(Panicked),
}

/// Work ended in a panic.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Panicked {
    place: String,
    /// Only what stands in the code as it is.
    words: Option<&'static str>,
}

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked at {}", self.place)?;
        self.words.map_or(Ok(()), |words| write!(f, ": {words}"))
    }
}

impl Panicked {
    fn of(info: &PanicHookInfo<'_>) -> Self {
        let place = info.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        Self { place, words: info.payload().downcast_ref::<&'static str>().copied() }
    }

    /// The library could not say where.
    fn somewhere() -> Self {
        Self { place: "an unknown place".to_owned(), words: None }
    }
}

/// From now on panics are counted and told in the log, by their place; `besides` does what is to be done with those that
/// nothing contains. A test passes what was there before, so that failing tests are still heard.
pub fn watch_panics(besides: impl Fn(&PanicHookInfo<'_>) + Send + Sync + 'static) {
    set_hook(Box::new(move |info| {
        PANICS.inc();
        let panicked = Panicked::of(info);
        let alone = WORK.with_borrow_mut(|work| {
            let alone = matches!(work, Work::Alone);
            if !alone {
                *work = Work::Ended(panicked.clone());
            }
            alone
        });
        if alone {
            let thread = thread::current();
            tracing::error!(thread = thread.name().unwrap_or("without a name"), "{panicked}");
            besides(info);
        }
    }));
}

/// The count, for a metric.
pub(super) fn panics() -> Counter {
    PANICS.clone()
}

/// Does the work; a panic ends the work and nothing else. Whoever calls says whose work it was.
///
/// # Errors
/// Where it panicked.
pub async fn contained<T>(work: impl Future<Output = T>) -> Result<T, Panicked> {
    let mut work = pin!(work);
    // The work is not touched again after a panic, so nobody sees it half done.
    future::poll_fn(|context| {
        let before = WORK.replace(Work::Contained);
        let turn = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context)));
        let after = WORK.replace(before);
        match (turn, after) {
            (Ok(Poll::Pending), _) => Poll::Pending,
            (Ok(Poll::Ready(done)), _) => Poll::Ready(Ok(done)),
            (Err(_words), Work::Ended(panicked)) => Poll::Ready(Err(panicked)),
            // Nobody watches panics in this process.
            (Err(_words), Work::Alone | Work::Contained) => Poll::Ready(Err(Panicked::somewhere())),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::take_hook;

    #[tokio::test]
    async fn a_panic_ends_its_own_work_and_tells_its_place_but_no_value() {
        watch_panics(take_hook());
        let before = panics().get();
        let token = "secret".to_owned();
        let told = contained(async { token.parse::<u8>().unwrap() }).await.unwrap_err().to_string();
        assert!(told.starts_with("panicked at src/telemetry/panics.rs:") && !told.contains("secret"), "{told}");
        let told = contained(async { panic!("an invariant") }).await.map(|(): ()| ()).unwrap_err().to_string();
        assert!(told.ends_with(": an invariant"), "{told}");
        assert_eq!(panics().get() - before, 2);
        assert_eq!(contained(async { 7 }).await, Ok(7));
    }
}
