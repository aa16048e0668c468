//! How far long work has come, as the library reports it.

/// Something that shows progress. All calls come in order from one thread at a time.
pub trait Progress: Sync {
    /// A new stage begins, and the one before it is over: `installing packages`.
    fn stage(&self, name: &str);

    /// What the stage is at right now: `unpacking containerd`.
    fn message(&self, text: &str);

    /// Something that people should know though the work goes on.
    fn warn(&self, _text: &str) {}

    /// How far the stage is: `done` of `total` in units of the stage's own.
    fn position(&self, done: u64, total: u64);

    /// The same in bytes: how fast it goes and how long it will take can be told from them. How
    /// much there is in all is not always known.
    fn bytes(&self, done: u64, total: Option<u64>) {
        if let Some(total) = total {
            self.position(done, total);
        }
    }

    /// The last stage is over, well or not.
    fn finish(&self);
}

/// Shows nothing.
pub struct Silent;

impl Progress for Silent {
    fn stage(&self, _name: &str) {}
    fn message(&self, _text: &str) {}
    fn position(&self, _done: u64, _total: u64) {}
    fn finish(&self) {}
}
