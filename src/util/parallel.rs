//! Independent work on several threads, results in the order of the items.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::error::Result;
use crate::util::interrupt;

/// Calls `work` for every item, at most `jobs` at a time. After a failure or an interrupt nothing
/// new is begun; of several failures the one of the earliest item is reported.
pub fn parallel<T: Sync, R: Send>(
    jobs: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let results: Vec<Mutex<Option<Result<R>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { break };
                    let result = interrupt::check().and_then(|()| work(item));
                    if result.is_err() {
                        stop.store(true, Ordering::Relaxed);
                    }
                    *results[index].lock().expect("locked once") = Some(result);
                }
            });
        }
    });
    // Items are begun in order, so that what was not begun lies behind the failure.
    results.into_iter().map_while(|result| result.into_inner().expect("locked once")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::error::Error;

    #[test]
    fn results_come_in_order_and_the_first_failure_wins() {
        let items: Vec<u32> = (0..100).collect();
        let doubled = parallel(7, &items, |n| Ok(n * 2)).expect("nothing fails");
        assert_eq!(doubled, items.iter().map(|n| n * 2).collect::<Vec<_>>());

        let failed = parallel(7, &items, |n| {
            if n % 10 == 5 { Err(Error::failure(format!("{n}"))) } else { Ok(()) }
        });
        assert_eq!(failed.expect_err("it fails").to_string(), "5");
        assert!(parallel(3, &[], |(): &()| Ok(())).expect("nothing to do").is_empty());
    }
}
