//! Work that all processors share and whose results are wanted one after the other.

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::{available_parallelism, scope};

use super::error::Result;
use crate::util::interrupt;

/// Results of a thread that wait to be taken: what bounds the memory.
const AHEAD: usize = 1;

/// Calls `make` for the numbers below `count`, on all processors, and `take` with what came of
/// each, in their order, on this thread. Stops at the first error of either.
pub(crate) fn in_order<R: Send>(
    count: usize,
    make: impl Fn(usize) -> Result<R> + Sync,
    mut take: impl FnMut(R) -> Result<()>,
) -> Result<()> {
    let threads = available_parallelism().map_or(1, usize::from).min(count.max(1));
    let make = &make;
    scope(|scope| {
        // Each thread has every so-manieth number, and a channel of its own.
        let lanes: Vec<Receiver<Result<R>>> = (0..threads)
            .map(|first| {
                let (give, lane) = sync_channel(AHEAD);
                scope.spawn(move || {
                    for number in (first..count).step_by(threads) {
                        let made = interrupt::check().and_then(|()| make(number));
                        let failed = made.is_err();
                        // The receiver has stopped.
                        if give.send(made).is_err() || failed {
                            break;
                        }
                    }
                });
                lane
            })
            .collect();
        for number in 0..count {
            let made = lanes[number % threads].recv();
            take(made.expect("a thread ends early only after a failure, which ends this loop")?)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::util::error::Error;

    #[test]
    fn results_come_in_order_and_a_failure_ends_it() {
        let mut seen = Vec::new();
        in_order(
            1000,
            |number| Ok(number * 2),
            |it| {
                seen.push(it);
                Ok(())
            },
        )
        .expect("nothing fails");
        assert_eq!(seen, (0..1000).map(|it| it * 2).collect::<Vec<_>>());

        let mut taken = 0;
        let fail = |number| if number == 70 { Err(Error::failure("70")) } else { Ok(number) };
        let error = in_order(1000, fail, |_| {
            taken += 1;
            Ok(())
        });
        assert_eq!((error.expect_err("it fails").to_string().as_str(), taken), ("70", 70));
        assert!(in_order(1000, Ok, |_| Err(Error::failure("full"))).is_err());
        in_order(0, Ok, |_| Ok(())).expect("nothing to do");
    }
}
