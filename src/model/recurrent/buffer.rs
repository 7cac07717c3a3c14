//! Memory that is used again from step to step.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// The widest vector of any instruction set, in numbers: a vector that straddles two lines of
/// cache takes twice as long to read.
const ALIGNMENT: usize = 16;

/// How many freed buffers a thread keeps: more than a step of the deepest network frees at once
/// would be waste, fewer would be made anew each step.
const KEPT: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A slice of numbers that starts at a line of cache and goes back to its thread's stock when it
/// is dropped.
#[derive(Debug)]
pub struct Buffer {
    values: Vec<f32>,
    start: usize,
    length: usize,
}

impl Buffer {
    /// Takes a buffer of `length` numbers; they are what somebody left there.
    pub fn take(length: usize) -> Buffer {
        let whole = length + ALIGNMENT;
        let mut values = FREE.with_borrow_mut(|free| {
            let fits = |vector: &Vec<f32>| vector.len() >= whole && vector.len() / 2 <= whole;
            free.iter().position(fits).map(|at| free.swap_remove(at))
        });
        let values = values.take().unwrap_or_else(|| vec![0.0; whole]);
        // Where the platform cannot say, unaligned memory is slower and no less right.
        let start = values.as_ptr().align_offset(4 * ALIGNMENT).min(ALIGNMENT);
        Buffer { values, start, length }
    }

    /// Takes a buffer of `length` zeros.
    pub fn zeros(length: usize) -> Buffer {
        let mut buffer = Buffer::take(length);
        buffer.fill(0.0);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[self.start..][..self.length]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[self.start..][..self.length]
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Buffer {
        let mut copy = Buffer::take(self.length);
        copy.copy_from_slice(self);
        copy
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        // At the thread's end there may be no stock any more, and the memory is freed.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(values);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back_to_whoever_wants_as_much() {
        let mut first = Buffer::take(1000);
        first.fill(1.0);
        let place = first.as_ptr();
        assert_eq!(place as usize % 64, 0);
        let other = first.clone();
        assert_eq!(*other, [1.0; 1000]);
        drop(first);
        assert_ne!(Buffer::take(5000).as_ptr(), place);
        let again = Buffer::zeros(900);
        assert_eq!(again.as_ptr(), place);
        assert_eq!(*again, [0.0; 900]);
    }
}
