//! Progress bars with the time left, on standard error if that is a terminal.

use std::io::IsTerminal as _;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// A bar that is shown until the function is dropped. The function takes what is done and the total, in
/// any unit.
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

/// Bars for several steps, one after the other: the function takes the step's name first.
pub fn steps() -> impl FnMut(&'static str, u64, u64) {
    let mut step = None;
    move |what, done, total| {
        if step.as_ref().is_none_or(|(name, _)| *name != what) {
            // The bar of the step before is removed first.
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
    fn any_numbers_are_accepted() {
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
