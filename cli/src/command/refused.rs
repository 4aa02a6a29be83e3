//! Rules that were refused, shown on standard error as a compiler shows its errors.

use std::io::IsTerminal as _;

use watertight_content::sigma::diagnostic::render;
use watertight_content::sigma::Rejection;

/// Tells each; in colour where standard error is a terminal and `NO_COLOR` is not set.
pub fn tell(rejections: &[Rejection]) {
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let has_colour = std::io::stderr().is_terminal() && !is_plain;
    for rejection in rejections {
        watertight_host::say!("{}", render(rejection, has_colour));
    }
}
