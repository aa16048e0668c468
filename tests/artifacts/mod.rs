//! What a build leaves behind, checked by the programs it is made for.

mod again;
mod bases;
mod flash;
mod in_use;
mod kept;
mod opens;
mod oracles;
mod vm;
