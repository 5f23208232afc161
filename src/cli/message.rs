//! How a message of several frames is shown, whoever has it.

use bytes::Bytes;

use super::ui;

/// A message on a line of its own: its frames behind the topic, or all of them. A message of one frame
/// is all topic.
pub(super) fn print(frames: &[Bytes], has_topic: bool) {
    let shown = match has_topic || frames.len() == 1 {
        true => frames,
        false => &frames[1.min(frames.len())..],
    };
    let mut line = shown.join(&b' ');
    line.push(b'\n');
    ui::raw(&line);
}
