//! What programs leave running, where there is no Linux: nobody can tell.

/// Does nothing.
pub fn adopt() {}

/// Says that one cannot be ruled out.
pub fn any() -> bool {
    true
}
