//! Rules that were refused, and files beside them, shown on standard error as a compiler shows its errors.

use std::io::IsTerminal as _;

use watertight_content::pack::Wrong;
use watertight_content::sigma::diagnostic::render;
use watertight_content::sigma::Rejection;

/// Tells each; in colour where standard error is a terminal and `NO_COLOR` is not set.
pub fn tell(rejections: &[Rejection]) {
    for rejection in rejections {
        watertight_host::say!("{}", render(rejection, has_colour()));
    }
}

/// Tells what a file of a pack's source says wrongly.
pub fn tell_file(wrong: &Wrong) {
    watertight_host::say!("{}", wrong.render(has_colour()));
}

fn has_colour() -> bool {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stderr().is_terminal() && !is_plain
}
