//! Durability of the real binary: crashes, faults of the disk, restores, and the frozen formats.

mod all_at_once;
mod clock;
mod crash;
mod events;
mod faults;
mod golden;
mod imports;
mod places;
mod restore;
mod two_engines;
mod volumes;
