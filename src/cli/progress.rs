//! How far long work is: a bar with the time that is left, on standard error, where that is a
//! terminal. Elsewhere nothing: a log of a thousand percentages helps nobody.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// A bar that is there until the function is dropped. The function takes what is done and what there
/// is in all, in any unit: the layers below are handed it as `&mut dyn FnMut(u64, u64)`.
pub fn bar(what: &'static str) -> impl FnMut(u64, u64) {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{msg} [{bar:30}] {percent:>3} %, {eta} left")
        .expect("the template is sound")
        .progress_chars("=> ");
    let bar = ProgressBar::with_draw_target(Some(0), target)
        .with_style(style)
        .with_message(what)
        .with_finish(ProgressFinish::AndClear);
    move |done, total| {
        bar.set_length(total);
        bar.set_position(done);
    }
}

/// Bars for work of several steps, one after the other: the function takes the step's name before the
/// two numbers.
pub fn steps() -> impl FnMut(&'static str, u64, u64) {
    let mut step = None;
    move |what, done, total| {
        if step.as_ref().is_none_or(|(name, _)| *name != what) {
            // The bar of the step before goes first.
            drop(step.take());
            step = Some((what, bar(what)));
        }
        if let Some((_, progress)) = &mut step {
            progress(done, total);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{bar, steps};

    #[test]
    fn any_numbers_can_be_told() {
        let mut progress = bar("testing");
        for (done, total) in [(0, 0), (1, 3), (3, 3), (7, 3), (u64::MAX, u64::MAX)] {
            progress(done, total);
        }
    }

    #[test]
    fn steps_follow_each_other() {
        let mut progress = steps();
        for (what, done) in [("one", 0), ("one", 1), ("two", 0), ("one", 1)] {
            progress(what, done, 1);
        }
    }
}
