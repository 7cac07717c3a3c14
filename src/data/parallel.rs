//! Work that is done in parallel and taken in order.
//!
//! Knows nothing of tables: what it gives does not depend on the number of threads, because each
//! piece is made from its index alone and the pieces are taken one by one in the order of these.

use std::panic::resume_unwind;
use std::sync::mpsc::sync_channel;
use std::thread::ScopedJoinHandle;

/// Makes the pieces `0 .. count` on `threads` threads and hands each to `take`, in order.
///
/// A thread makes every `threads`-th piece and may be two ahead of `take`, so that memory is
/// bounded by three pieces a thread. The first error in the order of the pieces ends all.
///
/// # Errors
///
/// The first error of `make` or `take`, in the order of the pieces.
///
/// # Panics
///
/// Where `make` does, when the pieces before that one are taken.
pub fn ordered<T: Send, E: Send>(
    count: usize,
    threads: usize,
    make: impl Fn(usize) -> Result<T, E> + Sync,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<(), E> {
    let workers = threads.min(count);
    if workers <= 1 {
        return (0..count).try_for_each(|index| take(make(index)?));
    }
    let make = &make;
    std::thread::scope(|scope| {
        let work = |worker: usize| {
            let (sender, receiver) = sync_channel(1);
            let thread = scope.spawn(move || {
                for index in (worker..count).step_by(workers) {
                    let made = make(index);
                    let failed = made.is_err();
                    // A closed channel means that the taker has ended.
                    if sender.send(made).is_err() || failed {
                        return;
                    }
                }
            });
            (receiver, thread)
        };
        let (receivers, mut threads): (Vec<_>, Vec<_>) = (0..workers).map(work).unzip();
        (0..count).try_for_each(|index| match receivers[index % workers].recv() {
            Ok(made) => take(made?),
            Err(_) => pass_on(threads.swap_remove(index % workers)),
        })
    })
}

/// Hands the pieces that `give` sends to `threads` threads that stay, and what `work` makes of each
/// to `take`, in order.
///
/// At most two pieces a thread are on their way, so that memory is bounded; with one thread each is
/// worked on where it is sent.
///
/// # Errors
///
/// The first error of `give` or `take`.
///
/// # Panics
///
/// Where `work` does, when the pieces before that one are taken.
pub fn stream<J: Send, D: Send, E>(
    threads: usize,
    work: impl Fn(J) -> D + Sync,
    give: impl FnOnce(&mut dyn FnMut(J) -> Result<(), E>) -> Result<(), E>,
    mut take: impl FnMut(D) -> Result<(), E>,
) -> Result<(), E> {
    if threads <= 1 {
        return give(&mut |piece| take(work(piece)));
    }
    let work = &work;
    std::thread::scope(|scope| {
        let worker = |_| {
            let (sender, pieces) = sync_channel(1);
            let (made, receiver) = sync_channel(1);
            // A closed channel means that the taker has ended.
            let work = move || pieces.into_iter().try_for_each(|piece| made.send(work(piece)));
            ((sender, receiver), scope.spawn(work))
        };
        let (channels, mut workers): (Vec<_>, Vec<_>) = (0..threads).map(worker).unzip();
        let mut take_from = |place: usize| match channels[place].1.recv() {
            Ok(made) => take(made),
            Err(_) => pass_on(workers.swap_remove(place)),
        };
        let (mut sent, mut taken) = (0, 0);
        give(&mut |piece| {
            if sent - taken == 2 * threads {
                take_from(taken % threads)?;
                taken += 1;
            }
            // To a thread that has panicked nothing can be sent; its turn to be taken from comes.
            let _ = channels[sent % threads].0.send(piece);
            sent += 1;
            Ok(())
        })?;
        (taken..sent).try_for_each(|piece| take_from(piece % threads))
    })
}

/// Panics as a thread did that sends no more, though it is asked to: nothing after its piece may be
/// taken.
fn pass_on<T>(thread: ScopedJoinHandle<'_, T>) -> ! {
    match thread.join() {
        Err(panic) => resume_unwind(panic),
        Ok(_) => unreachable!("a thread sends until its last piece, an error or the taker's end"),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::{ordered, stream};

    #[test]
    fn a_stream_is_taken_in_order_at_any_thread_count() {
        for threads in [1, 2, 3, 8] {
            for pieces in [0, 1, 5, 100] {
                let mut taken = Vec::new();
                let give = |send: &mut dyn FnMut(usize) -> Result<(), String>| {
                    (0..pieces).try_for_each(send)
                };
                let take = |square| {
                    taken.push(square);
                    Ok(())
                };
                stream(threads, |piece| piece * piece, give, take).unwrap();
                assert_eq!(taken, (0..pieces).map(|piece| piece * piece).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn an_error_on_either_side_ends_a_stream() {
        for threads in [1, 2, 5] {
            let run = |bad_piece: usize, bad_square: usize| {
                stream(
                    threads,
                    |piece| piece * piece,
                    |send| {
                        let sound = |piece| if piece == bad_piece { Err(piece) } else { Ok(piece) };
                        (0..1000).try_for_each(|piece| send(sound(piece)?))
                    },
                    |square| if square == bad_square { Err(square) } else { Ok(()) },
                )
            };
            assert_eq!(run(500, 1), Err(1));
            assert_eq!(run(7, 1_000_000), Err(7));
            assert_eq!(run(1000, 999 * 999), Err(999 * 999));
        }
    }

    #[test]
    fn pieces_are_taken_in_order_at_any_thread_count() {
        for threads in [1, 2, 3, 8, 200] {
            let mut taken = Vec::new();
            let squares = |index: usize| Ok::<_, String>(index * index);
            ordered(100, threads, squares, |square| {
                taken.push(square);
                Ok(())
            })
            .unwrap();
            assert!(taken.iter().enumerate().all(|(index, square)| *square == index * index));
            assert_eq!(taken.len(), 100);
        }
    }

    #[test]
    fn the_first_error_in_order_ends_all() {
        for threads in [1, 2, 5] {
            let mut taken = 0;
            let make = |index: usize| if index % 7 == 6 { Err(index) } else { Ok(index) };
            let result = ordered(1000, threads, make, |_| {
                taken += 1;
                Ok(())
            });
            assert_eq!((result, taken), (Err(6), 6));
        }
        let result = ordered(1000, 3, Ok, |index| if index == 4 { Err("enough") } else { Ok(()) });
        assert_eq!(result, Err("enough"));
    }

    /// Runs something whose piece 10 panics; asserts that it does, and what was taken before.
    fn assert_stopped(run: impl FnOnce(&mut Vec<usize>)) {
        let mut taken = Vec::new();
        let panic = catch_unwind(AssertUnwindSafe(|| run(&mut taken))).unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"broken"));
        assert_eq!(taken, (0..10).collect::<Vec<_>>());
    }

    #[test]
    fn a_panic_is_passed_on_and_nothing_after_it_is_taken() {
        let work = |piece: usize| if piece == 10 { panic!("broken") } else { piece };
        for (threads, count) in [(1, 100), (2, 100), (3, 100), (8, 100), (8, 12), (3, 11)] {
            assert_stopped(|taken| {
                let _ = ordered(
                    count,
                    threads,
                    |index| Ok::<_, ()>(work(index)),
                    |piece| {
                        taken.push(piece);
                        Ok(())
                    },
                );
            });
            assert_stopped(|taken| {
                let give =
                    |send: &mut dyn FnMut(usize) -> Result<(), ()>| (0..count).try_for_each(send);
                let _ = stream(threads, work, give, |piece| {
                    taken.push(piece);
                    Ok(())
                });
            });
        }
    }
}
