//! What a build leaves behind, judged by the programs it is made for.

mod again;
mod flash;
mod oracles;
mod vm;
