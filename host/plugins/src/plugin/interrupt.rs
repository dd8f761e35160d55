//! Interrupts calls on a thread that must also handle other events, such as Ctrl-C in Python. While the plugin runs, the clock of its time
//! limit periodically checks whether the call is still wanted.

use std::cell::RefCell;
use std::rc::Rc;

type IsWanted = Rc<dyn Fn() -> bool>;

thread_local! { static IS_WANTED: RefCell<Option<IsWanted>> = const { RefCell::new(None) } }

/// Runs `work`. While a plugin with a time limit runs in it on this thread, calls `is_wanted` every 50 ms. If that returns
/// false, the call ends as if its time were over.
pub fn while_wanted<T>(is_wanted: impl Fn() -> bool + 'static, work: impl FnOnce() -> T) -> T {
    struct Before(Option<IsWanted>);
    impl Drop for Before {
        fn drop(&mut self) {
            IS_WANTED.set(self.0.take());
        }
    }
    let _before = Before(IS_WANTED.replace(Some(Rc::new(is_wanted))));
    work()
}

/// Returns whether this thread has such a check.
pub(super) fn is_needed() -> bool {
    IS_WANTED.with_borrow(Option::is_some)
}

/// Returns whether the call is still wanted; true without a check.
pub(super) fn is_wanted() -> bool {
    // The check itself may call plugins.
    let check = IS_WANTED.with_borrow(Clone::clone);
    check.is_none_or(|is_wanted| is_wanted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_is_asked_within_and_not_behind() {
        assert!(!is_needed() && is_wanted());
        while_wanted(
            || false,
            || {
                assert!(is_needed() && !is_wanted());
                while_wanted(is_needed, || assert!(is_wanted()));
                assert!(!is_wanted());
            },
        );
        assert!(!is_needed() && is_wanted());
    }
}
