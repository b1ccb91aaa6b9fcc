//! What a message about hostile input may look like.

/// Longest message in bytes: a fixed text and a few excerpts of the input.
const MAX_LEN: usize = 2048;

/// Panics unless `message` is one line that a terminal shows as it is, of a length that does not grow with the input.
pub(crate) fn assert_harmless(message: &str) {
    assert!(message.len() <= MAX_LEN, "a message of {} bytes", message.len());
    assert!(!message.chars().any(char::is_control), "{message:?}");
}
