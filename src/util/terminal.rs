//! The terminal as it was before a program was let at it.

use std::fs::File;

use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};

/// Puts the modes of this process's terminal back when it is dropped: a program that switched them and was
/// killed cannot.
#[derive(Debug)]
pub(crate) struct SavedTerminal(Option<(File, Termios)>);

impl SavedTerminal {
    /// Looks at the terminal, where there is one.
    pub(crate) fn look() -> Self {
        let terminal = File::options().read(true).write(true).open("/dev/tty");
        Self(terminal.ok().and_then(|it| tcgetattr(&it).ok().map(|modes| (it, modes))))
    }
}

impl Drop for SavedTerminal {
    fn drop(&mut self) {
        if let Some((terminal, modes)) = &self.0
            && tcgetattr(terminal).is_ok_and(|now| format!("{now:?}") != format!("{modes:?}"))
        {
            // A terminal that is gone needs nothing.
            let _ = tcsetattr(terminal, OptionalActions::Flush, modes);
        }
    }
}
